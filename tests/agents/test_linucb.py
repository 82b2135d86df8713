from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.linucb import LinUCBAgent
from tests.agents.bandits import QUERY, begun, behaviour, taught


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.0, [1, 0]),  # .2 against 0
        (0.3, [1, 0]),  # .2 + .3 sqrt(.6) = .432 against .3 sqrt(2) = .424
        (0.4, [0, 1]),  # .510 against .566
    ],
)
def test_bounds_by_hand(alpha: float, expected: list[float]) -> None:
    agent = taught(begun(LinUCBAgent, alpha=alpha, prior=0.0))
    np.testing.assert_array_equal(behaviour(agent, QUERY), [expected])


def test_the_ridge_scales_the_first_bound() -> None:
    # theta = 1 / (1 + 4), x'A^-1 x = 1 / (1 + 4); untouched 0 and 1 / 4
    agent = begun(LinUCBAgent, width=1, ridge=4.0, alpha=1.0, prior=0.0)
    agent._model.update(np.ones((1, 1)), np.zeros(1, dtype=np.int64), np.ones(1))
    bounds = agent._estimates(np.ones((1, 1))) + agent._model.spread(np.ones((1, 1)))
    np.testing.assert_allclose(bounds, [[0.2 + np.sqrt(0.2), 0.5]])


def test_what_was_not_asked_is_expected_to_bring_the_prior() -> None:
    agent = taught(begun(LinUCBAgent, prior=0.7, arms=3))
    # the intercept starts at .7: theta = (.7, 0) + A^-1 (X'(r - .7)) = (.7, 0) + A^-1 (-.4, -.7)
    value = 0.7 + np.ones(2) @ np.array([[2, -1], [-1, 3]]) / 5 @ [-0.4, -0.7]
    np.testing.assert_allclose(agent._estimates(QUERY), [[value, 0.7, 0.7]])


def test_untouched_adapters_are_drawn_between() -> None:
    agent = begun(LinUCBAgent, arms=4)
    np.testing.assert_array_equal(behaviour(agent, QUERY), [[0.25] * 4])
