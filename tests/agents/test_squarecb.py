from __future__ import annotations

import numpy as np

from routing_gym.agents.squarecb import SquareCBAgent, inverse_gap
from tests.agents.bandits import QUERY, begun, behaviour, taught
from tests.agents.problems import identity


def test_propensities_by_hand() -> None:
    agent = taught(begun(SquareCBAgent, arms=3, gamma=10.0, exponent=0.5, prior=0.0))
    # gamma = 10 sqrt(1 + 2), gap .2, mu = 3
    other = 1 / (3 + 10 * np.sqrt(3) * 0.2)
    np.testing.assert_allclose(behaviour(agent, QUERY), [[1 - 2 * other, other, other]])


def test_forbidden_adapters_leave_the_formula() -> None:
    values = np.array([[1.0, 0.5, 0.0]])
    found = inverse_gap(values, np.array([[False, True, True]]), gamma=4.0)
    np.testing.assert_allclose(found, [[0, 1 - 1 / 4, 1 / 4]])


def test_without_greed_all_adapters_are_alike() -> None:
    allowed = np.array([[True, True, False, True]])
    found = inverse_gap(np.array([[3.0, 2.0, 9.0, 1.0]]), allowed, gamma=0.0)
    np.testing.assert_allclose(found, [[1 / 3, 1 / 3, 0, 1 / 3]])


def test_the_trained_policy_stays_randomised() -> None:
    agent = SquareCBAgent()
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    observations = identity("test").observations
    found = agent.probabilities(observations)
    np.testing.assert_array_equal(found, agent.behaviour(observations))
    assert (found > 0).all()
    assert (found.argmax(axis=1) == agent.values(observations).argmax(axis=1)).all()
