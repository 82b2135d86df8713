from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.epsilon_greedy import EpsilonGreedyAgent, EpsilonGreedyConfig
from tests.agents.bandits import QUERY, begun, behaviour, taught


def test_the_share_falls_as_the_formula_says() -> None:
    config = EpsilonGreedyConfig(epsilon=0.8, horizon=50.0, decay=0.5)
    assert [config.share(t) for t in (0, 150, 750)] == pytest.approx([0.8, 0.4, 0.2])
    assert EpsilonGreedyConfig(epsilon=0.1, decay=0.0).share(10**6) == 0.1


def test_propensities_by_hand() -> None:
    agent = taught(begun(EpsilonGreedyAgent, epsilon=0.6, horizon=2.0, decay=1.0, prior=0.0))
    # after two outcomes epsilon is .3; the first adapter leads .2 to 0
    np.testing.assert_allclose(behaviour(agent, QUERY), [[0.85, 0.15]])
    only = behaviour(agent, QUERY, np.array([[False, True]]))
    np.testing.assert_allclose(only, [[0, 1]])


def test_the_trained_policy_does_not_explore() -> None:
    agent = taught(begun(EpsilonGreedyAgent, prior=0.0))
    np.testing.assert_allclose(agent._estimates(QUERY), [[0.2, 0]], atol=1e-12)
