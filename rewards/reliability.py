"""Reliability: whether answers that are given 80 % are right in 80 % of the cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np

from routing_gym.rewards.calibration import as_shares

Binning = Literal["equal_width", "equal_mass"]
Estimator = Literal["equal_width", "equal_mass", "debiased"]
BINS = 15  # Guo et al. (2017)


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """A reliability diagram: B bins of confidence, lowest first.

    Parameters
    ----------
    edges
        float64 (B + 1,): bin b holds the confidences in (edges[b], edges[b + 1]], the first one
        its lower edge too.
    confidence
        float64 (B,): mean confidence of the bin's answers, ``nan`` in an empty bin.
    frequency
        float64 (B,): share of the bin's answers that are right, ``nan`` in an empty bin.
    count
        int64 (B,): answers in the bin.
    """

    edges: np.ndarray
    confidence: np.ndarray
    frequency: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class CalibrationError:
    """A calibration error with its interval, all in [0, 1].

    Parameters
    ----------
    value
        The estimate.
    low, high
        The interval's ends, around `value`.
    """

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return ``{"value", "low", "high"}``, the form of a summary file."""
        return asdict(self)


def reliability_curve(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    bins: int = BINS,
    binning: Binning = "equal_width",
) -> ReliabilityCurve:
    """Compare confidence with the frequency of being right, bin by bin.

    Parameters
    ----------
    probabilities
        float (N,) in [0, 1]: confidence that the answer is right.
    labels
        float (N,) in [0, 1], 1 for right; one class only is allowed.
    bins
        B, at least 1.
    binning
        "equal_width": B bins of width 1 / B. "equal_mass": edges at the quantiles of
        `probabilities`, so that bins hold about as many answers each; equal confidences share a
        bin, which may leave fewer than B bins.

    Raises
    ------
    ValueError
        If an array, `bins` or `binning` is refused.
    """
    p, y = _checked(probabilities, labels)
    edges = _edges(p, bins, binning)
    count, sure, right, _ = _sums(p, y, edges)
    held = np.where(count > 0, count, np.nan)
    return ReliabilityCurve(edges, sure / held, right / held, count.astype(np.int64))


def expected_calibration_error(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    bins: int = BINS,
    estimator: Estimator = "equal_width",
) -> float:
    """Average distance of confidence and frequency over the bins, weighted by their answers.

    Parameters
    ----------
    probabilities, labels, bins
        As in `reliability_curve`.
    estimator
        "equal_width": ``sum_b n_b / N * |frequency_b - confidence_b|``, the ECE of Naeini et al.
        (2015) and Guo et al. (2017). "equal_mass": the same over bins of equal mass (Nixon et
        al., 2019). Both are biased upwards: noise within a bin counts as error. "debiased":
        the root of the mean *squared* distance over bins of equal mass, each square less the
        variance of the bin's frequency, cut at 0 (Kumar, Liang & Ma, 2019, section 5); bins of
        one answer are left out. Without noise it is at least the ECE over the same bins.

    Returns
    -------
    float
        In [0, 1]; ``nan`` for "debiased" if no bin holds two answers.

    Raises
    ------
    ValueError
        If an array, `bins` or `estimator` is refused.
    """
    p, y = _checked(probabilities, labels)
    if estimator not in get_args(Estimator):
        raise ValueError(f"estimator={estimator!r} must be one of {get_args(Estimator)}.")
    sums = _sums(p, y, _edges(p, bins, "equal_mass" if estimator == "debiased" else estimator))
    return _debiased_error(sums) if estimator == "debiased" else _binned_error(sums)


def calibration_error_interval(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    bins: int = BINS,
    binning: Binning = "equal_width",
    resamples: int = 2000,
    confidence: float = 0.95,
) -> CalibrationError:
    """Put a bootstrap interval around the binned `expected_calibration_error`.

    Whole groups are resampled, since answers to one query are right and wrong together; bins stay
    those of the sample. Resampling adds noise once more, and with it the upward bias of the
    estimate, so that the percentiles of the draws can all lie above the truth. The interval is
    therefore ``value -+ (upper percentile - value)``: its low end is that of the basic bootstrap
    (Davison & Hinkley, 1997, section 5.2), its high end errs on the safe side. Near perfect
    calibration, the edge of what is possible, the low end is still too high: it is 0 unless the
    value exceeds what noise alone would make of it, the summed distance of a resample's bins from
    the sample's (by the triangle inequality a bound on the estimate's error).

    Parameters
    ----------
    probabilities, labels, bins, binning
        As in `reliability_curve`.
    rng
        Source of the resamples.
    groups
        (N,) labels, such as query ids; None makes each answer its own group.
    resamples
        Number of resamples, at least 1.
    confidence
        Coverage, in (0, 1).

    Raises
    ------
    ValueError
        If an argument is refused.
    """
    p, y = _checked(probabilities, labels)
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"resamples={resamples} must be at least 1 and confidence={confidence} in (0, 1)."
        )
    members = np.arange(len(p)) if groups is None else np.asarray(groups)
    if members.shape != p.shape:
        raise ValueError(f"groups has shape {members.shape}: give one label per answer, {p.shape}.")
    place = np.unique(members, return_inverse=True)[1]
    count, sure, right, _ = _sums(p, y, _edges(p, bins, binning), place)  # each (G, B)
    distance = right - sure
    total = len(count)
    picks = rng.multinomial(total, np.full(total, 1 / total), size=resamples)  # (R, G)
    gaps = (picks @ distance) / (picks @ count.sum(axis=1))[:, None]  # (R, B)
    gap = distance.sum(axis=0) / len(p)
    value, draws = np.abs(gap).sum(), np.abs(gaps).sum(axis=1)
    noise = np.quantile(np.abs(gaps - gap).sum(axis=1), (1 + confidence) / 2)
    above = max(value, np.quantile(draws, (1 + confidence) / 2))
    low = max(0.0, 2 * value - above) if value > noise else 0.0
    return CalibrationError(float(value), float(low), float(min(1.0, above)))


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 (N,), N at least 1."""
    p, y = as_shares(probabilities, "probabilities"), as_shares(labels, "labels")
    if p.ndim != 1 or p.shape != y.shape or len(p) == 0:
        raise ValueError(
            f"probabilities of shape {p.shape} and labels of shape {y.shape} must both be (N,), "
            "one label per answer, N at least 1."
        )
    return p, y


def _edges(p: np.ndarray, bins: int, binning: str) -> np.ndarray:
    """Edges of the bins, rising."""
    if bins < 1:
        raise ValueError(f"bins={bins} must be at least 1, for instance {BINS}.")
    if binning == "equal_width":
        return np.linspace(0, 1, bins + 1)
    if binning != "equal_mass":
        raise ValueError(f"binning={binning!r} must be one of {get_args(Binning)}.")
    # Observed values as edges: a confidence that lies on one is not split off by rounding.
    inner = np.quantile(p, np.arange(1, bins) / bins, method="inverted_cdf")
    return np.concatenate([[0.0], np.unique(inner[inner < p.max()]), [p.max()]])


def _sums(
    p: np.ndarray, y: np.ndarray, edges: np.ndarray, place: np.ndarray | None = None
) -> np.ndarray:
    """Sum 1, p, y and y squared over each bin: (4, B), or by group `place` (4, G, B)."""
    bins = len(edges) - 1
    which = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, bins - 1)
    groups = 1 if place is None else int(place.max()) + 1
    cell = which if place is None else place * bins + which
    sums = np.stack(
        [np.bincount(cell, part, groups * bins) for part in (np.ones_like(p), p, y, y**2)]
    )
    return sums if place is None else sums.reshape(4, groups, bins)


def _binned_error(sums: np.ndarray) -> float:
    """Average absolute distance of frequency and confidence, from sums (4, B)."""
    count, sure, right, _ = sums
    return float(np.abs(right - sure).sum() / count.sum())


def _debiased_error(sums: np.ndarray) -> float:
    """Root of the average squared distance less its noise, from sums (4, B)."""
    count, sure, right, squares = sums[:, sums[0] > 1]  # one answer tells no variance
    if not len(count):
        return float("nan")
    frequency = right / count
    variance = (squares / count - frequency**2) / (count - 1)  # of the bin's frequency
    square = (frequency - sure / count) ** 2 - variance
    return float(max(0.0, np.average(square, weights=count)) ** 0.5)
