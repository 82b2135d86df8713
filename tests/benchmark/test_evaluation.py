from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from routing_gym.benchmark.evaluation import Yardstick, measure, routing_accuracy
from tests.synthetic import identity_table

REWARD = np.array([[0.2, 0.6], [0.8, 0.4], [0.5, 0.5], [0.3, 0.7]])
ACCURACY = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])


def yardstick() -> Yardstick:
    return Yardstick(
        adapters=("base", "code"),
        tasks=np.array(["a", "a", "b", "b"]),
        reward=REWARD,
        accuracy=ACCURACY,
        best_by_reward=1,
        best_by_accuracy=0,
        seconds=np.array([[1.0, 2.0]] * 4),
    )


def test_a_row_by_hand() -> None:
    stick = yardstick()
    row = measure(
        np.array([1, 0, 0, 0]), stick, bootstrap=stick.bootstrap(), agent="x", feedback="full"
    )
    assert row.seeds == 1
    assert row.reward.value == pytest.approx(2.2 / 4)
    assert row.accuracy.value == pytest.approx(0.75)
    # best single by reward: 2.2 / 4, oracle: 2.6 / 4
    assert row.reward_gap_closed.value == pytest.approx(0.0)
    # best single by accuracy: .5, oracle: .75
    assert row.accuracy_gap_closed.value == pytest.approx(1.0)
    assert row.regret == pytest.approx(0.1)
    assert row.tie_set_differ.value == 1.0
    assert row.tie_set_all.value == 1.0
    assert row.usage == (0.75, 0.25)
    assert row.reward_gap.value == pytest.approx(-0.2)
    assert row.seconds is not None
    assert row.seconds.value == pytest.approx(1.25)
    assert row.quality is None


def test_seeds_are_joined() -> None:
    stick = yardstick()
    actions = np.array([[1, 1, 1, 1], [0, 0, 0, 0]])
    row = measure(actions, stick, bootstrap=stick.bootstrap(), agent="x")
    assert row.seeds == 2
    assert row.reward.value == pytest.approx(REWARD.mean())
    assert row.entropy == 0.0
    assert row.usage == (0.5, 0.5)


@pytest.mark.parametrize(("others", "collapsed"), [(0, True), (4, True), (5, False), (50, False)])
def test_a_collapse_is_more_than_95_per_cent_on_one_adapter(others: int, collapsed: bool) -> None:
    table = np.zeros((100, 2))
    stick = Yardstick(("base", "code"), np.full(100, "a"), table, table, 0, 0)
    actions = np.r_[np.ones(others, dtype=int), np.zeros(100 - others, dtype=int)]
    row = measure(actions, stick, bootstrap=stick.bootstrap(resamples=100), agent="x")
    assert row.collapsed == collapsed


def test_references() -> None:
    levels = yardstick().references
    assert levels["best_single_reward"] == pytest.approx(0.55)
    assert levels["oracle_reward"] == pytest.approx(0.65)
    assert levels["best_single_accuracy"] == pytest.approx(0.5)
    assert levels["oracle_accuracy"] == pytest.approx(0.75)


def test_routing_accuracy_counts_only_queries_that_differ() -> None:
    stick = yardstick()
    actions = np.array([[1, 1, 0, 1]])
    interval = routing_accuracy(actions, ACCURACY, bootstrap=stick.bootstrap())
    assert interval.value == pytest.approx(0.5)
    assert 0.0 <= interval.low <= interval.high <= 1.0


def test_the_best_single_adapter_is_chosen_on_train() -> None:
    table = identity_table(n=80)
    train, test = table.data("train"), table.data("test")
    lured = dataclasses.replace(train, rewards=np.eye(4, dtype=np.float32)[np.full(len(train), 2)])
    assert Yardstick.from_splits(test, train=lured).best_by_reward == 2


def test_splits_of_other_pools_are_refused() -> None:
    train, test = identity_table(n=80).data("train"), identity_table(n=80, k=3).data("test")
    with pytest.raises(ValueError, match="take both splits from one table"):
        Yardstick.from_splits(test, train=train)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"accuracy has shape \(4, 1\)"):
        dataclasses.replace(yardstick(), accuracy=ACCURACY[:, :1])
