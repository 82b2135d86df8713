from __future__ import annotations

import numpy as np
from scipy import special

from routing_gym.agents.linear_thompson import LinearThompsonAgent
from tests.agents.bandits import QUERY, begun, behaviour, taught


def test_propensities_by_hand() -> None:
    agent = taught(begun(LinearThompsonAgent, noise=0.5, prior=0.0))
    # N(.2, .25 * .6) against N(0, .25 * 2)
    expected = special.ndtr(0.2 / np.sqrt(0.25 * 2.6))
    np.testing.assert_allclose(behaviour(agent, QUERY), [[expected, 1 - expected]], atol=1e-3)


def test_agrees_with_draws_of_the_parameters() -> None:
    agent = taught(begun(LinearThompsonAgent, noise=0.3))
    rng, model, draws = np.random.default_rng(0), agent._model, []
    for arm in range(2):
        covariance = 0.3**2 * model.covariance[arm]
        theta = rng.multivariate_normal(model.weights[arm], covariance, size=100_000)
        draws.append(theta @ QUERY[0])
    share = np.mean(draws[0] > draws[1])
    np.testing.assert_allclose(behaviour(agent, QUERY)[0, 0], share, atol=5e-3)
