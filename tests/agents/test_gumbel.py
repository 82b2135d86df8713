from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from routing_gym.agents.gumbel import GumbelAgent, RegressionAgent, SoftmaxAgent
from routing_gym.agents.supervised import RouterAgent, RouterConfig
from tests.agents.problems import FAST, by_hand, identity

OBJECTIVES = [GumbelAgent, SoftmaxAgent, RegressionAgent]


def fitted(agent_class: type[RouterAgent], **options: object) -> RouterAgent:
    agent = agent_class(**{**FAST["gumbel"], **options})
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    return agent


def batch(rows: int = 32) -> tuple[torch.Tensor, ...]:
    data = identity("train")
    return (
        torch.from_numpy(data.observations[:rows]),
        torch.from_numpy(data.rewards[:rows]),
        torch.from_numpy(data.complexity[:rows] - 1),
        torch.arange(rows) % 4,
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("agent_class", OBJECTIVES)
def test_the_loss_reaches_every_head_and_the_trunk(agent_class: type[RouterAgent]) -> None:
    agent = fitted(agent_class, epochs=1)
    agent.router.train()
    agent.router.zero_grad()
    agent.loss(batch(), generator=generator()).backward()
    for name, parameter in agent.router.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize(
    ("weight", "head"),
    [("complexity_weight", "complexity_head"), ("task_weight", "task_head")],
)
def test_an_auxiliary_weight_of_zero_silences_its_head_alone(weight: str, head: str) -> None:
    agent = fitted(GumbelAgent, epochs=1, **{weight: 0.0})
    agent.router.train()
    agent.router.zero_grad()
    agent.loss(batch(), generator=generator()).backward()
    for name, parameter in agent.router.named_parameters():
        assert parameter.grad is not None
        assert (float(parameter.grad.abs().max()) == 0) == name.startswith(head), name


def test_the_gumbel_sample_is_in_the_loss() -> None:
    agent = fitted(GumbelAgent, epochs=1, dropout=0.0)
    agent.router.train()
    logits = torch.tensor([[0.3, -0.2, 0.1, 0.0]], requires_grad=True)
    rewards = torch.tensor([[1.0, -1.0, 0.5, 0.0]])
    losses = [agent.adapter_loss(logits, rewards, generator=generator(seed)) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    sample = agent.router.adapter_distribution(logits, generator=generator(0))
    torch.testing.assert_close(losses[0], -(sample * rewards).sum())
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (losses[0], losses[2])]
    assert not torch.equal(*gradients)


def test_softmax_and_regression_losses_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.25, 0.75]]))
    rewards = torch.tensor([[1.0, -1.0]])
    loss = SoftmaxAgent().adapter_loss(logits, rewards, generator=generator())
    torch.testing.assert_close(loss, torch.tensor(0.5))
    predictions = torch.tensor([[0.0, 1.0]])
    loss = RegressionAgent().adapter_loss(predictions, rewards, generator=generator())
    torch.testing.assert_close(loss, torch.tensor(2.5))


def test_temperature_falls_geometrically_and_reaches_the_network() -> None:
    config = RouterConfig(epochs=3, temperature_start=4.0, temperature_end=1.0)
    assert [config.temperature(epoch) for epoch in range(3)] == pytest.approx([4, 2, 1])
    agent = fitted(GumbelAgent, epochs=3, temperature_start=4.0, temperature_end=1.0)
    assert agent.router.temperature == pytest.approx(1.0)


def test_stops_early_and_keeps_the_best_policy_on_validation() -> None:
    agent = fitted(SoftmaxAgent, epochs=200, patience=3, learning_rate=0.01)
    curve = [
        row["value"]
        for row in agent.curves
        if row["split"] == "validation" and row["quantity"] == "reward"
    ]
    best = int(np.argmax(curve))
    assert len(curve) == best + 1 + 3 < 200
    kept = agent.decide_on(identity("validation")).actions
    rewards = identity("validation").rewards
    assert rewards[np.arange(len(rewards)), kept].mean() == pytest.approx(curve[best], abs=1e-6)


def test_regression_predicts_in_the_unit_of_the_rewards() -> None:
    agent = RegressionAgent(**{**FAST["regression"], "epochs": 60, "patience": 60})
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    values, data = agent.values(identity("test").observations), identity("test")
    assert values.mean() == pytest.approx(data.rewards.mean(), abs=0.05)
    assert np.abs(values - data.rewards).mean() < 0.6 * data.rewards.std()


def test_auxiliary_heads_learn_tasks() -> None:
    agent = fitted(GumbelAgent, epochs=30, task_weight=1.0)
    levels, tasks = agent.describe(identity("test").observations)
    assert (tasks == identity("test").tasks).mean() > 0.9
    assert set(levels.tolist()) <= {1, 2, 3}


def test_unknown_complexity_is_skipped() -> None:
    data = by_hand([[1, 0], [0, 1]], complexity=[0, 0])
    agent = GumbelAgent(**{**FAST["gumbel"], "epochs": 2})
    agent.train(data, validation=data, seed=0)
    assert np.isfinite(agent.probabilities(data.observations)).all()


def test_adapters_that_are_all_alike_train_without_nan() -> None:
    data = by_hand([[0.5, 0.5], [0.5, 0.5]])
    agent = GumbelAgent(**{**FAST["gumbel"], "epochs": 2})
    agent.train(data, validation=data, seed=0)
    assert np.isfinite(agent.probabilities(data.observations)).all()


def test_writes_curves(tmp_path: Path) -> None:
    agent = GumbelAgent(**{**FAST["gumbel"], "epochs": 2})
    agent.train(
        identity("train"), validation=identity("validation"), seed=0, log_dir=tmp_path / "log"
    )
    files = [file.name for file in (tmp_path / "log").iterdir()]
    assert "curves.csv" in files
    assert any(name.startswith("events.out.tfevents") for name in files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0 is too small"),
        ({"batch_size": -1}, "batch_size=-1 is too small"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is not above 0"),
        ({"temperature_end": float("nan")}, "temperature_end=nan is not above 0"),
        ({"task_weight": -1.0}, "task_weight=-1.0 is negative"),
        ({"epoch": 3}, "unknown option 'epoch' of agent 'gumbel'.*did you mean 'epochs'"),
        ({"config": object()}, "config is a object"),
    ],
)
def test_refuses_settings(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GumbelAgent(**options)
