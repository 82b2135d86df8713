"""What rules are given, and what they are refused."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from routing_gym.agents.scenario_policy import ScenarioPolicy, best_allowed, require_parameter
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.cascade import CascadeVectorEnv
from tests.synthetic import identity_table

TABLE = identity_table(n=60, k=4, d=8)


class First(ScenarioPolicy):
    name: ClassVar[str] = "first"
    needs: ClassVar[int] = 2

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        return masks.argmax(axis=1)


class Peeking(First):
    privileged: ClassVar[bool] = True


def test_columns_are_found_by_position_and_by_name() -> None:
    env = CascadeVectorEnv(3, TABLE, signals=())
    policy = First().bind(env.scenario)
    policy.begin(3)
    assert (policy.num_adapters, policy.width, policy.num_lanes) == (4, 8, 3)
    observations, _ = env.reset(seed=0)
    observations, *_ = env.step(np.array([0, 1, 2]))
    np.testing.assert_array_equal(policy.values(observations), observations[:, :4])
    np.testing.assert_array_equal(policy.costs(observations), np.maximum(observations[:, 4:8], 0))
    np.testing.assert_array_equal(policy.states(observations, "tried"), np.eye(4)[[0, 1, 2]])
    best = policy.state(observations, "best")
    np.testing.assert_array_equal(best, policy.states(observations, "quality").max(axis=1))
    np.testing.assert_allclose(policy.state(observations, "tries"), 0.25)
    with pytest.raises(ValueError, match="state 'money' is none of tried_adapter_0, "):
        policy.state(observations, "money")
    with pytest.raises(ValueError, match=r"state has 0 entries money_\*, not 4"):
        policy.states(observations, "money")


def test_predictions_must_be_there() -> None:
    narrow: Any = BudgetVectorEnv(2, identity_table(n=40, k=5, d=8)).scenario
    with pytest.raises(ValueError, match=r"needs 2 columns per adapter, so 10 .* have 8"):
        First().bind(narrow)


def test_only_privileged_rules_see_the_scenario() -> None:
    env = BudgetVectorEnv(2, TABLE)
    assert Peeking().bind(env.scenario).scenario is env.scenario
    with pytest.raises(RuntimeError, match="rule 'first' sees no scenario"):
        _ = First().bind(env.scenario).scenario
    with pytest.raises(RuntimeError, match="call bind first"):
        _ = Peeking().scenario


def test_best_allowed() -> None:
    scores = np.array([[3.0, 2.0, 3.0], [1.0, -5.0, -4.0]])
    masks = np.array([[True, True, True], [False, True, True]])
    assert best_allowed(scores, masks).tolist() == [0, 2]


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_parameters_are_checked(value: float) -> None:
    with pytest.raises(ValueError, match=r"beta=.* of rule 'x' must be finite and at least 0"):
        require_parameter("x", "beta", value)
    assert require_parameter("x", "beta", 2) == 2.0
