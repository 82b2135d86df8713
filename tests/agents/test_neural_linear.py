from __future__ import annotations

import numpy as np
import pytest
import torch

from routing_gym.agents.neural_linear import NeuralLinearAgent
from tests.agents.bandits import begun, behaviour, outcomes


def hand_made(**options: float) -> NeuralLinearAgent:
    """One hidden unit that is relu(x_1), so that phi = (1, relu(x_1))."""
    agent = begun(
        NeuralLinearAgent, hidden_dim=1, input_scale=2.0, ridge=1.0, refit_every=2, **options
    )
    with torch.no_grad():
        agent._network.body.weight.copy_(torch.tensor([[0.0, 0.5]]))
    agent._refit()
    return agent


def test_posterior_by_hand() -> None:
    agent = hand_made(shape=3.0, rate=0.3)
    agent._learn(outcomes([[1.0, 1.0]], [0], [1.0]))
    # A = [[2, 1], [1, 2]], b = (1, 1), theta = (1/3, 1/3), r'r - theta'A theta = 1/3
    query = np.array([[1.0, 1.0], [1.0, -5.0]])  # phi = (1, 1) and (1, 0)
    np.testing.assert_allclose(agent._estimates(query), [[2 / 3, 0], [1 / 3, 0]], atol=1e-7)
    np.testing.assert_allclose(agent._model.squared_error, [1 / 3, 0], atol=1e-7)
    np.testing.assert_allclose(
        agent._model.spread(agent._seen(query)) ** 2, [[2 / 3, 2], [2 / 3, 1]], atol=1e-7
    )
    # Student t of 2 (3 + 1/2) degrees, variance factor (.3 + 1/6) / 3.5; the prior's of 6, .3 / 3
    rng = np.random.default_rng(0)
    first = 2 / 3 + np.sqrt((0.3 + 1 / 6) / 3.5 * 2 / 3) * rng.standard_t(7, size=200_000)
    second = np.sqrt(0.3 / 3 * 2) * rng.standard_t(6, size=200_000)
    share = np.mean(first > second)
    np.testing.assert_allclose(behaviour(agent, query)[0, 0], share, atol=5e-3)


def test_the_hidden_layer_is_frozen_between_refits() -> None:
    agent = hand_made(learning_rate=0.1)
    frozen = agent._body.clone()
    agent._learn(outcomes([[1.0, 1.0]], [0], [1.0]))
    assert torch.equal(agent._body, frozen)
    assert not torch.equal(agent._network.body.weight, frozen)
    agent._learn(outcomes([[1.0, 2.0]], [1], [0.5]))  # the second outcome is due
    assert torch.equal(agent._body, agent._network.body.weight)
    contexts = np.array([[1.0, 1.0], [1.0, 2.0]])
    seen = agent._seen(contexts)
    for arm, reward in enumerate((1.0, 0.5)):
        phi = seen[arm]
        theta = np.linalg.solve(np.eye(2) + np.outer(phi, phi), phi * reward)
        np.testing.assert_allclose(agent._model.weights[arm], theta, atol=1e-6)


def test_the_end_of_the_stream_looks_through_the_last_layer() -> None:
    agent = hand_made(learning_rate=0.1)
    agent._learn(outcomes([[1.0, 1.0]], [0], [1.0]))
    agent._finish()
    assert torch.equal(agent._body, agent._network.body.weight)
    assert agent._model.counts.tolist() == [1, 0]
    assert agent._model.weights[1] == pytest.approx([0, 0])
