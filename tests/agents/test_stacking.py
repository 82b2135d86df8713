from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents import load_agent, make_agent
from routing_gym.agents.stacking import StackingAgent, stacking_weights
from tests.agents.problems import by_hand, identity


def test_weights_by_hand() -> None:
    rewards = np.array([[1.0, 0.0], [0.0, 1.0]])  # advantages +-0.5 around means of 0.5
    mean = np.array([0.5, 0.5])
    half, noise = mean + (rewards - mean) / 2, np.array([[1.0, 0.0], [1.0, 0.0]])
    # half the advantage needs weight 2; what is at right angles to the rewards needs none
    np.testing.assert_allclose(
        stacking_weights(np.stack([half, noise]), rewards, mean), [2.0, 0.0], atol=1e-12
    )
    # two halves of the truth on different queries, each exact where the other is silent
    first, second = mean.repeat(2).reshape(2, 2).T.copy(), mean.repeat(2).reshape(2, 2).T.copy()
    first[0], second[1] = rewards[0], rewards[1] + 7.0  # a number per query moves nothing
    np.testing.assert_allclose(
        stacking_weights(np.stack([first, second]), rewards, mean), [1.0, 1.0], atol=1e-12
    )
    # a member that is always wrong is left out, not turned round
    wrong = mean - (rewards - mean)
    np.testing.assert_allclose(stacking_weights(wrong[None], rewards, mean), [0.0])


def test_adapters_means_are_not_weighted() -> None:
    # adapter 0 is better by 0.4 on average, which a member may not take credit for
    rewards = np.array([[0.9, 0.3], [0.5, 0.3], [0.7, 0.3]])
    mean = rewards.mean(axis=0)
    member = np.broadcast_to(mean * 3, rewards.shape)
    member = member + (rewards - mean)
    advantages = rewards - mean - (rewards - mean).mean(axis=1, keepdims=True)
    shift = 2 * mean - (2 * mean).mean()
    expected = np.sum(advantages * (advantages + shift)) / np.sum((advantages + shift) ** 2)
    np.testing.assert_allclose(stacking_weights(member[None], rewards, mean), [expected])


def test_values_are_the_weighted_sum_of_the_members() -> None:
    agent, train = StackingAgent(members=("ridge", "knn"), folds=3), identity("train")
    agent.train(train, validation=identity("validation"), seed=0)
    x, mean = identity("test").observations, train.rewards.mean(axis=0, dtype=np.float64)
    expected = mean.copy() + np.zeros((len(x), 1))
    for name, weight in agent.weights().items():
        member = make_agent(name)
        member.train(train, validation=identity("validation"), seed=0)
        own = member.values(x) - mean
        expected += weight * (own - own.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(agent.values(x), expected, atol=1e-6)


def test_weights_come_from_queries_that_the_members_have_not_seen() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4))
    signal = np.stack([x[:, 0], -x[:, 0]], axis=1) + rng.normal(scale=0.3, size=(120, 2))
    data = by_hand(signal.tolist(), observations=x.tolist())
    agent = StackingAgent(members=("knn", "ridge"))
    # one neighbour knows every train query by heart, and would get all the weight for it
    agent.train(data, validation=data, seed=0)
    assert agent._members[0].k == 1
    assert agent.weights()["ridge"] > 3 * agent.weights()["knn"]


def test_no_better_than_chance_leaves_the_best_single_adapter() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(200, 2)) + np.array([0.0, 1.0])
    data = by_hand(noise.tolist(), observations=rng.normal(size=(200, 3)).tolist())
    agent = StackingAgent(members=("ridge",))
    agent.train(data, validation=data, seed=0)
    assert agent.decide(data.observations).actions.mean() > 0.95


def test_learns_from_each_member_where_it_is_good() -> None:
    rng = np.random.default_rng(1)

    def split(n: int) -> Any:
        x = rng.uniform(-1, 1, size=(n, 3))
        edge = 2 * x[:, 2]  # linear
        corner = np.sign(x[:, 0] * x[:, 1])  # what no linear router sees
        gain = edge + corner
        return by_hand(np.stack([gain, -gain], axis=1).tolist(), observations=x.tolist())

    train, validation, test = split(500), split(100), split(400)
    stack = StackingAgent(members=("ridge", "forest"))
    stack.train(train, validation=validation, seed=0)

    def reward(agent: Any) -> float:
        actions = agent.decide(test.observations).actions
        return float(test.rewards[np.arange(400), actions].mean())

    ridge = make_agent("ridge")
    ridge.train(train, validation=validation, seed=0)
    assert reward(stack) > reward(ridge) + 0.1
    assert reward(stack) > 0.9 * np.abs(test.rewards[:, 0]).mean()


def test_survives_saving(tmp_path: Path) -> None:
    agent = StackingAgent(blocks=(10, 6), folds=2)
    agent.train(identity("train"), validation=identity("validation"), seed=1)
    agent.save(tmp_path / "stack")
    loaded = load_agent(tmp_path / "stack")
    x = identity("test").observations
    assert isinstance(loaded, StackingAgent)
    assert loaded.weights() == agent.weights()
    np.testing.assert_allclose(loaded.values(x), agent.values(x), rtol=1e-12)


def test_blocks_reach_the_members_that_ask() -> None:
    agent = StackingAgent(blocks=(10, 6), folds=2)
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    ridge, forest, _ = agent._members
    assert ridge.config.blocks == forest.config.blocks == (10, 6)
    assert len(ridge.block_penalties) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": ("rigde",)}, "must be names, each once, of ridge, forest"),
        ({"members": ()}, "must be names, each once"),
        ({"members": ("knn", "knn")}, "must be names, each once"),
        ({"folds": 1}, "folds=1 is too small"),
        ({"blocks": (0,)}, "widths of at least 1"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackingAgent(**options)


def test_refuses_more_folds_than_queries() -> None:
    data = by_hand([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="folds=5 need as many train queries, there are 2"):
        StackingAgent().train(data, validation=data, seed=0)
