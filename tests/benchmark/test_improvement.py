from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.improvement import (
    normalised_scores,
    performance_profile,
    probability_of_improvement,
    profile_band,
    task_scores,
)
from routing_gym.benchmark.statistics import Interval

TASKS = np.array(["b", "a", "b", "c"])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_task_scores_by_hand() -> None:
    scores, names = task_scores(np.array([[0.0, 1.0, 0.5, 0.2], [1.0, 0.0, 1.0, 0.4]]), TASKS)
    assert names.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(scores, [[1.0, 0.25, 0.2], [0.0, 1.0, 0.4]])


def test_normalised_scores_by_hand() -> None:
    table = np.array([[0.0, 1.0], [0.5, 0.5], [0.0, 0.5], [0.2, 0.4]])
    # task a: random .5 = oracle, left out; b: .375 to .75; c: .3 to .4
    scores = normalised_scores(np.array([[1.0, 0.5, 0.0, 0.4]]), TASKS, table=table)
    np.testing.assert_allclose(scores, [[(0.5 - 0.375) / 0.375, 1.0]])
    kept = normalised_scores(table.max(axis=1)[None], TASKS, table=table, least_gap=0.2)
    np.testing.assert_allclose(kept, [[1.0]])


def test_probability_of_improvement_by_hand() -> None:
    first, second = np.array([[1.0, 0.5], [3.0, 0.5]]), np.array([[2.0, 0.5], [0.0, 0.7]])
    # task 0: 1 > 0, 3 > 2, 3 > 0 of 4 pairs; task 1: two ties (half each), two losses
    found = probability_of_improvement(first, second, rng=rng())
    assert found.value == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert 0 <= found.low < found.value < found.high <= 1
    reverse = probability_of_improvement(second, first, rng=rng())
    assert reverse.value == pytest.approx(1 - found.value)


def test_certain_improvement_has_no_interval() -> None:
    low, high = np.zeros((3, 2)), np.ones((4, 2))
    assert probability_of_improvement(high, low, rng=rng()) == Interval(1.0, 1.0, 1.0)
    assert probability_of_improvement(low, high, rng=rng()) == Interval(0.0, 0.0, 0.0)
    assert probability_of_improvement(low, low, rng=rng()) == Interval(0.5, 0.5, 0.5)


def test_the_interval_is_wider_with_fewer_runs() -> None:
    draws = np.random.default_rng(1).normal(size=(40, 3))
    other = np.random.default_rng(2).normal(size=(40, 3))
    few = probability_of_improvement(draws[:4], other[:4], rng=rng())
    many = probability_of_improvement(draws, other, rng=rng())
    assert many.high - many.low < few.high - few.low


def test_performance_profile_by_hand() -> None:
    scores = np.array([[0.0, 0.5], [0.5, 1.0]])
    levels = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.1])
    np.testing.assert_allclose(performance_profile(scores, levels), [1, 0.75, 0.75, 0.25, 0.25, 0])


def test_the_band_holds_the_profile() -> None:
    scores = np.random.default_rng(0).random((6, 4))
    levels = np.linspace(0, 1, 11)
    low, high = profile_band(scores, levels, rng=rng())
    profile = performance_profile(scores, levels)
    assert (low <= profile).all()
    assert (profile <= high).all()
    assert (high - low).max() > 0.1
    same = profile_band(np.repeat(scores[:1], 5, axis=0), levels, rng=rng())
    np.testing.assert_allclose(same[0], same[1])  # equal runs leave nothing to chance


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), "with the same tasks"),
        (np.ones(3), np.ones((2, 3)), r"first and second have shapes \(3,\) and \(2, 3\)"),
        (np.ones((0, 3)), np.ones((2, 3)), "has no runs: give at least one seed"),
    ],
)
def test_invalid_input(first: np.ndarray, second: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        probability_of_improvement(first, second, rng=rng())
