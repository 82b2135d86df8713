"""Routing metrics against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark import routing_metrics as metrics

SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
DIPPING = np.array([0.6, 0.75, 0.7, 0.85, 0.8])  # PGR 0, .75, .5, 1.25, 1
ENDS = {"weak": 0.6, "strong": 0.8}


def test_performance_gap_recovered() -> None:
    np.testing.assert_allclose(
        metrics.performance_gap_recovered(DIPPING, **ENDS), [0, 0.75, 0.5, 1.25, 1]
    )
    with pytest.raises(ValueError, match=r"strong=0.6 must be above weak=0.8"):
        metrics.performance_gap_recovered(0.7, weak=0.8, strong=0.6)


def test_average_pgr_is_the_area() -> None:
    # trapezoids of width 1/4: (0 + .75 + .75 + .5 + .5 + 1.25 + 1.25 + 1) / 2 / 4
    assert metrics.average_pgr(SHARES, DIPPING, **ENDS) == pytest.approx(0.75)
    diagonal = metrics.average_pgr(np.array([1.0, 0.0]), np.array([0.8, 0.6]), **ENDS)
    assert diagonal == pytest.approx(0.5)  # in any order
    with pytest.raises(ValueError, match=r"shares span \[0.25, 1\]: add the points 0"):
        metrics.average_pgr(SHARES[1:], DIPPING[1:], **ENDS)


@pytest.mark.parametrize(
    ("level", "share"),
    [
        (0.0, 0.0),
        (0.5, 0.25 * 0.5 / 0.75),
        (0.75, 0.25),
        (0.8, 0.5 + 0.25 * 0.3 / 0.75),
        (1, 2 / 3),
    ],
)
def test_threshold_is_the_first_crossing(level: float, share: float) -> None:
    found = metrics.call_performance_threshold(SHARES, DIPPING, **ENDS, level=level)
    assert found == pytest.approx(share)


def test_threshold_that_is_never_reached_is_undefined() -> None:
    points = (np.array([0.0, 0.4]), np.array([0.6, 0.64]))
    assert math.isnan(metrics.call_performance_threshold(*points, **ENDS, level=0.5))
    with pytest.raises(ValueError, match=r"level=80 is outside \[0, 1\]"):
        metrics.call_performance_threshold(*points, **ENDS, level=80)


def test_hull_leaves_out_what_is_dominated_or_below_a_line() -> None:
    costs = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 1.0])
    quality = np.array([0.2, 0.3, 0.8, 0.7, 0.9, 0.1])
    x, y = metrics.quality_hull(costs, quality)
    np.testing.assert_allclose(x, [1, 3, 5])  # 2 lies below the line from 1 to 3, 4 is dominated
    np.testing.assert_allclose(y, [0.2, 0.8, 0.9])
    assert metrics.quality_hull(np.array([2.0]), np.array([0.5]))[1].tolist() == [0.5]


def test_average_improvement_in_quality_over_a_range() -> None:
    costs, quality = np.array([1.0, 3.0, 5.0]), np.array([0.2, 0.8, 0.9])
    area = metrics.average_improvement_in_quality(costs, quality, low=1, high=5)
    assert area == pytest.approx((2 * 0.5 + 2 * 0.85) / 4)
    beyond = metrics.average_improvement_in_quality(costs, quality, low=3, high=7)
    assert beyond == pytest.approx((2 * 0.85 + 2 * 0.9) / 4)  # flat above its dearest point
    part = metrics.average_improvement_in_quality(costs, quality, low=2, high=4)
    assert part == pytest.approx((0.65 + 0.825) / 2)
    with pytest.raises(ValueError, match="below the router's cheapest point 1"):
        metrics.average_improvement_in_quality(costs, quality, low=0, high=5)
    with pytest.raises(ValueError, match="empty range"):
        metrics.average_improvement_in_quality(costs, quality, low=5, high=5)


def test_common_cost_range() -> None:
    assert metrics.common_cost_range([np.array([1, 4]), np.array([2, 3])]) == (2, 4)
    with pytest.raises(ValueError, match=r"\[2, 2\] is empty"):
        metrics.common_cost_range([np.array([2.0])])
    with pytest.raises(ValueError, match="at least one router"):
        metrics.common_cost_range([])


def test_relative_figures() -> None:
    assert metrics.gain_over_best(0.66, best_single=0.6) == pytest.approx(0.1)
    assert metrics.value_over_best(0.66, best_single=0.6) == pytest.approx(1.1)
    assert metrics.gap_to_oracle(0.6, oracle=0.8) == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"oracle=0.0 must be above 0"):
        metrics.gap_to_oracle(0.6, oracle=0.0)


def test_cost_save_is_the_cheapest_at_no_loss() -> None:
    costs, accuracy = np.array([1.0, 2.0, 3.0, 9.0]), np.array([0.5, 0.8, 0.85, 0.9])
    best = {"best_cost": 4.0, "best_accuracy": 0.8}
    assert metrics.cost_save(costs, accuracy, **best) == pytest.approx(0.5)
    assert metrics.cost_save(costs[3:], accuracy[3:], **best) == pytest.approx(-1.25)
    assert math.isnan(metrics.cost_save(costs[:1], accuracy[:1], **best))


def test_arena_score() -> None:
    # half-way in the logarithm: C = .5, so 1.1 * .8 * .5 / (.08 + .5)
    half = math.sqrt(0.0044 * 200)
    assert metrics.arena_score(0.8, half) == pytest.approx(0.44 / 0.58)
    assert metrics.arena_score(0.8, 0.0001) == metrics.arena_score(0.8, 0.0044)
    assert metrics.arena_score(0.8, 0.0044) == pytest.approx(0.88 / 1.08)
    assert metrics.arena_score(0.8, 200) == 0.0
    assert metrics.arena_score(0.0, 200) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.arena_score(80, 1), "accuracy=80 is outside"),
        (lambda: metrics.arena_score(0.8, 0), "cost=0 must be above 0"),
        (lambda: metrics.quality_hull(np.ones(2), np.ones(3)), "two arrays of equal length"),
        (lambda: metrics.quality_hull(np.array([np.nan]), np.ones(1)), "not finite"),
        (
            lambda: metrics.cost_save(np.ones(1), np.ones(1), best_cost=0, best_accuracy=1),
            "best_cost=0 must be above 0",
        ),
    ],
)
def test_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
