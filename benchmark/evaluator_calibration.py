"""Whether a score means what it says: calibration errors, uncertainty that knows its errors.

Everything fitted is fitted on the validation split and measured on the test split; intervals
resample queries, each with all of its answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from routing_gym.benchmark.evaluator_figures import ALL
from routing_gym.benchmark.metrics import arms_differ
from routing_gym.benchmark.ranking import auroc_interval
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.rewards.calibration import IsotonicCalibration, TemperatureScaling
from routing_gym.rewards.conformal import best_arms, covered
from routing_gym.rewards.reliability import (
    ReliabilityCurve,
    calibration_error_interval,
    reliability_curve,
)

BEFORE = "before"
MARGIN = 1e-6  # log-odds of a score of 0 or 1 are cut here


@dataclass(frozen=True)
class Calibrated:
    """One scorer's test scores read as probabilities of being right, before and after.

    Parameters
    ----------
    errors
        ``"before"``, ``"temperature"``, ``"sigmoid"`` (temperature and bias) and ``"isotonic"``
        -> expected calibration error.
    curves
        The same keys -> reliability diagram.
    """

    errors: Mapping[str, Interval]
    curves: Mapping[str, ReliabilityCurve]


@dataclass(frozen=True)
class Uncertain:
    """How well one uncertainty predicts the errors of the quality model.

    Parameters
    ----------
    error_auroc
        Probability that a wrong judgement is less certain than a right one.
    risks
        float (M,): error rate among the 1, 2, ..., M most certain judgements.
    """

    error_auroc: Interval
    risks: np.ndarray

    @property
    def area(self) -> float:
        """Area under the risk-coverage curve (Geifman & El-Yaniv 2017); lower is better."""
        return float(self.risks.mean())

    def risk_at(self, coverage: float) -> float:
        """Error rate among a share of the judgements, the most certain ones."""
        return float(self.risks[max(round(coverage * len(self.risks)), 1) - 1])


@dataclass(frozen=True)
class SetCoverage:
    """Prediction sets of adapters, over the queries on which the adapters' accuracies differ.

    Parameters
    ----------
    level
        The promised coverage, such as 0.9.
    coverage
        Group (`ALL` and each domain) -> share of its queries whose set holds a best adapter.
    mean_size
        Group -> mean number of adapters in its sets.
    sizes
        Group -> float (K + 1,), share of its sets with 0, 1, ..., K adapters.
    mean_size_everywhere
        Mean number of adapters over all queries, also where all adapters are equally good.
    """

    level: float
    coverage: Mapping[str, Interval]
    mean_size: Mapping[str, Interval]
    sizes: Mapping[str, np.ndarray]
    mean_size_everywhere: Interval


def calibrate(
    test: np.ndarray,
    test_truth: np.ndarray,
    *,
    validation: np.ndarray,
    validation_truth: np.ndarray,
    rng: np.random.Generator,
    resamples: int,
) -> Calibrated:
    """Read a scorer as a probability and measure how far off it is, before and after fitting.

    Parameters
    ----------
    test, validation
        float (N, K) in [0, 1], the scores of the two splits.
    test_truth, validation_truth
        0/1 (N, K), the verified correctness.
    rng
        Source of the resamples of test queries.
    resamples
        Their number.
    """
    inside = np.clip(validation.ravel(), 0.0, 1.0)
    odds, truth = log_odds(inside), validation_truth.ravel()
    temperature = TemperatureScaling.fit(odds, truth)
    sigmoid = TemperatureScaling.fit(odds, truth, bias=True)
    isotonic = IsotonicCalibration.fit(inside, truth)
    claims = np.clip(test, 0.0, 1.0)
    readings = {
        BEFORE: claims,
        "temperature": temperature.apply(log_odds(claims)),
        "sigmoid": sigmoid.apply(log_odds(claims)),
        "isotonic": isotonic.apply(claims),
    }
    seeds = rng.integers(2**32)  # one set of resamples for all readings
    return Calibrated(
        errors={
            name: calibration_error(
                values, test_truth, rng=np.random.default_rng(seeds), resamples=resamples
            )
            for name, values in readings.items()
        },
        curves={
            name: reliability_curve(values.ravel(), test_truth.ravel())
            for name, values in readings.items()
        },
    )


def calibration_error(
    claims: np.ndarray, truth: np.ndarray, *, rng: np.random.Generator, resamples: int
) -> Interval:
    """Measure the calibration error of probabilities (N, K), its interval over the N queries."""
    queries = np.repeat(np.arange(len(claims)), claims.shape[1])
    error = calibration_error_interval(
        claims.ravel(), truth.ravel(), rng=rng, groups=queries, resamples=resamples
    )
    return Interval(error.value, error.low, error.high)


def log_odds(claims: np.ndarray) -> np.ndarray:
    """Log-odds of probabilities, cut to a finite range; the shape of `claims`."""
    return np.asarray(logit(np.clip(claims, MARGIN, 1 - MARGIN)))


def uncertainty(
    values: Mapping[str, np.ndarray], errors: np.ndarray, *, bootstrap: PairedBootstrap
) -> dict[str, Uncertain]:
    """Judge each method's uncertainty by the errors that it foresees.

    Parameters
    ----------
    values
        Method -> float (N, K), higher is less certain.
    errors
        bool (N, K): the quality model's judgement (P above 1/2) differs from the truth.
    bootstrap
        The shared resamples of the N queries.
    """
    return {
        name: Uncertain(
            error_auroc=auroc_interval(doubts, errors, bootstrap=bootstrap),
            risks=risk_curve(doubts.ravel(), errors.ravel()),
        )
        for name, doubts in values.items()
    }


def risk_curve(doubts: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Error rate among the most certain judgements, for every number of them that is kept.

    Parameters
    ----------
    doubts
        float (M,), higher is less certain; equal ones are kept in random order (in expectation).
    errors
        bool (M,).

    Returns
    -------
    ndarray
        float64 (M,): position m holds the error rate among the m + 1 most certain.
    """
    place, counts = np.unique(doubts, return_inverse=True, return_counts=True)[1:]
    rates = np.bincount(place, errors.astype(np.float64)) / counts
    return np.cumsum(np.repeat(rates, counts)) / np.arange(1, len(doubts) + 1)


def set_coverage(
    sets: np.ndarray,
    accuracy: np.ndarray,
    domains: np.ndarray,
    *,
    level: float,
    bootstrap: PairedBootstrap,
) -> SetCoverage:
    """Measure prediction sets overall and by domain.

    Parameters
    ----------
    sets
        bool (N, K), the adapters in each query's set.
    accuracy
        0/1 (N, K), the verified correctness.
    domains
        str (N,).
    level
        The promised coverage.
    bootstrap
        The shared resamples of the N queries.
    """
    differ = arms_differ(accuracy)
    hits = np.zeros(len(sets), dtype=np.bool_)
    hits[differ] = covered(sets, best_arms(accuracy))
    groups = {ALL: differ}
    groups |= {str(name): differ & (domains == name) for name in np.unique(domains[differ])}
    sizes = sets.sum(axis=1)
    return SetCoverage(
        level=level,
        coverage={g: bootstrap.ratio(hits & rows, rows) for g, rows in groups.items()},
        mean_size={g: bootstrap.ratio(sizes * rows, rows) for g, rows in groups.items()},
        sizes={
            g: np.bincount(sizes[rows], minlength=sets.shape[1] + 1) / rows.sum()
            for g, rows in groups.items()
        },
        mean_size_everywhere=bootstrap.mean(sizes),
    )


def uncertainty_figures(methods: Mapping[str, Uncertain]) -> dict[str, float | Interval]:
    """Pick ``error_auroc_<method>``; ``error_auroc`` is the lower of MC dropout and ensemble."""
    figures: dict[str, float | Interval] = {
        f"error_auroc_{name}": method.error_auroc for name, method in methods.items()
    }
    sampled = [methods[name].error_auroc for name in ("mc_dropout", "ensemble") if name in methods]
    if sampled:
        figures["error_auroc"] = min(sampled, key=lambda area: area.value)
    return figures


def set_figures(sets: SetCoverage) -> dict[str, float | Interval]:
    """Pick coverage and mean size of prediction sets."""
    return {
        "conformal_coverage": sets.coverage[ALL],
        "conformal_mean_size": sets.mean_size[ALL],
        "conformal_mean_size_everywhere": sets.mean_size_everywhere,
    }
