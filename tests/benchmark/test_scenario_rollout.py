"""Rollouts: the same episodes for every policy and any number of lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from routing_gym.agents.cascade_rules import CascadeOracle, CascadeThreshold
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_rollout import rollout, step_values
from routing_gym.envs.budget import BudgetEnv, BudgetVectorEnv
from routing_gym.envs.cascade import CascadeEnv, CascadeVectorEnv
from routing_gym.envs.preference import PreferenceVectorEnv
from tests.synthetic import identity_table

TABLE = identity_table(n=60, k=4, d=8)


class Cycling(ScenarioPolicy):
    """Takes the allowed action that follows the last one, and counts what it is told."""

    name: ClassVar[str] = "cycling"

    def begin(self, lanes: int) -> None:
        super().begin(lanes)
        self.last = np.zeros(lanes, dtype=np.int64)
        self.told = self.ended = 0

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        order = (np.arange(masks.shape[1]) - self.last[:, None] - 1) % masks.shape[1]
        self.last = np.where(masks, order, 99).argmin(axis=1)
        return self.last

    def learn(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        assert (actions == self.last).all()
        self.told += 1
        self.ended += int(ended.sum())
        self.last = np.where(ended, 0, self.last)


@pytest.mark.parametrize(
    ("scalar", "vector", "options"),
    [
        (CascadeEnv, CascadeVectorEnv, {}),
        (BudgetEnv, BudgetVectorEnv, {"horizon": 5, "budget_low": 0.3}),
    ],
)
def test_an_episode_is_that_of_the_scalar_environment(
    scalar: Any, vector: Any, options: dict[str, Any]
) -> None:
    policy = Cycling()
    found = rollout(policy, vector(4, TABLE, **options), episodes=10, seed=20)
    assert found.returns.shape == found.lengths.shape == (10,)
    assert policy.told > 0
    assert policy.ended > 0
    env = scalar(TABLE, **options)
    twin = Cycling().bind(env.scenario)
    for episode in range(10):
        twin.begin(1)
        observation, _ = env.reset(seed=20 + episode)
        infos, rewards, taken, done = [], [], np.zeros(5), False
        while not done:
            action = int(twin.act(observation[None], env.action_masks()[None])[0])
            taken[action] += 1
            observation, reward, terminated, truncated, info = env.step(action)
            done = terminated or truncated
            rewards.append(reward)
            infos.append(info)
        assert found.returns[episode] == pytest.approx(sum(rewards), abs=1e-12)
        assert found.lengths[episode] == len(rewards)
        np.testing.assert_array_equal(found.actions[episode], taken)
        for name in env.scenario.quantities:
            values = [info[name] for info in infos]
            last = name in env.scenario.episode_quantities
            expected = values[-1] if last else np.mean(values)
            assert found.quantities[name][episode] == pytest.approx(expected)


def test_the_number_of_lanes_changes_nothing() -> None:
    results = [
        rollout(CascadeThreshold(0.5), CascadeVectorEnv(lanes, TABLE), episodes=9, seed=3)
        for lanes in (1, 4, 9, 20)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result.returns, results[0].returns)
        np.testing.assert_array_equal(result.lengths, results[0].lengths)


def test_policies_meet_the_same_queries() -> None:
    env = CascadeVectorEnv(5, TABLE)
    results = [rollout(p, env, episodes=15, seed=3) for p in (CascadeOracle(), Cycling())]
    best = [r.returns + r.quantities["regret"] for r in results]  # what each query allows
    np.testing.assert_allclose(best[0], best[1])
    assert results[0].returns.std() > 0


def test_vector_rewards() -> None:
    env = PreferenceVectorEnv(4, TABLE, reward_kind="vector")
    found = rollout(Cycling(), env, episodes=6, seed=0)
    assert found.returns.shape == (6, env.scenario.num_metrics)  # type: ignore[attr-defined]


def test_refuses_no_episodes() -> None:
    with pytest.raises(ValueError, match="episodes=0 must be at least 1"):
        rollout(Cycling(), CascadeVectorEnv(2, TABLE), episodes=0, seed=0)


def test_step_values_merge_lanes_that_ended() -> None:
    info = {"x": np.array([1, 0]), "final_info": {"x": np.array([0, 2])}}
    assert step_values(info, "x", np.array([False, True])).tolist() == [1, 2]
    assert step_values(info, "x", np.array([False, False])).tolist() == [1, 0]
    assert step_values(info, "x", np.array([True, True])).tolist() == [0, 2]
