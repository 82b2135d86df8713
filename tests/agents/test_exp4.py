from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.exp4 import EXP4Agent
from tests.agents.bandits import QUERY, begun, behaviour, outcomes, taught
from tests.agents.problems import identity


def test_two_rounds_of_constant_experts_by_hand() -> None:
    agent = begun(EXP4Agent, experts=(), gamma=0.5)
    np.testing.assert_allclose(behaviour(agent, QUERY), [[0.5, 0.5]])
    agent._learn(outcomes([[1.0, 0.0]], [0], [1.0], [[0.5, 0.5]]))
    # the first adapter's weight is exp(.25 * 1 / .5)
    share = np.exp(0.5) / (np.exp(0.5) + 1)
    expected = [0.5 * share + 0.25, 0.5 * (1 - share) + 0.25]
    np.testing.assert_allclose(behaviour(agent, QUERY), [expected])
    agent._learn(outcomes([[1.0, 0.0]], [1], [0.5], [expected]))
    second = np.exp(0.25 * 0.5 / expected[1])
    assert agent.weights() == pytest.approx(
        {"a": np.exp(0.5) / (np.exp(0.5) + second), "b": second / (np.exp(0.5) + second)}
    )


def test_an_expert_is_paid_for_its_advice_and_learns() -> None:
    agent = begun(EXP4Agent, experts=("linucb",), gamma=0.4)
    agent._learn(outcomes([[1.0, 1.0]], [0], [1.0], [[0.8, 0.2]]))
    # LinUCB did not know better than half and half when it was asked
    np.testing.assert_allclose(agent._log_weights, [0.2 / 0.8 / 2, 0.2 / 0.8, 0])
    assert agent._experts[0].outcomes == 1
    # from its prior .5 by (1 - .5) x'x / (1 + x'x)
    np.testing.assert_allclose(agent._experts[0]._estimates(QUERY), [[0.5 + 1 / 3, 0.5]])


def test_propensities_mix_advice_adapters_and_the_uniform_share() -> None:
    agent = taught(begun(EXP4Agent, experts=("linucb",), gamma=0.4))
    shares = np.array(list(agent.weights().values()))
    advice = behaviour(agent._experts[0], QUERY)[0]
    mixed = shares[0] * advice + shares[1:]
    np.testing.assert_allclose(behaviour(agent, QUERY), [0.6 * mixed + 0.2])
    only = behaviour(agent, QUERY, np.array([[False, True]]))
    np.testing.assert_allclose(only, [[0, 1]])


def test_weight_goes_to_the_experts_that_route() -> None:
    agent = EXP4Agent(experts=("linucb", "squarecb"), budget=2.0)
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    weights = agent.weights()
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["linucb"] + weights["squarecb"] > 0.9
    found = agent.probabilities(identity("test").observations)
    assert (found.max(axis=1) < 1).all()


def test_refuses_rewards_outside_the_unit_interval() -> None:
    agent = begun(EXP4Agent, experts=())
    with pytest.raises(ValueError, match="leave \\[0, 1\\]"):
        agent._learn(outcomes([[1.0, 0.0]], [0], [1.5]))
