from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.agents.forest import ForestAgent, predict_trees
from tests.agents.problems import by_hand, identity


def test_trees_by_hand() -> None:
    trees = {
        "roots": np.array([0, 3]),
        "feature": np.array([1, -2, -2, -2]),  # one question, then a tree of one leaf
        "threshold": np.array([0.5, 0, 0, 0]),
        "left": np.array([1, -1, -1, 2]),
        "right": np.array([2, -1, -1, 2]),
        "value": np.array([[0.0, 0], [1, 0], [0, 1], [0.5, 0.5]]),
    }
    values = predict_trees(trees, np.array([[9, 0.5], [9, 0.6]], dtype=np.float32))
    np.testing.assert_allclose(values, [[0.75, 0.25], [0.25, 0.75]])


def test_arrays_predict_as_scikit_learn() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    rewards = np.stack([x[:, 0] * x[:, 1], -x[:, 2]], axis=1)
    data = by_hand(rewards.tolist(), observations=x.tolist())
    agent = ForestAgent(leaf_sizes=(3,), trees=20, share=0.3)
    agent.train(data, validation=data, seed=4)
    target = data.rewards - data.rewards.mean(axis=0)
    target = target - target.mean(axis=1, keepdims=True)
    peer = ensemble.ExtraTreesRegressor(
        20, min_samples_leaf=3, max_features=0.3, random_state=4
    ).fit(x, target)
    expected = data.rewards.mean(axis=0) + peer.predict(x)
    np.testing.assert_allclose(agent.values(x), expected, atol=1e-5)


def test_finds_an_interaction_that_no_linear_router_can() -> None:
    rng = np.random.default_rng(1)

    def split(n: int) -> Any:
        x = rng.uniform(-1, 1, size=(n, 2))
        first = (x[:, 0] * x[:, 1] > 0).astype(float)
        return by_hand(np.stack([first, 1 - first], axis=1).tolist(), observations=x.tolist())

    agent, test = ForestAgent(leaf_sizes=(5,), share=1.0), split(200)
    agent.train(split(400), validation=split(100), seed=0)
    chosen = agent.decide(test.observations).actions
    assert test.rewards[np.arange(200), chosen].mean() > 0.9


def test_wide_blocks_are_reduced_and_narrow_ones_kept() -> None:
    agent = ForestAgent(blocks=(12, 4), components=5, trees=5)
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    assert agent._directions.shape == (16, 9)
    np.testing.assert_array_equal(agent._directions[12:, 5:], np.eye(4))
    np.testing.assert_allclose(
        agent._directions[:12, :5].T @ agent._directions[:12, :5], np.eye(5), atol=1e-5
    )


def test_validation_chooses_the_leaf() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    noise = by_hand(rng.normal(size=(200, 2)).tolist(), observations=x.tolist())
    agent = ForestAgent(leaf_sizes=(1, 100), trees=20)
    agent.train(
        noise,
        validation=by_hand(
            rng.normal(size=(90, 2)).tolist(), observations=rng.normal(size=(90, 3)).tolist()
        ),
        seed=0,
    )
    assert agent.leaf_size == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trees": 0}, "trees=0 is too small"),
        ({"components": 0}, "components=0 is too small"),
        ({"leaf_sizes": (0,)}, "numbers of at least 1"),
        ({"share": 0.0}, "share=0.0 must be above 0"),
        ({"blocks": (0,)}, "widths of at least 1"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ForestAgent(**options)


def test_refuses_blocks_of_another_width() -> None:
    with pytest.raises(ValueError, match="sum to 5, but the embeddings have width 16"):
        ForestAgent(blocks=(2, 3)).train(
            identity("train"), validation=identity("validation"), seed=0
        )
