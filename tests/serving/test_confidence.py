from __future__ import annotations

import numpy as np
import pytest

from routing_gym.serving.bundle_manifest import FallbackRule
from routing_gym.serving.confidence import (
    calibrate,
    confidences,
    fit_confidence,
    fit_temperature,
    fit_threshold,
    margins,
)


def test_margins_are_best_minus_second() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
    np.testing.assert_allclose(margins(scores, output="values"), [0.5, 0.25])
    mask = np.array([[False, True, True], [False, True, False]])
    masked = margins(scores, mask, output="probabilities")
    np.testing.assert_allclose(masked, [1 / 3, np.inf])  # .2 and .1 renormalised; no choice
    rule = FallbackRule("a", 0.9, slope=-3.0, intercept=-2.0)
    assert confidences(masked, rule)[1] == 1.0


def test_confidence_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    margin = rng.uniform(0, 2, size=20_000)
    held = rng.random(20_000) < 1 / (1 + np.exp(-(3 * margin - 1)))
    slope, intercept = fit_confidence(margin, held)
    assert (slope, intercept) == pytest.approx((3, -1), abs=0.15)


@pytest.mark.parametrize(
    ("margin", "held"),
    [
        (np.arange(10.0), np.arange(10) > 4),  # separable
        (np.arange(10.0), np.ones(10, dtype=bool)),
        (np.zeros(10), np.arange(10) > 4),
        (np.arange(10.0) * 1e-9, np.arange(10) % 2 == 0),
        (np.arange(10.0) * 1e9, np.arange(10) > 4),
    ],
)
def test_confidence_is_finite_where_the_regression_is_not(
    margin: np.ndarray, held: np.ndarray
) -> None:
    slope, intercept = fit_confidence(margin, held)
    assert np.isfinite([slope, intercept]).all()
    confidence = confidences(margin, FallbackRule("a", 0.0, slope, intercept))
    assert ((confidence > 0) & (confidence <= 1)).all()


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ([1.0, -0.5, -1.0, -1.0], 0.15),  # between the first two
        ([1.0, -0.5, 1.0, -1.0], 0.35),
        ([-1.0, -1.0, 1.0, -1.0], 0.0),  # never
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([1.0, 1.0, 1.0, 1.0], (0.4 + 1 + 1e-9) / 2),  # always
    ],
)
def test_threshold_is_the_most_rewarding_one(gain: list[float], expected: float) -> None:
    assert fit_threshold(np.array([0.1, 0.2, 0.3, 0.4]), np.array(gain)) == pytest.approx(expected)


def test_threshold_never_parts_equals() -> None:
    threshold = fit_threshold(np.array([0.5, 0.5, 0.8]), np.array([3.0, -1.0, -1.0]))
    assert threshold == pytest.approx(0.65)


def test_temperature_is_found() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 3))
    drawn = (values / 0.4 + rng.gumbel(size=values.shape)).argmax(axis=1)
    rewards = np.eye(3)[drawn]
    assert fit_temperature(values, rewards, output="values") == pytest.approx(0.4, rel=0.15)


def test_calibration_reports_what_the_rule_brings() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(500, 3))
    good = np.abs(scores[:, 1] - scores.max(axis=1)) > 1  # sure where another is far ahead
    rewards = np.where(good[:, None], np.eye(3)[scores.argmax(axis=1)], [0.0, 1.0, 0.0])
    found = calibrate(scores, rewards, output="values", adapters=("a", "b", "c"), best_single=1)
    assert found.rule.adapter == "b"
    assert found.reward_with_fallback >= found.reward
    assert (found.fallback_share > 0) == (found.rule.threshold > 0)
