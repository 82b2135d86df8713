"""What every registered agent promises."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from routing_gym.agents import AGENTS, load_agent, make_agent
from routing_gym.agents.agent import Agent
from tests.agents.bandits import skip_without_peer
from tests.agents.problems import FAST, identity

LEARNERS = [name for name in AGENTS if name not in ("random", "best_single")]


def trained(name: str, *, seed: int = 0) -> Agent:
    skip_without_peer(name)
    agent = make_agent(name, **FAST.get(name, {}))
    agent.train(identity("train"), validation=identity("validation"), seed=seed)
    return agent


@pytest.fixture(scope="module", params=list(AGENTS))
def agent(request: pytest.FixtureRequest) -> Agent:
    return trained(request.param)


def test_declares_itself(agent: Agent) -> None:
    assert AGENTS[agent.name].endswith(type(agent).__name__)
    assert agent.feedback in ("full", "bandit", "none")
    assert agent.adapters == identity("train").adapters
    assert agent.num_features == 16


def test_decides_with_valid_probabilities(agent: Agent) -> None:
    data = identity("test")
    for rng in (None, np.random.default_rng(0)):
        decision = agent.decide_on(data, rng=rng)
        assert decision.actions.shape == (len(data),)
        assert decision.probabilities.shape == (len(data), 4)
        assert decision.probabilities.dtype == np.float64
        assert (decision.propensities > 0).all()


def test_respects_masks(agent: Agent) -> None:
    data = identity("test")
    mask = np.random.default_rng(0).random((len(data), 4)) < 0.5
    mask[np.arange(len(data)), np.random.default_rng(1).integers(4, size=len(data))] = True
    for rng in (None, np.random.default_rng(0)):
        decision = agent.decide_on(data, rng=rng, mask=mask)
        assert mask[np.arange(len(data)), decision.actions].all()
        assert (decision.probabilities[~mask] == 0).all()
    only = np.array([False, False, True, False])
    assert set(agent.decide_on(data, mask=only).actions.tolist()) == {2}


def test_saves_and_loads(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path / "policy", metadata={"table": "abc"})
    assert {file.name for file in (tmp_path / "policy").iterdir()} == {
        "agent.json",
        "weights.safetensors",
    }
    loaded = load_agent(tmp_path / "policy")
    assert type(loaded) is type(agent)
    assert loaded.config == agent.config
    assert loaded.metadata == {"table": "abc"}
    before, after = (
        a.decide_on(identity("test"), rng=np.random.default_rng(0)) for a in (agent, loaded)
    )
    np.testing.assert_array_equal(before.actions, after.actions)
    np.testing.assert_allclose(before.probabilities, after.probabilities, atol=1e-7)
    loaded.save(tmp_path / "again")
    description = json.loads((tmp_path / "again" / "agent.json").read_text())
    assert description == json.loads((tmp_path / "policy" / "agent.json").read_text())


def test_refuses_other_adapters(agent: Agent) -> None:
    with pytest.raises(ValueError, match="was trained on"):
        agent.decide_on(identity("test", k=3))


@pytest.mark.parametrize("name", list(AGENTS))
def test_two_seeded_runs_are_equal(name: str) -> None:
    data = identity("test")
    first, second = (trained(name, seed=5).decide_on(data) for _ in range(2))
    np.testing.assert_array_equal(first.actions, second.actions)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


@pytest.mark.parametrize("name", ["ppo", "gumbel", "softmax", "regression"])
def test_two_seeded_runs_end_in_equal_weights_and_other_seeds_do_not(name: str) -> None:
    states = [trained(name, seed=seed)._state()[1] for seed in (5, 5, 6)]
    for key, values in states[0].items():
        np.testing.assert_array_equal(values, states[1][key])
    assert any((values != states[2][key]).any() for key, values in states[0].items())


@pytest.mark.parametrize("name", list(AGENTS))
def test_training_leaves_the_global_generators_alone(name: str) -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    undisturbed = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    trained(name)
    assert draws() == undisturbed


@pytest.mark.parametrize("name", LEARNERS)
def test_learns_the_identity_problem(name: str) -> None:
    data = identity("test")
    actions = trained(name).decide_on(data).actions
    assert (data.accuracy[np.arange(len(data)), actions]).mean() > 0.95


@pytest.mark.parametrize("name", list(AGENTS))
def test_untrained_agent_refuses_to_decide_and_to_save(name: str, tmp_path: Path) -> None:
    fresh = make_agent(name)
    with pytest.raises(RuntimeError, match="is not trained"):
        fresh.decide_on(identity("test"))
    with pytest.raises(RuntimeError, match="is not trained"):
        fresh.save(tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("name", [n for n in AGENTS if n not in ("task_lookup", "oracle")])
@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (np.zeros(16), r"not \(N, 16\)"),
        (np.zeros((2, 5)), r"not \(N, 16\)"),
        (np.array([[0.0] * 16, [np.nan] * 16]), r"observations\[1\] is not finite"),
    ],
)
def test_refuses_bad_observations(name: str, observations: np.ndarray, message: str) -> None:
    fresh = trained_once(name)
    with pytest.raises(ValueError, match=message):
        fresh.decide(observations)


@pytest.mark.parametrize("name", ["task_lookup", "oracle"])
def test_privileged_agents_refuse_bare_embeddings(name: str) -> None:
    agent = trained(name)
    assert agent.privileged
    with pytest.raises(ValueError, match=r"call decide_on\(data\)"):
        agent.decide(identity("test").observations)


@pytest.mark.parametrize("name", list(AGENTS))
def test_refuses_splits_of_different_tables(name: str) -> None:
    with pytest.raises(ValueError, match="take both splits from one table"):
        make_agent(name).train(identity("train"), validation=identity("test", k=3), seed=0)


_ONCE: dict[str, Agent] = {}


def trained_once(name: str) -> Agent:
    if name not in _ONCE:
        _ONCE[name] = trained(name)
    return _ONCE[name]
