"""Calibration: turning a model's confidence into the frequency of being right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

SLOPES = (0.01, 100.0)  # limits of 1 / temperature: separable data would send it to infinity


class Calibration(Protocol):
    """A fitted, monotone map to probabilities, storable as JSON."""

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map what it was fitted on (logits or probabilities), any shape, to probabilities."""

    def from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Map logits, any shape, to probabilities."""

    def to_json(self) -> dict[str, Any]:
        """Return what `calibration_from_json` reads."""


@dataclass(frozen=True)
class TemperatureScaling:
    """``sigmoid(logit / temperature + bias)``.

    Temperature scaling of one logit (Guo et al., 2017); with a bias it is Platt's sigmoid (1999)
    with a slope that is never negative. It keeps the order of the answers.

    Parameters
    ----------
    temperature
        Above 0; above 1 it takes confidence away, below 1 it adds some.
    bias
        In log-odds.

    Raises
    ------
    ValueError
        If a number is not finite or the temperature is not above 0.
    """

    temperature: float
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature={self.temperature} must be finite and above 0.")
        if not math.isfinite(self.bias):
            raise ValueError(f"bias={self.bias} must be finite (log-odds).")

    @classmethod
    def fit(
        cls, logits: np.ndarray, labels: np.ndarray, *, bias: bool = False
    ) -> TemperatureScaling:
        """Minimise the log loss, which is convex in (1 / temperature, bias).

        Parameters
        ----------
        logits
            float (N,), finite.
        labels
            float (N,) in [0, 1], 1 for right; not all the same.
        bias
            Whether a bias is fitted too; otherwise it is 0.

        Returns
        -------
        TemperatureScaling
            1 / temperature is kept within `SLOPES`, which binds where the logits separate the
            labels, or order them backwards.

        Raises
        ------
        ValueError
            If an array is refused.
        """
        x, y = check_pair(logits, labels, name="logits")

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            z = parameters[0] * x + parameters[1]
            error = expit(z) - y
            return float(np.mean(np.logaddexp(0, z) - y * z)), np.array(
                [np.mean(error * x), np.mean(error)]
            )

        bounds = [SLOPES, (None, None) if bias else (0.0, 0.0)]
        found = minimize(
            loss,
            np.array([1.0, 0.0]),
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
        )
        return cls(temperature=float(1 / found.x[0]), bias=float(found.x[1]))

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Map logits, any shape, finite, to float64 probabilities of the same shape."""
        values = as_finite(logits, "logits")
        return np.asarray(expit(values / self.temperature + self.bias))

    def from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Do the same as `apply`, under the name that every calibration has."""
        return self.apply(logits)

    def to_json(self) -> dict[str, Any]:
        """Return ``{"method": "temperature", "temperature", "bias"}``."""
        return {"method": "temperature", "temperature": self.temperature, "bias": self.bias}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TemperatureScaling:
        """Read what `to_json` wrote; ValueError if it is something else."""
        _check_record(record, "temperature", ("temperature", "bias"))
        return cls(float(record["temperature"]), float(record["bias"]))


@dataclass(frozen=True)
class IsotonicCalibration:
    """A rising, piecewise linear map of probabilities (Zadrozny & Elkan, 2002).

    Fitted by scikit-learn's isotonic regression and kept as its knots. Between knots it is
    linear, outside of them constant. Where the lowest or highest answers fitted on are all wrong
    or all right it returns exactly 0 or 1: clip before taking a log loss.

    Parameters
    ----------
    inputs
        Probabilities of the knots, strictly rising, at least one.
    outputs
        Calibrated probabilities at the knots, never falling.

    Raises
    ------
    ValueError
        If the knots are empty, of different lengths, outside [0, 1] or out of order.
    """

    inputs: tuple[float, ...]
    outputs: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(map(float, self.inputs)))
        object.__setattr__(self, "outputs", tuple(map(float, self.outputs)))
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ValueError(
                f"{len(self.inputs)} inputs and {len(self.outputs)} outputs must be as many, "
                "at least one knot."
            )
        x, y = as_shares(self.inputs, "inputs"), as_shares(self.outputs, "outputs")
        if (np.diff(x) <= 0).any() or (np.diff(y) < 0).any():
            raise ValueError(f"knots {self.inputs} -> {self.outputs} must rise: sort them.")

    @classmethod
    def fit(cls, probabilities: np.ndarray, labels: np.ndarray) -> IsotonicCalibration:
        """Fit the rising map with the least squared error.

        Parameters
        ----------
        probabilities
            float (N,) in [0, 1].
        labels
            float (N,) in [0, 1], 1 for right; not all the same.

        Raises
        ------
        ValueError
            If an array is refused.
        """
        from sklearn.isotonic import IsotonicRegression

        x, y = check_pair(probabilities, labels, name="probabilities")
        as_shares(x, "probabilities")
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(x, y)
        return cls(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist())

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Map probabilities, any shape, in [0, 1], to float64 ones of the same shape."""
        return np.interp(as_shares(probabilities, "probabilities"), self.inputs, self.outputs)

    def from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Map logits, any shape, finite: the sigmoid first, then `apply`."""
        return self.apply(expit(as_finite(logits, "logits")))

    def to_json(self) -> dict[str, Any]:
        """Return ``{"method": "isotonic", "inputs", "outputs"}``."""
        return {"method": "isotonic", "inputs": list(self.inputs), "outputs": list(self.outputs)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> IsotonicCalibration:
        """Read what `to_json` wrote; ValueError if it is something else."""
        _check_record(record, "isotonic", ("inputs", "outputs"))
        return cls(tuple(record["inputs"]), tuple(record["outputs"]))


CALIBRATIONS: dict[str, type[TemperatureScaling] | type[IsotonicCalibration]] = {
    "temperature": TemperatureScaling,
    "isotonic": IsotonicCalibration,
}
"""Method -> class."""


def calibration_from_json(record: Mapping[str, Any]) -> TemperatureScaling | IsotonicCalibration:
    """Read any calibration that `to_json` wrote; ValueError if its method is unknown."""
    method = record.get("method")
    if method not in CALIBRATIONS:
        raise ValueError(f"method={method!r} is unknown: known are {', '.join(CALIBRATIONS)}.")
    return CALIBRATIONS[method].from_json(record)


def check_pair(
    values: np.ndarray, labels: np.ndarray, *, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Hold confidences and labels to what a fit needs; return both as float64 (N,)."""
    x, y = as_finite(values, name), as_shares(labels, "labels")
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"{name} of shape {x.shape} and labels of shape {y.shape} must both be (N,): "
            "one label per answer."
        )
    if len(y) == 0 or np.ptp(y) == 0:
        raise ValueError(
            f"labels of {len(y)} answers hold one class only: fit on answers of which some are "
            "right and some wrong."
        )
    return x, y


def as_finite(values: Any, name: str) -> np.ndarray:
    """Return float64 numbers, none of them nan or infinite; ValueError names the first."""
    array = np.asarray(values, dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        raise ValueError(f"{name} hold {array[index]} at index {index}: give finite numbers.")
    return array


def as_shares(values: Any, name: str) -> np.ndarray:
    """Return float64 numbers in [0, 1]; ValueError names the first that is not."""
    array = as_finite(values, name)
    wrong = np.argwhere((array < 0) | (array > 1))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        raise ValueError(f"{name} hold {array[index]} at index {index}: allowed is [0, 1].")
    return array


def _check_record(record: Mapping[str, Any], method: str, keys: tuple[str, ...]) -> None:
    """Refuse a record of another method, or an incomplete one."""
    if record.get("method") != method:
        raise ValueError(f"method={record.get('method')!r} must be {method!r}.")
    missing = [key for key in keys if key not in record]
    if missing:
        raise ValueError(f"{method} record lacks {', '.join(missing)}: store it with to_json().")
