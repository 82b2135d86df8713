from __future__ import annotations

import numpy as np
import torch
from scipy import special

from routing_gym.agents.neural_ts import NeuralTSAgent
from tests.agents.bandits import begun, behaviour


def test_propensities_by_hand() -> None:
    agent = begun(NeuralTSAgent, width=1, hidden_dim=1, input_scale=2.0, ridge=4.0, noise=0.5)
    with torch.no_grad():
        agent._network.body.weight.fill_(0.5)
        agent._network.head.weight.copy_(torch.tensor([[1.0], [2.0]]))
        agent._network.head.bias.zero_()
    # sigma^2 = lambda g'g / lambda: 4 + 1 + 1 and 16 + 1 + 1; means 1 and 2
    expected = special.ndtr((1 - 2) / (0.5 * np.sqrt(6 + 18)))
    found = behaviour(agent, np.ones((1, 1)))
    np.testing.assert_allclose(found, [[expected, 1 - expected]], atol=1e-3)
