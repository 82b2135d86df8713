from __future__ import annotations

import numpy as np

from routing_gym.agents.bootstrapped_thompson import BootstrappedThompsonAgent
from tests.agents.bandits import QUERY, begun, behaviour, outcomes


def test_replicates_equal_the_weighted_closed_form() -> None:
    agent = begun(BootstrappedThompsonAgent, replicates=3, prior_scale=0.5, ridge=2.0)
    rng = np.random.default_rng(0)  # what `begun` gave the agent
    start = np.array([0.5, 0]) + 0.5 * rng.normal(size=(6, 2))
    np.testing.assert_array_equal(agent._model.weights, start)
    x = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    r, actions = np.array([1.0, 0.0, 0.5]), np.array([0, 0, 1])
    agent._learn(outcomes(x.tolist(), actions.tolist(), r.tolist()))
    weights = 2.0 * (rng.random((3, 3)) < 0.5)
    assert 0 < weights.mean() < 2
    for replicate in range(3):
        for arm in range(2):
            w = weights[replicate] * (actions == arm)
            prior = start[2 * replicate + arm]
            precision = 2 * np.eye(2) + x.T @ (w[:, None] * x)
            theta = np.linalg.solve(precision, 2 * prior + x.T @ (w * r))
            np.testing.assert_allclose(agent._model.weights[2 * replicate + arm], theta)


def test_propensities_are_shares_of_replicates() -> None:
    agent = begun(BootstrappedThompsonAgent, replicates=4, arms=3)
    values = np.array([[1, 0, 0], [0, 1, 0], [2, 1, 0], [0, 1, 9]])
    agent._model.weights[:, 0], agent._model.weights[:, 1] = values.reshape(-1), 0
    np.testing.assert_allclose(behaviour(agent, QUERY), [[1 / 2, 1 / 4, 1 / 4]])
    found = behaviour(agent, QUERY, np.array([[True, True, False]]))
    np.testing.assert_allclose(found, [[1 / 2, 1 / 2, 0]])
    np.testing.assert_allclose(agent._estimates(QUERY), [[3 / 4, 3 / 4, 9 / 4]])


def test_without_a_prior_the_replicates_start_alike() -> None:
    agent = begun(BootstrappedThompsonAgent, prior_scale=0.0)
    np.testing.assert_array_equal(behaviour(agent, QUERY), [[0.5, 0.5]])
