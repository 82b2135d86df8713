from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.rewards.reliability import (
    CalibrationError,
    calibration_error_interval,
    expected_calibration_error,
    reliability_curve,
)

# Four answers at .25 of which one is right, two at .75 of which both are, one at 1 which is wrong.
SURE = np.array([0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 1.0])
RIGHT = np.array([1, 0, 0, 0, 1, 1, 0])


def drawn(
    queries: int, *, seed: int, bias: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences, labels and query ids of five answers each, alike within their query."""
    rng = np.random.default_rng(seed)
    sure = np.repeat(rng.uniform(0.1, 0.8, size=queries), 5)
    right = np.repeat(rng.random(queries), 5) < sure + bias
    return sure, right.astype(float), np.repeat(np.arange(queries), 5)


def test_curve_by_hand() -> None:
    curve = reliability_curve(SURE, RIGHT, bins=4)
    np.testing.assert_array_equal(curve.edges, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(curve.count, [4, 0, 2, 1])
    np.testing.assert_array_equal(curve.confidence, [0.25, np.nan, 0.75, 1])
    np.testing.assert_array_equal(curve.frequency, [0.25, np.nan, 1, 0])


def test_a_bin_holds_its_upper_edge_and_the_first_zero() -> None:
    curve = reliability_curve(np.array([0.0, 0.5, 0.51, 1.0]), np.array([0, 0, 1, 1]), bins=2)
    np.testing.assert_array_equal(curve.count, [2, 2])
    np.testing.assert_array_equal(curve.frequency, [0, 1])


def test_bins_of_equal_mass_by_hand() -> None:
    sure = np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.8])
    curve = reliability_curve(sure, np.array([1, 0, 0, 1, 1, 1]), bins=3, binning="equal_mass")
    np.testing.assert_array_equal(curve.count, [2, 2, 2])
    np.testing.assert_allclose(curve.edges, [0, 0.2, 0.4, 0.9])
    np.testing.assert_allclose(curve.confidence, [0.15, 0.35, 0.85])
    np.testing.assert_array_equal(curve.frequency, [0, 1, 1])


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_equal_confidences_share_a_bin(level: float) -> None:
    rng = np.random.default_rng(0)
    sure, right = np.repeat([level, 0.6], 50), rng.integers(2, size=100)
    curve = reliability_curve(sure, right, bins=10, binning="equal_mass")
    assert sorted(curve.count[curve.count > 0]) == [50, 50]
    order = rng.permutation(100)
    again = reliability_curve(sure[order], right[order], bins=10, binning="equal_mass")
    np.testing.assert_allclose(again.frequency, curve.frequency)


def test_error_by_hand() -> None:
    # (4 * 0 + 2 * |1 - .75| + 1 * |0 - 1|) / 7
    assert expected_calibration_error(SURE, RIGHT, bins=4) == pytest.approx(1.5 / 7)
    mass = expected_calibration_error(SURE, RIGHT, bins=2, estimator="equal_mass")
    assert mass == pytest.approx((0 + 3 * abs(2 / 3 - 2.5 / 3)) / 7)


def test_debiased_error_by_hand() -> None:
    # One bin: frequency 1/2 of four, confidence .9, variance of the frequency .25 / 3.
    sure, right = np.full(4, 0.9), np.array([1, 1, 0, 0])
    error = expected_calibration_error(sure, right, bins=1, estimator="debiased")
    assert error == pytest.approx((0.4**2 - 0.25 / 3) ** 0.5)
    assert expected_calibration_error(np.full(4, 0.6), right, bins=1, estimator="debiased") == 0
    alone = expected_calibration_error(sure[:1], right[:1], estimator="debiased")
    assert np.isnan(alone)


def test_debiasing_takes_the_noise_off() -> None:
    plain, debiased = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sure = rng.random(500)
        right = rng.random(500) < sure
        plain.append(expected_calibration_error(sure, right, estimator="equal_mass"))
        debiased.append(expected_calibration_error(sure, right, estimator="debiased"))
    assert np.mean(plain) > 0.05  # although the truth is 0
    assert np.mean(debiased) < 0.02


def test_all_estimators_find_a_constant_bias() -> None:
    sure, right, _ = drawn(20_000, seed=1, bias=0.1)
    for estimator in ("equal_width", "equal_mass", "debiased"):
        error = expected_calibration_error(sure, right, estimator=estimator)  # type: ignore[arg-type]
        assert error == pytest.approx(0.1, abs=0.01)


def test_interval_by_hand() -> None:
    # Two groups in one bin; (0, 0), (0, 1) and (1, 1) are drawn with 1/4, 1/2, 1/4. Groups of a
    # gap of .3 and .5: value .4, draws .3, .4, .5, of which .5 is the upper percentile.
    sure, right = np.array([0.3, 0.3, 0.5, 0.5]), np.zeros(4)
    interval = calibration_error_interval(
        sure, right, rng=np.random.default_rng(0), groups=np.array(["a", "a", "b", "b"]), bins=1
    )
    assert interval.value == pytest.approx(0.4)
    assert interval.low == pytest.approx(2 * 0.4 - 0.5)
    assert interval.high == pytest.approx(0.5)
    assert interval.as_dict() == {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
    }


def test_interval_value_is_the_error() -> None:
    sure, right, query = drawn(200, seed=2)
    for binning in ("equal_width", "equal_mass"):
        interval = calibration_error_interval(
            sure,
            right,
            rng=np.random.default_rng(0),
            groups=query,
            binning=binning,  # type: ignore[arg-type]
            resamples=50,
        )
        error = expected_calibration_error(sure, right, estimator=binning)  # type: ignore[arg-type]
        assert interval.value == pytest.approx(error)
        assert interval.low <= interval.value <= interval.high


def test_queries_are_resampled_whole() -> None:
    sure, right, query = drawn(400, seed=3, bias=0.1)
    options: Any = {"resamples": 300}
    whole, single = (
        calibration_error_interval(
            sure, right, rng=np.random.default_rng(0), groups=groups, **options
        )
        for groups in (query, None)
    )
    # Five equal answers per query: the spread is that of a fifth of the answers.
    ratio = (whole.high - whole.low) / (single.high - single.low)
    assert 1.7 < ratio < 3.2
    shuffled = np.random.default_rng(1).permutation(len(query))
    again = calibration_error_interval(
        sure[shuffled],
        right[shuffled],
        rng=np.random.default_rng(0),
        groups=query[shuffled],
        **options,
    )
    assert again.low == pytest.approx(whole.low)


@pytest.mark.parametrize("bias", [0.0, 0.03, 0.1])
def test_interval_covers(bias: float) -> None:
    hits = []
    for seed in range(40):
        sure, right, query = drawn(500, seed=seed, bias=bias)
        found = calibration_error_interval(
            sure, right, rng=np.random.default_rng(seed), groups=query, bins=10, resamples=150
        )
        hits.append(found.low <= bias <= found.high)
    assert np.mean(hits) >= 0.92


def test_interval_comes_from_its_generator_alone() -> None:
    sure, right, query = drawn(50, seed=4)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what must stay as it is
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (
        calibration_error_interval(
            sure, right, rng=np.random.default_rng(seed), groups=query, bins=3
        )
        for seed in (0, 0, 1)
    )
    assert first == second != other
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_one_class_has_a_calibration_error() -> None:
    assert expected_calibration_error(np.array([0.5, 0.75]), np.ones(2)) == pytest.approx(0.375)
    interval = calibration_error_interval(np.ones(3), np.ones(3), rng=np.random.default_rng(0))
    assert interval == CalibrationError(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("sure", "right", "options", "message"),
    [
        ([0.5, np.nan], [0, 1], {}, "probabilities hold nan"),
        ([0.5, 1.5], [0, 1], {}, r"allowed is \[0, 1\]"),
        ([0.5, 0.5], [0, 2], {}, "labels hold 2.0"),
        ([0.5, 0.5], [0], {}, "one label per answer"),
        ([], [], {}, "N at least 1"),
        ([[0.5]], [[1]], {}, r"must both be \(N,\)"),
        ([0.5, 0.5], [0, 1], {"bins": 0}, "bins=0 must be at least 1"),
        ([0.5, 0.5], [0, 1], {"estimator": "adaptive"}, "estimator='adaptive' must be one of"),
    ],
)
def test_refused_errors(sure: list, right: list, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(np.array(sure), np.array(right), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": 0}, "resamples=0 must be at least 1"),
        ({"confidence": 1.0}, r"confidence=1.0 in \(0, 1\)"),
        ({"groups": np.arange(3)}, r"groups has shape \(3,\)"),
        ({"binning": "debiased"}, "binning='debiased' must be one of"),
    ],
)
def test_refused_intervals(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_error_interval(SURE, RIGHT, rng=np.random.default_rng(0), **options)


def test_refused_binning() -> None:
    with pytest.raises(ValueError, match="binning='quantile' must be one of"):
        reliability_curve(SURE, RIGHT, binning="quantile")  # type: ignore[arg-type]
