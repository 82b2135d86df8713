from __future__ import annotations

import math

import numpy as np
import pytest

from routing_gym.benchmark import metrics

REWARDS = np.array([[0.1, 0.9], [0.4, 0.2], [0.3, 0.3], [0.2, 0.8]], dtype=np.float32)
ACCURACY = np.array([[0, 1], [1, 0], [1, 1], [0, 0]], dtype=np.float32)


def test_best_single_has_the_highest_mean() -> None:
    assert metrics.best_single(REWARDS) == 1
    assert metrics.best_single(np.ones((3, 2))) == 0


def test_chosen_for_one_and_for_several_seeds() -> None:
    np.testing.assert_allclose(
        metrics.chosen(REWARDS, np.array([0, 0, 1, 1])), [0.1, 0.4, 0.3, 0.8]
    )
    two = metrics.chosen(REWARDS, np.array([[0, 0, 0, 0], [1, 1, 1, 1]]))
    np.testing.assert_allclose(two, REWARDS.T)


def test_value_and_regret() -> None:
    actions = np.array([1, 1, 0, 0])
    assert metrics.value(REWARDS, actions) == pytest.approx((0.9 + 0.2 + 0.3 + 0.2) / 4)
    np.testing.assert_allclose(metrics.regret(REWARDS, actions), [0, 0.2, 0, 0.6], atol=1e-7)


def test_gap_closed() -> None:
    assert metrics.gap_closed(0.7, best_single=0.6, oracle=0.8) == pytest.approx(0.5)
    assert metrics.gap_closed(0.5, best_single=0.6, oracle=0.8) == pytest.approx(-0.5)
    assert math.isnan(metrics.gap_closed(0.5, best_single=0.5, oracle=0.5))


def test_tie_sets_count_queries_that_differ_and_all() -> None:
    hits = metrics.tie_set_accuracy(np.array([1, 1, 0, 0]), ACCURACY)
    assert hits == metrics.TieSetAccuracy(differ=0.5, all=0.75)
    np.testing.assert_array_equal(metrics.arms_differ(ACCURACY), [True, True, False, False])
    several = metrics.tie_set_accuracy(np.array([[1, 1, 0, 0], [1, 0, 0, 0]]), ACCURACY)
    assert several == metrics.TieSetAccuracy(differ=0.75, all=0.875)


def test_tie_sets_without_any_difference() -> None:
    hits = metrics.tie_set_accuracy(np.array([0, 1]), np.ones((2, 2)))
    assert math.isnan(hits.differ)
    assert hits.all == 1.0


def test_entropy_of_arm_usage() -> None:
    assert metrics.arm_usage_entropy(np.array([0, 0, 0]), 4) == (0.0, 0.0)
    nats, share = metrics.arm_usage_entropy(np.array([0, 1, 0, 1]), 4)
    assert nats == pytest.approx(math.log(2))
    assert share == pytest.approx(0.5)
    np.testing.assert_allclose(metrics.arm_usage(np.array([0, 1, 1, 3]), 4), [0.25, 0.5, 0, 0.25])


def test_entropy_is_averaged_over_seeds_so_that_a_collapse_shows() -> None:
    collapsed = np.array([[0, 0], [1, 1]])
    assert metrics.arm_usage_entropy(collapsed, 2) == (0.0, 0.0)


def test_reward_gap() -> None:
    assert metrics.reward_gap(0.99, 0.74) == pytest.approx(0.25)


def test_quality_orients_and_averages() -> None:
    scores = {"a": np.array([[0.2, 1.0]]), "b": np.array([[0.4, 0.0]]), "accuracy": np.ones((1, 2))}
    quality = metrics.quality(scores, {"a": "higher", "b": "lower"})
    np.testing.assert_allclose(quality, [[0.4, 1.0]])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.chosen(REWARDS, np.array([0, 1, 2, 0])), "allowed are 0 to 1"),
        (lambda: metrics.chosen(REWARDS, np.array([0, -1, 0, 0])), "span -1 to 0"),
        (lambda: metrics.chosen(REWARDS, np.array([0, 1])), "must hold N=4"),
        (lambda: metrics.quality({"a": REWARDS}, {}), "directions is empty"),
        (lambda: metrics.quality({"a": REWARDS}, {"b": "higher"}), "'b' is not in the table"),
        (lambda: metrics.quality({"a": REWARDS}, {"a": "up"}), "direction 'up'"),
    ],
)
def test_invalid_input(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call()
