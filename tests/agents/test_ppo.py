from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from routing_gym.agents.ppo import PPOAgent, PPOConfig
from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import RoutingDynamics
from tests.agents.problems import FAST, identity
from tests.synthetic import QUALITIES

QUANTITIES = {
    "reward",
    "regret",
    "accuracy",
    "entropy",
    "usage_entropy",
    *(f"share/adapter_{arm}" for arm in range(4)),
    *(f"score/{name}" for name in QUALITIES),
    "score/tokens",
    "score/seconds",
    "score/accuracy_strict",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[PPOAgent, Path]:
    folder = tmp_path_factory.mktemp("ppo") / "log"
    agent = PPOAgent(**FAST["ppo"])
    agent.train(identity("train"), validation=identity("validation"), seed=0, log_dir=folder)
    return agent, folder


def test_tensorboard_shows_every_quantity_on_both_splits(run: tuple[PPOAgent, Path]) -> None:
    _, folder = run
    board = EventAccumulator(str(folder))
    board.Reload()
    tags = set(board.Tags()["scalars"])
    for split in ("train", "validation"):
        assert {f"routing_{split}/{quantity}" for quantity in QUANTITIES} <= tags
    assert {"train/approx_kl", "train/entropy_loss", "train/value_loss", "rollout/ep_rew_mean"} <= (
        tags
    )
    assert len(board.Scalars("routing_validation/reward")) == 20


def test_curves_are_consistent(run: tuple[PPOAgent, Path]) -> None:
    _, folder = run
    with (folder / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["quantity"] for row in rows} == QUANTITIES
    for split in ("train", "validation"):
        final = {
            row["quantity"]: float(row["value"])
            for row in rows
            if row["split"] == split and row["step"] == "5120"
        }
        assert sum(v for k, v in final.items() if k.startswith("share/")) == pytest.approx(1)
        assert 0 <= final["entropy"] <= np.log(4) + 1e-6
        assert final["reward"] > 0.7
        assert final["accuracy"] > 0.9


def test_keeps_the_best_policy_on_validation(run: tuple[PPOAgent, Path]) -> None:
    agent, _ = run
    best = max(
        row["value"]
        for row in agent.curves
        if row["split"] == "validation" and row["quantity"] == "reward"
    )
    data = identity("validation")
    kept = data.rewards[np.arange(len(data)), agent.decide_on(data).actions].mean()
    assert kept == pytest.approx(best, abs=1e-6)


def test_learns_from_the_chosen_cells_only() -> None:
    data = identity("train")
    chosen = np.zeros(data.rewards.shape, dtype=bool)
    measures = RoutingDynamics.measures

    def spy(dynamics: RoutingDynamics, rows: Any, actions: Any) -> tuple[Any, dict[str, Any]]:
        chosen[rows, actions] = True
        return measures(dynamics, rows, actions)

    def weights(train: RoutingData) -> dict[str, np.ndarray]:
        agent = PPOAgent(**{**FAST["ppo"], "total_steps": 512})
        agent.train(train, validation=identity("validation"), seed=0)
        return agent._state()[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoutingDynamics, "measures", spy)
        before = weights(data)
    assert 0.2 < chosen.mean() < 0.8
    unseen = replace(data, rewards=np.where(chosen, data.rewards, 1 - data.rewards))
    for name, values in weights(unseen).items():
        np.testing.assert_array_equal(values, before[name])
    seen = replace(data, rewards=np.where(chosen, 1 - data.rewards, data.rewards))
    assert any((values != before[name]).any() for name, values in weights(seen).items())


def test_progress_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    agent = PPOAgent(**{**FAST["ppo"], "total_steps": 512})
    agent.train(identity("train"), validation=identity("validation"), seed=0, progress=True)
    captured = capsys.readouterr()
    assert "validation_reward" in captured.err
    assert captured.out == ""


def test_longer_rollouts_work() -> None:
    agent = PPOAgent(**{**FAST["ppo"], "num_envs": 64, "steps_per_update": 4})
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    data = identity("test")
    actions = agent.decide_on(data).actions
    assert data.accuracy[np.arange(len(data)), actions].mean() > 0.95


def test_learning_rate_falls_linearly() -> None:
    config = PPOConfig(learning_rate=0.01, final_learning_rate_share=0.1)
    rates = [config.scheduled_rate(remaining) for remaining in (1.0, 0.5, 0.0)]
    assert rates == pytest.approx([0.01, 0.0055, 0.001])


def test_lists_from_yaml_are_taken_as_tuples() -> None:
    assert PPOAgent(hidden_sizes=[32, 32]).config.hidden_sizes == (32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs=0 is too small"),
        ({"num_envs": 64}, r"batch_size=512 does not fit.*= 64"),
        ({"total_steps": 100}, "total_steps=100 is less than one update"),
        ({"hidden_sizes": ()}, "give widths of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 is not above 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 is negative"),
        ({"clip_range": 1.0}, r"clip_range=1.0 is outside \(0, 1\)"),
        ({"final_learning_rate_share": 2.0}, "final_learning_rate_share=2.0 is outside"),
        ({"entropy_coef": 0.1}, "did you mean 'entropy_coefficient'"),
    ],
)
def test_refuses_settings(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOAgent(**options)
