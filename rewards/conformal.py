"""Conformal sets: the adapters that could be best, with a guarantee on how often one of them is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Method = Literal["lac", "aps"]
TIE_TOLERANCE = 1e-6  # scores are stored as float32


@dataclass(frozen=True)
class ConformalSets:
    """Split conformal prediction sets of adapters (Vovk et al., 2005; Angelopoulos & Bates, 2021).

    Each adapter's *strangeness* is computed from the predicted scores alone; the set of a query
    holds the adapters whose strangeness is at most a threshold taken from the calibration
    queries. A calibration query counts with the least strange of its truly best adapters, so
    that for a new query of the same kind

        1 - alpha <= P(the set holds a truly best adapter) <= 1 - alpha + 1 / (n + 1),

    the upper bound where strangeness has no ties. It holds on average over queries and over
    calibration samples, for any predictor; not within each domain, nor after a shift. Queries on
    which all adapters are equally good say nothing: they are left out of calibration, and
    `covered` leaves them out of the check.

    Strangeness of adapter k, with shares s = scores / sum of the query's scores:

    - "lac", ``1 - s_k`` (Sadinle, Lei & Wasserman, 2019): the smallest sets on average.
    - "aps", the shares of the adapters ranked before k plus u * s_k (Romano, Sesia & Candès,
      2020): sets that grow where the prediction is unsure; u is uniform in [0, 1), one per
      query, if drawn, else 1.

    A set can be empty: where no adapter is likely enough ("lac"), or by the draw ("aps"). It is
    part of the guarantee: where the likeliest adapter is right more often than 1 - alpha, sets
    can only cover 1 - alpha by being empty at times. Where something must be chosen use
    ``predict(..., keep_top=True)``, which can only cover more.

    Parameters
    ----------
    threshold
        Largest strangeness that is let in; infinity if n is too small for `alpha`, which makes
        every set full.
    alpha
        Share of misses that is allowed, in (0, 1).
    method
        "lac" or "aps".
    randomised
        Whether strangeness was drawn, and has to be.
    num_calibration
        n, the calibration queries on which the adapters differ.
    """

    threshold: float
    alpha: float
    method: Method
    randomised: bool
    num_calibration: int

    @classmethod
    def calibrate(
        cls,
        scores: np.ndarray,
        best: np.ndarray,
        *,
        alpha: float = 0.1,
        method: Method = "lac",
        rng: np.random.Generator | None = None,
    ) -> ConformalSets:
        """Take the threshold from queries whose best adapters are known.

        Parameters
        ----------
        scores
            float (N, K), at least 0: predicted goodness, such as P(right). The predictor must
            not have been trained on these queries.
        best
            bool (N, K), the tie set of the truly best adapters; see `best_arms`.
        alpha
            Share of misses that is allowed, in (0, 1).
        method
            "lac" or "aps".
        rng
            Source of the draws of "aps"; without one it is not randomised.

        Raises
        ------
        ValueError
            If an argument is refused, a query has no best adapter, or adapters differ on none.
        """
        if method not in get_args(Method):
            raise ValueError(f"method={method!r} must be one of {get_args(Method)}.")
        if method == "lac" and rng is not None:
            raise ValueError("rng is for method='aps': 'lac' draws nothing, leave it out.")
        strangeness = _strangeness(_shares(scores), method, rng)
        best = _tie_set(best, strangeness.shape)
        differ = ~best.all(axis=1)
        if not differ.any():
            raise ValueError(
                f"on all {len(best)} calibration queries the adapters are equally good: give "
                "queries on which they differ."
            )
        least = np.where(best, strangeness, np.inf).min(axis=1)[differ]
        return cls(
            threshold=conformal_quantile(least, alpha=alpha),
            alpha=alpha,
            method=method,
            randomised=rng is not None,
            num_calibration=int(differ.sum()),
        )

    def predict(
        self,
        scores: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        keep_top: bool = False,
    ) -> np.ndarray:
        """Return the set of each query.

        Parameters
        ----------
        scores
            float (N, K), from the same predictor.
        rng
            Source of the draws; needed if, and only if, the calibration was randomised.
        keep_top
            Whether the adapter with the highest score is always in, so that no set is empty.

        Returns
        -------
        ndarray
            bool (N, K).

        Raises
        ------
        ValueError
            If `scores` are refused or `rng` does not fit the calibration.
        """
        if (rng is not None) != self.randomised:
            raise ValueError(
                f"calibration was {'' if self.randomised else 'not '}randomised: "
                f"{'pass an rng' if self.randomised else 'leave rng out'}, the guarantee holds "
                "for the same strangeness only."
            )
        shares = _shares(scores)
        sets = _strangeness(shares, self.method, rng) <= self.threshold
        if keep_top and len(sets):
            sets[np.arange(len(sets)), shares.argmax(axis=1)] = True
        return sets


def conformal_quantile(strangeness: np.ndarray, *, alpha: float) -> float:
    """Return the ceil((n + 1)(1 - alpha))-th smallest of n numbers; infinity if there are fewer.

    Examples
    --------
    >>> conformal_quantile(np.array([0.4, 0.1, 0.3, 0.2]), alpha=0.4)
    0.3

    Raises
    ------
    ValueError
        If `alpha` is outside (0, 1), or a number is nan.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} must be between 0 and 1, for instance 0.1.")
    values = np.asarray(strangeness, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("strangeness holds nan: score those queries again.")
    # Rounded first: 10 * (1 - 0.9) exceeds 1 by an error that must not become a rank.
    rank = math.ceil(round((len(values) + 1) * (1 - alpha), 9))
    return float(np.sort(values)[rank - 1]) if rank <= len(values) else math.inf


def best_arms(accuracy: np.ndarray) -> np.ndarray:
    """Tie set, bool (N, K), of the adapters with the query's highest accuracy, float (N, K)."""
    values = np.asarray(accuracy, dtype=np.float64)
    return np.asarray(values.max(axis=1, keepdims=True) - values <= TIE_TOLERANCE)


def covered(sets: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Tell for each query on which adapters differ whether its set holds a truly best one.

    Parameters
    ----------
    sets
        bool (N, K), of `ConformalSets.predict`.
    best
        bool (N, K), the tie set of the truly best adapters.

    Returns
    -------
    ndarray
        bool (D,), one per query on which adapters differ, in their order; its mean is the
        coverage.

    Raises
    ------
    ValueError
        If the shapes differ or a query has no best adapter.
    """
    tie_set = _tie_set(best, np.shape(sets))
    return np.asarray((np.asarray(sets, dtype=bool) & tie_set).any(axis=1)[~tie_set.all(axis=1)])


def _shares(scores: np.ndarray) -> np.ndarray:
    """Scores as shares of their query's sum, float64 (N, K); equal ones where all are 0."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"scores of shape {values.shape} must be (N, K), K at least 2.")
    wrong = np.argwhere(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        row, arm = (int(i) for i in wrong[0])
        raise ValueError(
            f"scores hold {values[row, arm]} at index ({row}, {arm}): give finite numbers of at "
            "least 0, such as probabilities."
        )
    total = values.sum(axis=1, keepdims=True)
    equal = np.full_like(values, 1 / values.shape[1])
    return np.divide(values, total, out=equal, where=total > 0)


def _strangeness(shares: np.ndarray, method: Method, rng: np.random.Generator | None) -> np.ndarray:
    """How little each adapter looks like a best one, (N, K)."""
    if method == "lac":
        return 1 - shares
    draw = 1.0 if rng is None else rng.random((len(shares), 1))
    order = np.argsort(-shares, axis=1, kind="stable")
    ranked = np.take_along_axis(shares, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    result = np.empty_like(shares)
    np.put_along_axis(result, order, before + draw * ranked, axis=1)
    return result


def _tie_set(best: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Hold a tie set to its contract: bool, of the scores' shape, a best adapter in each row."""
    tie_set = np.asarray(best)
    if tie_set.dtype != np.bool_ or tie_set.shape != shape:
        raise ValueError(
            f"best is {tie_set.dtype} {tie_set.shape}: give bool {shape}, such as best_arms makes."
        )
    none = np.flatnonzero(~tie_set.any(axis=1))
    if len(none):
        raise ValueError(f"best has no adapter in row {none[0]}: every query has a best one.")
    return tie_set
