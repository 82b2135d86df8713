from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_overlap import (
    Overlap,
    OverlapError,
    OverlapLimits,
    effective_sample_size,
    measure_overlap,
    safe_overlap,
)

LIMITS = OverlapLimits()


def uniform_log(n: int = 400, target: np.ndarray | None = None) -> Overlap:
    """A log of the uniform policy over two adapters, against a target policy."""
    target = np.full((n, 2), 0.5) if target is None else target
    actions = np.arange(n) % 2
    weights = target[np.arange(n), actions] / 0.5
    return measure_overlap(weights, target=target, all_propensities=np.full((n, 2), 0.5))


def test_effective_size_by_hand() -> None:
    assert float(effective_sample_size(np.array([1.0, 1.0, 2.0]))) == pytest.approx(16 / 6)
    np.testing.assert_allclose(effective_sample_size(np.ones((2, 5))), 5.0)
    assert float(effective_sample_size(np.zeros(3))) == 0.0


def test_diagnostics_by_hand() -> None:
    weights = np.array([0.0, 1.0, 1.0, 2.0])
    target = np.array([[1.0, 0.0]] * 3 + [[0.6, 0.4]])
    known = np.array([[0.5, 0.5]] * 3 + [[1.0, 0.0]])
    overlap = measure_overlap(weights, target=target, all_propensities=known)
    assert overlap.unsupported == pytest.approx(0.1)
    assert overlap.mean_weight == pytest.approx(1.0)
    assert overlap.max_weight == 2.0
    assert overlap.largest_share == pytest.approx(0.5)
    assert overlap.matched == pytest.approx(0.75)
    assert overlap.quantiles[0.5] == pytest.approx(1.0)
    assert overlap.effective_share == pytest.approx(16 / 6 / 4)


def test_a_log_of_the_target_itself_is_fine() -> None:
    overlap = uniform_log()
    assert overlap.faults(LIMITS) == []
    assert overlap.cautions(LIMITS) == []
    overlap.check(LIMITS)


def test_mass_without_support_is_refused_with_the_reason() -> None:
    n = 400
    target = np.tile([0.0, 1.0], (n, 1))
    known = np.tile([1.0, 0.0], (n, 1))
    overlap = measure_overlap(np.zeros(n), target=target, all_propensities=known)
    with pytest.raises(OverlapError, match=r"never plays adapters .* 100.0% of its mass"):
        overlap.check(LIMITS)


def test_a_small_effective_size_is_refused() -> None:
    weights = np.append(np.full(399, 0.5), 200.5)
    overlap = measure_overlap(weights, target=np.full((400, 2), 0.5))
    with pytest.raises(OverlapError, match=r"effective sample size is 4\.0 of 400"):
        overlap.check(LIMITS)


def test_one_heavy_decision_is_refused() -> None:
    weights = np.append(np.full(999, 0.85), 0.15 * 1000)
    overlap = measure_overlap(weights, target=np.full((1000, 2), 0.5))
    limits = OverlapLimits(min_effective=20)
    with pytest.raises(OverlapError, match=r"one decision holds 15\.0% of all weight"):
        overlap.check(limits)


def test_weights_that_do_not_average_one_are_refused() -> None:
    weights = np.tile([1.9, 2.1], 200)
    overlap = measure_overlap(weights, target=np.full((400, 2), 0.5))
    with pytest.raises(OverlapError, match=r"weights average 2\.000"):
        overlap.check(LIMITS)


def test_doubtful_logs_are_named() -> None:
    overlap = measure_overlap(np.ones(100), target=np.full((100, 2), 0.5))
    assert overlap.faults(LIMITS) == []
    doubts = overlap.cautions(LIMITS)
    assert "100.0 is below 200" in doubts[0]
    assert "only the chosen adapters' propensities" in doubts[1]
    assert bool(safe_overlap(np.ones(100), LIMITS)) is False
    np.testing.assert_array_equal(safe_overlap(np.ones((2, 300)), LIMITS), [True, True])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_effective": 1.0}, "min_effective=1.0 must be at least 2"),
        ({"max_unsupported": 2.0}, "max_unsupported=2.0 is a share"),
        ({"safe_share": -1.0}, "safe_share=-1.0 is a share"),
    ],
)
def test_impossible_limits_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OverlapLimits(**options)


def test_too_few_decisions_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        measure_overlap(np.ones(1), target=np.full((1, 2), 0.5))
    with pytest.raises(ValueError, match="all_propensities has shape"):
        measure_overlap(
            np.ones(2), target=np.full((2, 2), 0.5), all_propensities=np.full((2, 3), 1 / 3)
        )
