"""The published variants do what was published, and where that goes wrong is shown."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark import published_metrics as published
from routing_gym.benchmark import routing_metrics as metrics

SHARES = np.linspace(0, 1, 18)
# reaches .6 between its sixth and seventh point, falls, and reaches it again
PGR = np.array([0, 1, 2, 3, 4, 5, 8, 7, 4, 3, 3, 4, 4, 5, 5, 7, 9, 10]) / 10
ENDS = {"weak": 0.6, "strong": 0.8}
DIPPING = 0.6 + 0.2 * PGR


def test_quantile_points() -> None:
    weak, strong = np.zeros(4), np.array([1.0, 0.0, 1.0, 1.0])
    shares, quality = published.quantile_points_routellm(np.arange(4.0), weak, strong, bins=2)
    np.testing.assert_allclose(shares, [0, 0.5, 1])  # cuts at 0, 1.5 and above 3
    np.testing.assert_allclose(quality, [0, 0.5, 0.75])
    area = published.average_pgr_routellm(np.arange(4.0), weak, strong, bins=2)
    assert area == pytest.approx(0.25 * 2 / 3 + 0.25 * (2 / 3 + 1))


def test_ties_at_a_threshold_all_call_the_strong_model() -> None:
    weak, strong = np.zeros(4), np.ones(4)
    shares, _ = published.quantile_points_routellm(np.zeros(4), weak, strong, bins=2)
    np.testing.assert_allclose(shares, [0, 1, 1])


def test_interpolated_threshold_is_wrong_where_the_curve_dips() -> None:
    exact = metrics.call_performance_threshold(SHARES, DIPPING, **ENDS, level=0.6)
    assert exact == pytest.approx((5 + 1 / 3) / 17)
    wrong = published.call_performance_threshold_routellm(SHARES, DIPPING, **ENDS, level=0.6)
    assert wrong > exact + 0.2  # another crossing of the same level
    rising = np.linspace(0.6, 0.8, 18)
    assert published.call_performance_threshold_routellm(
        SHARES, rising, **ENDS, level=0.6
    ) == pytest.approx(metrics.call_performance_threshold(SHARES, rising, **ENDS, level=0.6))


def test_routerbench_area_punishes_a_router_that_is_not_offered_cheaply() -> None:
    costs = np.array([1.0, 5.0])
    perfect = np.array([1.0, 1.0])
    area = published.average_improvement_in_quality_routerbench(costs, perfect, high=5)
    assert area == pytest.approx(0.8)  # always right, and yet not 1
    assert metrics.average_improvement_in_quality(costs, perfect, low=1, high=5) == 1.0
    with pytest.raises(ValueError, match="below the router's own cost"):
        published.average_improvement_in_quality_routerbench(costs, np.array([0, 1.0]), high=4)
