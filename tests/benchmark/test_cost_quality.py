from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.cost_quality import cost_quality_curve, strong_call_curve
from routing_gym.benchmark.routing_metrics import average_pgr

WEAK, STRONG = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0])


def test_strong_calls_from_none_to_all() -> None:
    shares, quality = strong_call_curve(np.array([3.0, 1.0, 2.0, 0.0]), WEAK, STRONG)
    np.testing.assert_allclose(shares, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quality, [0.5, 0.75, 1, 1, 0.75])


def test_equal_preferences_are_called_together() -> None:
    shares, quality = strong_call_curve(np.array([1.0, 1.0, 1.0, 0.0]), WEAK, STRONG)
    np.testing.assert_allclose(shares, [0, 0.75, 1])
    np.testing.assert_allclose(quality, [0.5, 1, 0.75])
    constant = strong_call_curve(np.zeros(4), WEAK, STRONG)
    assert average_pgr(*constant, weak=0.5, strong=0.75) == pytest.approx(0.5)


def test_the_true_gain_is_the_best_preference() -> None:
    rng = np.random.default_rng(0)
    weak, strong = rng.random(50), rng.random(50)
    _, best = strong_call_curve(strong - weak, weak, strong)
    for _ in range(20):
        _, other = strong_call_curve(rng.random(50), weak, strong)
        assert (other <= best + 1e-12).all()


def test_price_moves_from_the_cheapest_to_the_best() -> None:
    values = np.array([[0.5, 0.9, 0.6], [0.4, 0.5, 0.9]])
    cost = np.broadcast_to([1.0, 2.0, 4.0], (2, 3))
    curve = cost_quality_curve(
        values, quality=values, cost=cost, expected_cost=np.array([1.0, 2.0, 4.0]), points=5
    )
    assert (np.diff(curve.prices) <= 0).all()
    assert (curve.costs[0], curve.quality[0]) == (1.0, pytest.approx(0.45))  # the cheapest arm
    assert (curve.costs[-1], curve.quality[-1]) == (3.0, pytest.approx(0.9))  # the best arm of each
    assert (np.diff(curve.costs) >= 0).all()
    assert (np.diff(curve.quality) >= 0).all()  # as the prediction is the truth


def test_equal_costs_leave_the_best_arm() -> None:
    values = np.array([[0.5, 0.9]])
    curve = cost_quality_curve(
        values, quality=values, cost=np.ones((1, 2)), expected_cost=np.ones(2), points=3
    )
    np.testing.assert_allclose(curve.quality, 0.9)


GOOD: dict[str, Any] = {
    "quality": np.ones((2, 2)),
    "cost": np.ones((2, 2)),
    "expected_cost": np.ones(2),
}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: strong_call_curve(np.ones(3), WEAK, STRONG), r"give \(N,\) each"),
        (lambda: strong_call_curve(np.full(4, np.nan), WEAK, STRONG), r"preference\[0\] is not"),
        (lambda: cost_quality_curve(np.ones((2, 3)), **GOOD), r"give \(N, K\) each"),
        (lambda: cost_quality_curve(np.ones((2, 2)), **GOOD, points=1), "points=1 makes no curve"),
        (
            lambda: cost_quality_curve(np.ones((2, 2)), **GOOD | {"expected_cost": np.ones(3)}),
            r"expected_cost must be \(K,\)",
        ),
        (lambda: cost_quality_curve(np.full((2, 2), np.inf), **GOOD), "not finite"),
    ],
)
def test_refuses(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
