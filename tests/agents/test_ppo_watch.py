from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from routing_gym.agents.curves import CurveLog
from routing_gym.agents.ppo import PPOConfig
from routing_gym.agents.ppo_watch import TrainingWatch, watch_agent, watch_defaults
from tests.agents.problems import FAST, identity


def test_the_clocks_stand_still_while_it_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TrainingWatch.quantities

    def slow(self: TrainingWatch, policy: object) -> dict[str, float]:
        time.sleep(0.2)
        return plain(self, policy)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingWatch, "quantities", slow)
    start = time.perf_counter()
    points = watch_agent(
        PPOConfig(total_steps=2560, num_envs=256, batch_size=64, epochs=1),
        identity("train"),
        validation=identity("validation"),
        seed=0,
    )
    assert len(points) == 10
    assert points[-1].wall_seconds < time.perf_counter() - start - 10 * 0.2


def test_our_agent_learns_and_is_repeatable() -> None:
    train, validation = identity("train"), identity("validation")
    config = PPOConfig(**FAST["ppo"])
    threads = torch.get_num_threads()
    points = watch_agent(config, train, validation=validation, seed=0)
    assert torch.get_num_threads() == threads
    assert [p.steps for p in points] == list(range(256, 5121, 256))
    best = float(validation.rewards.max(axis=1).mean())
    assert points[-1].reward == pytest.approx(best, abs=0.02)
    again = watch_agent(config, train, validation=validation, seed=0)
    assert [p.reward for p in again] == [p.reward for p in points]


@pytest.mark.slow
@pytest.mark.parametrize("native", [False, True])
def test_the_defaults_of_stable_baselines3(native: bool) -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    points = watch_defaults(
        identity("train"),
        validation=identity("validation"),
        native=native,
        total_steps=16_384,
        seed=0,
    )
    assert {p.steps for p in points} == {16_384}
    assert points[-1].cpu_seconds > 0
    assert points[-1].reward > identity("validation").rewards.mean()
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    np.testing.assert_array_equal(after, state)


def test_without_a_log_nothing_is_written() -> None:
    watch = TrainingWatch(identity("validation"), curves=CurveLog(None))
    assert watch.points == []
