from __future__ import annotations

import numpy as np
import pytest
import torch

from routing_gym.agents.reinforce import REINFORCEAgent
from tests.agents.bandits import QUERY, begun, behaviour, outcomes


def hand_made(**options: float) -> REINFORCEAgent:
    """A policy of (1/4, 3/4) and a baseline of .5, whatever the query."""
    agent = begun(REINFORCEAgent, hidden_dim=2, **options)
    with torch.no_grad():
        agent._network.head.weight.zero_()
        agent._network.head.bias.copy_(torch.tensor([0.0, np.log(3.0), 0.5]))
    return agent


def test_loss_by_hand() -> None:
    agent = hand_made(entropy_coefficient=0.1, baseline_coefficient=0.3)
    batch = outcomes([[1.0, 1.0], [1.0, 0.0]], [1, 0], [1.0, 0.2], [[0.25, 0.75]] * 2)
    entropy = -(np.log(0.25) / 4 + 3 * np.log(0.75) / 4)
    gain = (0.5 * np.log(0.75) - 0.3 * np.log(0.25)) / 2 + 0.1 * entropy
    loss = -gain + 0.3 * (0.25 + 0.09) / 2
    assert agent._loss(batch).item() == pytest.approx(loss, abs=1e-6)


def test_gradient_by_hand() -> None:
    agent = hand_made(entropy_coefficient=0.0, baseline_coefficient=0.3)
    agent._loss(outcomes([[1.0, 1.0]], [1], [1.0], [[0.25, 0.75]])).backward()
    # -(r - b) (e_a - pi), and 2 c_b (b - r): the first term does not move the baseline
    gradient = agent._network.head.bias.grad
    assert gradient is not None
    np.testing.assert_allclose(gradient.numpy(), [0.125, -0.125, -0.3], atol=1e-6)


def test_propensities_are_the_masked_softmax() -> None:
    agent = hand_made()
    np.testing.assert_allclose(behaviour(agent, QUERY), [[0.25, 0.75]], atol=1e-6)
    only = behaviour(agent, QUERY, np.array([[True, False]]))
    np.testing.assert_allclose(only, [[1, 0]])


def test_forbidden_adapters_get_no_gradient() -> None:
    agent = hand_made(entropy_coefficient=0.1)
    agent._loss(outcomes([[1.0, 1.0]], [0], [1.0], [[1.0, 0.0]])).backward()
    gradient = agent._network.head.bias.grad
    assert gradient is not None
    np.testing.assert_allclose(gradient.numpy()[:2], [0, 0], atol=1e-6)


def test_what_paid_becomes_more_probable() -> None:
    agent = hand_made()
    agent._learn(outcomes([[1.0, 1.0]], [0], [1.0], [[0.25, 0.75]]))
    assert behaviour(agent, QUERY)[0, 0] > 0.25
