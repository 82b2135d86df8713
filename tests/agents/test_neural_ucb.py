from __future__ import annotations

import numpy as np
import torch

from routing_gym.agents.neural_ucb import NeuralUCBAgent
from routing_gym.agents.value_network import as_tensor
from tests.agents.bandits import begun, behaviour, outcomes

STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "dropout": 0.0}


def hand_made(**options: float) -> NeuralUCBAgent:
    """One hidden unit, f = (1, 2) at x = 1, that does not learn."""
    agent = begun(
        NeuralUCBAgent, width=1, hidden_dim=1, input_scale=2.0, ridge=1.0, **STILL, **options
    )
    with torch.no_grad():
        agent._network.body.weight.fill_(0.5)
        agent._network.head.weight.copy_(torch.tensor([[1.0], [2.0]]))
        agent._network.head.bias.zero_()
    return agent


def test_two_rounds_by_hand() -> None:
    # the hidden unit is 1, so the gradients of f_a are 2 V_a in W, 1 in V_a and 1 in c_a
    agent, x = hand_made(gamma=1.0), np.ones((1, 1))
    np.testing.assert_allclose(agent._spread(x) ** 2, [[4 + 1 + 1, 16 + 1 + 1]])
    agent._learn(outcomes([[1.0]], [0], [1.0]))  # Z of W 5, of V_0 and c_0 2
    np.testing.assert_allclose(agent._spread(x) ** 2, [[4 / 5 + 1, 16 / 5 + 2]])
    agent._learn(outcomes([[1.0]], [1], [1.0]))  # Z of W 21, of V_1 and c_1 2
    np.testing.assert_allclose(agent._spread(x) ** 2, [[4 / 21 + 1, 16 / 21 + 1]])


def test_spread_equals_autograd() -> None:
    agent = begun(NeuralUCBAgent, width=3, arms=3, hidden_dim=5, **STILL, ridge=0.1)
    rng = np.random.default_rng(0)
    seen, actions = rng.normal(size=(4, 3)), [0, 2, 2, 1]

    def gradient(x: np.ndarray, arm: int) -> np.ndarray:
        agent._network.zero_grad()
        agent._network(as_tensor(x[None]))[0, arm].backward()
        parts = [p.grad for p in agent._network.parameters()]
        return np.concatenate([p.numpy().ravel() for p in parts if p is not None])

    diagonal = np.full(3 * 5 + 3 * 5 + 3, 0.1)
    for x, arm in zip(seen, actions, strict=True):
        diagonal += gradient(x, arm) ** 2 / 5
    agent._learn(outcomes(seen.tolist(), actions, [0.0] * 4, arms=3))
    queries = rng.normal(size=(2, 3))
    expected = [
        [np.sqrt((gradient(x, arm) ** 2 / diagonal).sum() / 5) for arm in range(3)] for x in queries
    ]
    np.testing.assert_allclose(agent._spread(queries), expected, rtol=1e-5)


def test_bounds_by_hand() -> None:
    x = np.ones((1, 1))
    assert behaviour(hand_made(gamma=0.0), x).tolist() == [[0, 1]]
    agent = hand_made(gamma=4.0)
    for _ in range(3):
        agent._learn(outcomes([[1.0]], [1], [1.0]))
    # Z of W is 49, of V_1 and c_1 4: 1 + 4 sqrt(4 / 49 + 2) against 2 + 4 sqrt(16 / 49 + 1 / 2)
    assert behaviour(agent, x).tolist() == [[1, 0]]
