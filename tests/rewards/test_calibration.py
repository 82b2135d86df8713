from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from routing_gym.rewards.calibration import (
    CALIBRATIONS,
    SLOPES,
    IsotonicCalibration,
    TemperatureScaling,
    calibration_from_json,
)

FITTED = [
    TemperatureScaling(1.75, -0.25),
    IsotonicCalibration((0.1, 0.4, 0.9), (0.0, 0.3, 1.0)),
]


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.mean(np.log(np.where(labels == 1, probabilities, 1 - probabilities))))


def test_temperature_by_hand() -> None:
    # At logits of +-1, three of four agree with the sign: sigmoid(1 / T) = 3/4, so 1 / T = ln 3.
    logits = np.array([1.0, 1, 1, 1, -1, -1, -1, -1])
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    fitted = TemperatureScaling.fit(logits, labels)
    assert fitted.temperature == pytest.approx(1 / math.log(3), rel=1e-6)
    assert fitted.bias == 0
    np.testing.assert_allclose(fitted.apply(np.array([1.0, -1.0])), [0.75, 0.25], rtol=1e-6)


def test_temperature_and_bias_by_hand() -> None:
    # sigmoid(b) = 1/4 at logit 0 and sigmoid(1 / T + b) = 3/4 at logit 1.
    logits = np.array([0.0, 0, 0, 0, 1, 1, 1, 1])
    labels = np.array([1, 0, 0, 0, 0, 1, 1, 1])
    fitted = TemperatureScaling.fit(logits, labels, bias=True)
    assert fitted.bias == pytest.approx(-math.log(3), rel=1e-5)
    assert fitted.temperature == pytest.approx(1 / (2 * math.log(3)), rel=1e-5)


def test_temperature_recovers_the_one_that_spoiled_the_logits() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=40_000)
    labels = (rng.random(40_000) < expit(honest)).astype(float)
    fitted = TemperatureScaling.fit(3 * honest + 1, labels, bias=True)
    assert fitted.temperature == pytest.approx(3, rel=0.05)
    assert fitted.bias == pytest.approx(-1 / 3, abs=0.03)


@pytest.mark.parametrize("bias", [False, True])
def test_no_neighbour_has_a_lower_loss(bias: bool) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=300) * 20 + 5
    labels = (rng.random(300) < expit(logits / 15)).astype(float)
    fitted = TemperatureScaling.fit(logits, labels, bias=bias)
    best = log_loss(fitted.apply(logits), labels)
    for factor in (0.99, 1.01):
        other = TemperatureScaling(fitted.temperature * factor, fitted.bias)
        assert log_loss(other.apply(logits), labels) > best
    if bias:
        for step in (-0.01, 0.01):
            other = TemperatureScaling(fitted.temperature, fitted.bias + step)
            assert log_loss(other.apply(logits), labels) > best


def test_slope_stays_within_its_limits() -> None:
    logits = np.array([-2.0, -1, 1, 2])
    separable = TemperatureScaling.fit(logits, np.array([0, 0, 1, 1]))
    backwards = TemperatureScaling.fit(logits, np.array([1, 1, 0, 0]))
    assert 1 / SLOPES[1] <= separable.temperature < 0.1
    assert backwards.temperature == pytest.approx(1 / SLOPES[0])
    assert (np.diff(backwards.apply(logits)) > 0).all()


def test_isotonic_by_hand() -> None:
    # Pool adjacent violators: 0.2 -> 0; 0.4 and 0.6 (labels 1, 0) share 1/2; 0.8 -> 1.
    fitted = IsotonicCalibration.fit(np.array([0.8, 0.2, 0.6, 0.4]), np.array([1, 0, 0, 1]))
    assert fitted == IsotonicCalibration((0.2, 0.4, 0.6, 0.8), (0.0, 0.5, 0.5, 1.0))
    np.testing.assert_allclose(
        fitted.apply(np.array([[0.0, 0.3, 0.5], [0.7, 0.8, 1.0]])),
        [[0.0, 0.25, 0.5], [0.75, 1.0, 1.0]],
    )


def test_isotonic_is_the_one_of_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(2)
    probabilities = rng.random(500).round(2)
    labels = (rng.random(500) < probabilities**2).astype(float)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(probabilities, labels)
    new = np.linspace(0, 1, 301)
    ours = IsotonicCalibration.fit(probabilities, labels)
    np.testing.assert_allclose(ours.apply(new), theirs.predict(new), atol=1e-12)
    assert np.mean(ours.apply(probabilities)) == pytest.approx(labels.mean())


def test_fractional_labels_are_averaged() -> None:
    fitted = IsotonicCalibration.fit(np.array([0.1, 0.9]), np.array([0.25, 0.75]))
    assert fitted.outputs == (0.25, 0.75)
    scaled = TemperatureScaling.fit(np.array([-1.0, 1.0]), np.array([0.25, 0.75]))
    assert scaled.temperature == pytest.approx(1 / math.log(3), rel=1e-6)


@pytest.mark.parametrize("fitted", FITTED, ids=lambda c: type(c).__name__)
class TestContract:
    def test_survives_json(self, fitted: Any) -> None:
        record = json.loads(json.dumps(fitted.to_json()))
        assert type(fitted).from_json(record) == fitted
        assert calibration_from_json(record) == fitted
        assert CALIBRATIONS[record["method"]] is type(fitted)

    def test_maps_logits_of_any_shape_in_order(self, fitted: Any) -> None:
        logits = np.linspace(-40, 40, 60).reshape(3, 20)
        mapped = fitted.from_logits(logits)
        assert mapped.shape == (3, 20)
        assert mapped.dtype == np.float64
        assert ((mapped >= 0) & (mapped <= 1)).all()
        assert (np.diff(mapped.ravel()) >= 0).all()
        assert fitted.from_logits(np.zeros(0)).shape == (0,)

    def test_refuses_nan(self, fitted: Any) -> None:
        with pytest.raises(ValueError, match=r"nan at index \(1,\)"):
            fitted.apply(np.array([0.5, np.nan]))
        with pytest.raises(ValueError, match="logits hold inf"):
            fitted.from_logits(np.array([np.inf]))


def test_from_logits_takes_what_apply_was_fitted_on() -> None:
    temperature, isotonic = FITTED
    logits = logit(np.array([0.1, 0.4, 0.65]))
    np.testing.assert_array_equal(temperature.from_logits(logits), temperature.apply(logits))
    np.testing.assert_allclose(isotonic.from_logits(logits), [0, 0.3, 0.65], atol=1e-12)


@pytest.mark.parametrize("calibration", CALIBRATIONS.values())
@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        ([0.2, 0.8], [1, 1], "one class only"),
        ([0.2, 0.8], [0, 0], "one class only"),
        ([], [], "one class only"),
        ([0.2, np.nan], [0, 1], r"hold nan at index \(1,\)"),
        ([0.2, 0.8], [0, np.nan], "labels hold nan"),
        ([0.2, 0.8], [0, 2], r"labels hold 2.0 at index \(1,\): allowed is \[0, 1\]"),
        ([0.2, 0.8], [0, 1, 1], "one label per answer"),
        ([[0.2], [0.8]], [[0], [1]], "one label per answer"),
    ],
)
def test_refused_fits(calibration: Any, values: list, labels: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration.fit(np.array(values), np.array(labels))


def test_isotonic_refuses_logits() -> None:
    with pytest.raises(ValueError, match=r"probabilities hold -1.5 at index \(0,\)"):
        IsotonicCalibration.fit(np.array([-1.5, 2]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"allowed is \[0, 1\]"):
        FITTED[1].apply(np.array([1.5]))


@pytest.mark.parametrize(
    ("temperature", "bias", "message"),
    [
        (0.0, 0.0, "temperature=0.0 must be"),
        (-1.0, 0.0, "above 0"),
        (math.inf, 0.0, "temperature=inf must be finite"),
        (1.0, math.nan, "bias=nan must be finite"),
    ],
)
def test_refused_temperatures(temperature: float, bias: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TemperatureScaling(temperature, bias)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ((), (), "at least one knot"),
        ((0.1,), (0.1, 0.2), "1 inputs and 2 outputs"),
        ((0.5, 0.5), (0.1, 0.2), "must rise"),
        ((0.1, 0.5), (0.3, 0.2), "must rise"),
        ((0.1, 1.5), (0.3, 0.4), "inputs hold 1.5"),
        ((0.1, 0.5), (0.3, math.nan), "outputs hold nan"),
    ],
)
def test_refused_knots(inputs: tuple, outputs: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IsotonicCalibration(inputs, outputs)


def test_refused_records() -> None:
    with pytest.raises(ValueError, match="'beta' is unknown: known are temperature, isotonic"):
        calibration_from_json({"method": "beta"})
    with pytest.raises(ValueError, match="lacks bias"):
        calibration_from_json({"method": "temperature", "temperature": 1.0})
    with pytest.raises(ValueError, match="must be 'isotonic'"):
        IsotonicCalibration.from_json(FITTED[0].to_json())
