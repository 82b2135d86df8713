"""Cascade-v0: what a try costs and reveals, and what accepting brings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.envs.cascade import CascadeEnv, CascadeVectorEnv, value_matrix
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table

TABLE = identity_table(n=60, k=4, d=8)


def by_hand(**more: Any) -> RoutingData:
    """One query, three adapters: poor and cheap, good and dear, and nearly as good for less."""
    quality = np.array([[0.25, 1.0, 0.75]], dtype=np.float32)
    made = RoutingData(
        adapters=("cheap", "good", "fair"),
        observations=np.array([[1.0, 0.0]], dtype=np.float32),
        rewards=np.array([[0.1, 0.2, 0.3]], dtype=np.float32),
        accuracy=np.array([[0, 1, 1]], dtype=np.float32),
        query_ids=np.array(["q"]),
        tasks=np.array(["t"]),
        domains=np.array(["d"]),
        complexity=np.array([1]),
        scores={"quality": quality, "certainty": 1 - quality, "accuracy": quality},
        costs={
            "completion_tokens": np.array([[2, 30, 10]], dtype=np.float32),
            "seconds": np.array([[0.25, 1.0, 0.5]], dtype=np.float32),
        },
    )
    return replace(made, **more)


PRICES = {"price_tokens": 0.01, "price_seconds": 0.2}  # so .07, .5 and .2


def test_an_episode_by_hand() -> None:
    env = CascadeEnv(data=by_hand(), **PRICES)
    observation, _ = env.reset()
    state = dict(zip(env.scenario.state_names, observation[2:], strict=True))
    assert observation[:2].tolist() == [1, 0]
    assert set(state.values()) == {0}
    assert env.action_masks().tolist() == [True, True, True, False]

    observation, reward, terminated, _, info = env.step(0)
    assert reward == pytest.approx(-0.07)
    assert not terminated
    assert env.action_masks().tolist() == [False, True, True, True]
    state = dict(zip(env.scenario.state_names, observation[2:], strict=True))
    shown = {"tried_cheap": 1, "quality_cheap": 0.25, "certainty_cheap": 0.75, "doubt_cheap": 0.5}
    shown |= {"best": 0.25, "tries": 1 / 3, "cost": 0.07}
    assert state == pytest.approx({name: shown.get(name, 0) for name in state})
    assert (info["adapter"], info["accuracy"], info["value"]) == ("cheap", 0, 0.25)
    assert info["regret"] == pytest.approx(0.55 - (0.25 - 0.07))

    observation, reward, *_ = env.step(2)
    assert reward == pytest.approx(-0.2)
    observation, reward, terminated, truncated, info = env.step(3)
    assert (reward, terminated, truncated) == (0.75, True, False)
    assert (info["adapter"], info["accuracy"], info["tries"]) == ("accept", 1, 2)
    assert info["cost"] == pytest.approx(0.27)
    assert (info["completion_tokens"], info["seconds"]) == (12, 0.75)
    assert info["oracle_reward"] == pytest.approx(0.55)  # of "fair": .75 - .2
    assert info["regret"] == pytest.approx(0.55 - (0.75 - 0.27))


def test_the_best_scored_answer_is_accepted_not_the_last() -> None:
    env = CascadeEnv(data=by_hand(), value="reward", **PRICES)
    env.reset()
    for action in (1, 0, 2):
        env.step(action)
    assert env.action_masks().tolist() == [False, False, False, True]
    assert env.step(3)[1] == pytest.approx(0.2)  # the reward of "good", whose quality is highest


def test_of_equal_scores_the_first_tried_is_accepted() -> None:
    equal = {"quality": np.zeros((1, 3), dtype=np.float32)}
    for first, expected in ((0, 0.1), (2, 0.3)):
        env = CascadeEnv(data=by_hand(scores=equal), value="reward")
        env.reset()
        for action in (first, 1, 3):
            *_, info = env.step(action)
        assert info["value"] == pytest.approx(expected)


def test_tries_are_limited() -> None:
    env = CascadeEnv(data=by_hand(), max_tries=1)
    env.reset()
    env.step(1)
    assert env.action_masks().tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="choose among accept"):
        env.step(0)
    assert env.step(3)[2]


def test_a_free_cost_need_not_be_measured() -> None:
    bare = by_hand(costs={"seconds": by_hand().costs["seconds"]})
    env = CascadeEnv(data=bare, price_tokens=0.0, price_seconds=0.2)
    env.reset()
    _, reward, *_, info = env.step(1)
    assert reward == pytest.approx(-0.2)
    assert info["completion_tokens"] == 0
    with pytest.raises(ValueError, match="no measured 'completion_tokens'"):
        CascadeEnv(data=bare)


def test_nothing_of_an_untried_answer_is_seen() -> None:
    data = TABLE.data("train")
    rng = np.random.default_rng(0)
    other = replace(
        data,
        scores={n: rng.random(s.shape).astype(np.float32) for n, s in data.scores.items()},
        rewards=rng.random(data.rewards.shape).astype(np.float32),
        accuracy=rng.random(data.accuracy.shape).astype(np.float32),
        costs={n: c + 1 for n, c in data.costs.items()},
    )
    for values in (data, other):
        for column in (*values.scores.values(), *values.costs.values()):
            column.setflags(write=True)
            column[:, 1] = 0.5  # the one adapter that is tried
    seen = []
    for values in (data, other):
        env = CascadeVectorEnv(50, data=values, value="quality")
        first, _ = env.reset(seed=1)
        seen.append((first, env.step(np.full(50, 1))[0]))
    for one, two in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, two)


def test_return_is_value_less_prices() -> None:
    data = TABLE.data("test")
    env = CascadeVectorEnv(64, data=data, seen=("relevance", "quality"), value="accuracy")
    env.reset(seed=0)
    scenario: Any = env.scenario
    rows = scenario.rows.copy()
    total = sum(env.step(np.full(64, action))[1] for action in (2, 0, 3, 4))
    tried = np.array([2, 0, 3])
    best = tried[data.scores["relevance"][rows][:, tried].argmax(axis=1)]
    tokens, seconds = (
        data.costs[name][rows][:, tried].sum(axis=1) for name in ("completion_tokens", "seconds")
    )
    prices = scenario.price_tokens * tokens + scenario.price_seconds * seconds
    np.testing.assert_allclose(total, data.accuracy[rows, best] - prices, rtol=1e-5)
    assert (total <= scenario.oracle[rows] + 1e-9).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"price_tokens": -1.0}, "price_tokens=-1.0 is impossible here"),
        ({"price_seconds": "dear"}, "price_seconds='dear' is a str"),
        ({"max_tries": 0}, "max_tries=0 is impossible here: give 1 to 4"),
        ({"max_tries": 5}, "max_tries=5 is impossible here: give 1 to 4"),
        ({"max_tries": 2.0}, "max_tries=2.0 is a float"),
        ({"seen": "quality"}, "seen='quality' must be a list of score columns"),
        ({"seen": 5}, "seen=5 must be a list of score columns"),
        ({"signals": 5}, "signals=5 must be a list of score columns"),
        ({"seen": ()}, "must name columns, each once"),
        ({"seen": ("quality", "quality")}, "must name columns, each once"),
        ({"signals": ("quality",)}, "must name columns, each once"),
        ({"seen": ("charm",)}, "'charm' is no score that an answer reveals; known are relevance"),
        ({"seen": ("accuracy",)}, "'accuracy' is no score that an answer reveals"),
        ({"value": "charm"}, "value='charm' must be one of accuracy, "),
        ({"value": 3}, "value=3 must be one of"),
        ({"price": 1.0}, "unknown option 'price'"),
    ],
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CascadeEnv(TABLE, **options)


def test_refuses_scores_out_of_range() -> None:
    for wrong in (1.5, -0.5, np.nan):
        scores = {"quality": np.array([[0.5, wrong, 0.5]], dtype=np.float32)}
        with pytest.raises(ValueError, match=r"column 'quality' is not within \[0, 1\]"):
            CascadeEnv(data=by_hand(scores=scores))


def test_value_matrix() -> None:
    data = by_hand()
    for name, expected in (("reward", data.rewards), ("quality", data.scores["quality"])):
        np.testing.assert_array_equal(value_matrix(data, name), expected)
        assert value_matrix(data, name).dtype == np.float64
