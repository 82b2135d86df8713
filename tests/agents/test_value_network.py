from __future__ import annotations

import numpy as np
import pytest
import torch

from routing_gym.agents.neural_ucb import NeuralUCBAgent
from routing_gym.agents.value_network import Replay, ReplayConfig, ValueNetwork
from tests.agents.bandits import begun, outcomes


def hand_made() -> ValueNetwork:
    network = ValueNetwork(2, 2, config=ReplayConfig(hidden_dim=2, input_scale=2.0))
    with torch.no_grad():
        network.body.weight.copy_(torch.tensor([[0.5, 0.0], [-1.0, 0.5]]))
        network.head.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
        network.head.bias.copy_(torch.tensor([0.25, 0.0]))
    return network


def test_forward_by_hand() -> None:
    # 2 W x = (1, -1) and (1, 2)
    contexts = np.array([[1.0, 1.0], [1.0, 4.0]])
    np.testing.assert_allclose(hand_made().evaluate(contexts), [[1.25, 2], [1.25, 8]])


def test_dropout_only_while_training() -> None:
    network = ValueNetwork(2, 2, config=ReplayConfig(), dropout=0.5)
    contexts = torch.ones(4, 2)
    assert not torch.equal(network.train()(contexts), network(contexts))
    np.testing.assert_array_equal(
        network.evaluate(contexts.numpy()), network.evaluate(contexts.numpy())
    )


def test_a_step_moves_the_chosen_output_only() -> None:
    agent = begun(NeuralUCBAgent, arms=3, weight_decay=0.0, dropout=0.0, learning_rate=0.01)
    before = {k: v.clone() for k, v in agent._network.state_dict().items()}
    contexts = torch.tensor([[1.0, 0.5]])
    error = agent._network(contexts)[0, 1].item() - 10.0
    agent._step(contexts, torch.tensor([1]), torch.tensor([10.0]))
    moved = agent._network.head.bias.detach() - before["head.bias"]
    # Adam's first step is the learning rate against the sign of the gradient
    np.testing.assert_allclose(moved.numpy(), [0, -0.01 * np.sign(error), 0], atol=1e-6)
    rows = agent._network.head.weight.detach() - before["head.weight"]
    assert (rows[[0, 2]] == 0).all()
    assert (rows[1] != 0).any()


def test_replay_holds_everything_while_it_grows() -> None:
    replay, rng = Replay(2), np.random.default_rng(0)
    batches = [outcomes(rng.random((700, 2)).tolist(), [i] * 700, [i / 4] * 700) for i in range(4)]
    for batch in batches:
        replay.append(batch)
    contexts, actions, rewards = replay.held()
    assert replay.size == len(contexts) == 2800
    np.testing.assert_allclose(contexts[700:1400].numpy(), batches[1].contexts, atol=1e-7)
    np.testing.assert_array_equal(actions.numpy(), np.repeat([0, 1, 2, 3], 700))
    np.testing.assert_allclose(rewards.numpy(), np.repeat([0, 0.25, 0.5, 0.75], 700))
    drawn = replay.draw(np.array([0, 2799]))
    assert drawn[1].tolist() == [0, 3]


def test_refuses_weights_of_another_shape() -> None:
    arrays = hand_made().arrays()
    arrays["network.head.bias"] = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match="do not fit the network"):
        hand_made().fill(arrays)
