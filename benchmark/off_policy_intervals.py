"""Intervals of off-policy estimates: normal, bootstrap, empirical Bernstein.

All take `routing_gym.benchmark.off_policy.Terms` or plain arrays with any leading axes and return
``(low, high)`` of those axes. They assume decisions that are drawn independently of each other and
a target and a reward model that were fixed before the decision (cross-fitting sees to the second).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from routing_gym.benchmark.off_policy import Terms
from routing_gym.benchmark.statistics import resample_weights

Ends = tuple[np.ndarray, np.ndarray]
_BLOCK = 20_000_000  # numbers of a block of resamples, to bound memory


def standard_error(terms: Terms) -> np.ndarray:
    r"""Jackknife standard error, :math:`\sqrt{\frac{N-1}{N} \sum_i (V_{-i} - \bar V)^2}`.

    Efron & Tibshirani, "An introduction to the bootstrap", 1993, ch. 11. For plain means it is
    exactly :math:`s / \sqrt N`; for self-normalised estimates it counts that a heavy decision
    draws the estimate to itself, which the linearised variance leaves out.

    Parameters
    ----------
    terms
        Of N >= 2 decisions.

    Returns
    -------
    np.ndarray
        float64 (...), in the unit of the reward.

    Raises
    ------
    ValueError
        If there are fewer than two decisions.
    """
    return _jackknife(terms, confidence=None)[0]


def normal_interval(terms: Terms, *, confidence: float = 0.95) -> Ends:
    r"""Estimate plus and minus the jackknife error times a corrected normal quantile.

    The quantile is that of a studentised mean to second order (Hall, "The bootstrap and Edgeworth
    expansion", 1992, section 2.6), symmetric in both tails. With the sample skewness
    :math:`\gamma` and excess kurtosis :math:`\kappa` of the jackknife's values,

    .. math:: z + \frac zN \Bigl(\frac{z^4 + 2z^2 - 3}{18} \gamma^2
              - \frac{z^2 - 3}{12} \kappa + \frac{z^2 + 1}{4}\Bigr)

    The last part alone is Student's quantile to that order, and the quantile is never smaller.
    Importance weights make terms skewed: the plain normal interval covers too rarely in small logs.

    Parameters
    ----------
    terms
        Of N >= 2 decisions.
    confidence
        Coverage, in (0, 1).

    Raises
    ------
    ValueError
        If `confidence` is outside (0, 1) or there are fewer than two decisions.
    """
    error, quantile = _jackknife(terms, confidence=check_confidence(confidence))
    return terms.value - quantile * error, terms.value + quantile * error


def bootstrap_interval(
    terms: Terms,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Ends:
    """Percentile bootstrap over decisions (Efron & Tibshirani 1993, ch. 13).

    Weights, tuned parameters and model are held fixed; self-normalised estimates are recomputed on
    every resample.

    Parameters
    ----------
    terms
        Of N decisions; entries of the leading axes share their resamples.
    rng
        Source of the draws.
    resamples
        B, at least 100.
    confidence
        Coverage, in (0, 1).

    Raises
    ------
    ValueError
        If `resamples` is below 100 or `confidence` outside (0, 1).
    """
    tail = (1 - check_confidence(confidence)) / 2
    if resamples < 100:
        raise ValueError(f"resamples={resamples} must be at least 100 for a 95 % interval.")
    block = max(1, _BLOCK // terms.size)
    draws = []
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        shares = resample_weights(terms.size, resamples=count, rng=rng)  # (b, N)
        draws.append(terms.weighted(shares))
    low, high = np.nanquantile(np.concatenate(draws, axis=-1), [tail, 1 - tail], axis=-1)
    return low, high


def bootstrap_draws(
    policies: Sequence[Terms], *, rng: np.random.Generator, resamples: int = 2000
) -> np.ndarray:
    """Estimate several policies on the same resamples of the same decisions.

    Parameters
    ----------
    policies
        P estimates, each of the same N decisions in the same order.
    rng
        Source of the draws.
    resamples
        B, at least 100.

    Returns
    -------
    np.ndarray
        float64 (P, B); the difference of two rows is paired by decision.

    Raises
    ------
    ValueError
        If `policies` is empty, their sizes differ or `resamples` is below 100.
    """
    sizes = {terms.size for terms in policies}
    if len(sizes) != 1:
        raise ValueError(f"policies hold {sorted(sizes)} decisions: compare those of one log.")
    if resamples < 100:
        raise ValueError(f"resamples={resamples} must be at least 100 for a 95 % interval.")
    (size,) = sizes
    block = max(1, _BLOCK // size)
    draws = []
    for start in range(0, resamples, block):
        shares = resample_weights(size, resamples=min(block, resamples - start), rng=rng)  # (b, N)
        draws.append(np.stack([terms.weighted(shares) for terms in policies]))
    return np.concatenate(draws, axis=-1)


def bernstein_interval(
    values: np.ndarray, *, low: float, high: float, confidence: float = 0.95
) -> Ends:
    r"""Empirical-Bernstein interval of a mean: valid for every N, if the bounds are.

    Maurer & Pontil, "Empirical Bernstein bounds and sample variance penalization", COLT 2009,
    theorem 4, for both sides (each at :math:`\delta/2`) and for values in [low, high] of length R:

    .. math:: \bar z \pm \Bigl(\sqrt{\frac{2 s^2 \ln(4/\delta)}{N}}
              + \frac{7 R \ln(4/\delta)}{3 (N - 1)}\Bigr)

    Parameters
    ----------
    values
        float (..., N), N >= 2: the terms of a plain mean (IPS, DR), not of a self-normalised one.
    low, high
        Bounds that no value can leave, known before the data: for IPS 0 and the largest possible
        weight times the largest reward. The largest *observed* value is no bound.
    confidence
        Coverage, in (0, 1); the true one is higher.

    Raises
    ------
    ValueError
        If a value lies outside [low, high], or there are fewer than two.
    """
    n = values.shape[-1]
    level = np.log(4 / (1 - check_confidence(confidence)))
    if n < 2:
        raise ValueError(f"values hold {n} decision: an interval needs at least 2.")
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    if values.min() < low - slack or values.max() > high + slack:
        raise ValueError(
            f"values span {values.min():.6g} to {values.max():.6g}, outside low={low}, "
            f"high={high}: give bounds that hold for every possible decision."
        )
    variance = values.var(axis=-1, ddof=1)
    half = np.sqrt(2 * variance * level / n) + 7 * (high - low) * level / (3 * (n - 1))
    return values.mean(axis=-1) - half, values.mean(axis=-1) + half


def weighted_range(
    max_weight: float, *, low: float = 0.0, high: float = 1.0, modelled: bool
) -> tuple[float, float]:
    """Bounds of the terms of IPS, or of DR if `modelled`, for rewards and model in [low, high]."""
    if modelled:
        reach = max_weight * (high - low)
        return low - reach, high + reach
    return min(0.0, max_weight * low), max(0.0, max_weight * high)


def _jackknife(terms: Terms, *, confidence: float | None) -> Ends:
    """Jackknife error and, if asked for, the quantile that belongs to it; (...) each."""
    n = terms.size
    if n < 2:
        raise ValueError(f"terms hold {n} decision: an error needs at least 2.")
    values = terms.leave_one_out
    values = values.mean(axis=-1, keepdims=True) - values  # raised by a decision that pulls up
    squares = values**2
    variance = squares.mean(axis=-1)
    error = np.sqrt((n - 1) * variance)
    if confidence is None:
        return error, error
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    scale = np.where(variance > 0, variance, 1.0)
    skewness = (squares * values).mean(axis=-1) / scale**1.5
    kurtosis = (squares**2).mean(axis=-1) / scale**2 - 3
    shape = (z**4 + 2 * z**2 - 3) / 18 * skewness**2 - (z**2 - 3) / 12 * kurtosis
    return error, z + z / n * (np.maximum(shape, 0.0) + (z**2 + 1) / 4)


def check_confidence(confidence: float) -> float:
    """Return it, or refuse what is no coverage."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1, for instance 0.95.")
    return confidence
