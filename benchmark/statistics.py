"""Intervals: paired bootstrap over seeds x queries, interquartile mean, proportions.

Pure functions of arrays and one class that holds a set of resamples, so that everything compared
is compared on the same ones. Sources are named in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval, in the figure's own unit.

    Parameters
    ----------
    value
        The estimate.
    low, high
        The interval's ends; ``nan`` where the figure is not defined.
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}: give them in order.")

    def as_dict(self) -> dict[str, float]:
        """Return ``{"value", "low", "high"}``, the form of a summary file."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @property
    def defined(self) -> bool:
        """Whether all three numbers are finite."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())


def interquartile_mean(values: np.ndarray, *, axis: int = 0) -> np.ndarray:
    """Average the middle half of the values (a quarter, rounded down, is cut at each end).

    Parameters
    ----------
    values
        float array of any shape; with fewer than four values along `axis` it is the plain mean.
    axis
        The axis of the runs.

    Examples
    --------
    >>> float(interquartile_mean(np.array([0.0, 1.0, 2.0, 3.0, 100.0])))
    2.0
    """
    return np.asarray(stats.trim_mean(values, 0.25, axis=axis))


def resample_weights(
    num_queries: int,
    *,
    resamples: int,
    rng: np.random.Generator,
    strata: np.ndarray | None = None,
) -> np.ndarray:
    """Draw bootstrap resamples of queries as weights, so that a mean is a matrix product.

    Parameters
    ----------
    num_queries
        N, at least 1.
    resamples
        B, at least 1.
    rng
        Source of the draws.
    strata
        (N,) labels; queries are then drawn within their label only, so that the mix of labels
        is that of the sample. None draws from all queries.

    Returns
    -------
    np.ndarray
        float64 (B, N), each row sums to 1.

    Raises
    ------
    ValueError
        If a count is below 1 or `strata` has another length than N.
    """
    if num_queries < 1 or resamples < 1:
        raise ValueError(f"num_queries={num_queries} and resamples={resamples} must be at least 1.")
    labels = np.zeros(num_queries, dtype=np.int64) if strata is None else np.asarray(strata)
    if labels.shape != (num_queries,):
        raise ValueError(
            f"strata has shape {labels.shape}: give one label per query, {num_queries}."
        )
    weights = np.empty((resamples, num_queries))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share = np.full(len(members), 1.0 / len(members))
        weights[:, members] = rng.multinomial(len(members), share, size=resamples)
    return weights / num_queries


class PairedBootstrap:
    """One set of resamples of seeds and queries, shared by everything that is compared.

    Values are given as (S, N): one row per seed, one column per query, or (N,) where nothing
    depends on the seed. Seeds and queries are resampled independently of each other.

    Parameters
    ----------
    num_queries
        N.
    rng
        Source of the draws; all are made here, so that the order of later calls changes nothing.
    resamples
        B, the number of resamples.
    confidence
        Coverage of the intervals, in (0, 1).
    strata
        (N,) labels within which queries are resampled; None resamples them from all.
    max_seeds
        Largest S that will be given.

    Raises
    ------
    ValueError
        If `confidence` is outside (0, 1) or a count is below 1.
    """

    def __init__(
        self,
        num_queries: int,
        *,
        rng: np.random.Generator,
        resamples: int = 2000,
        confidence: float = 0.95,
        strata: np.ndarray | None = None,
        max_seeds: int = 100,
    ) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence} must be between 0 and 1, for instance 0.95.")
        self.confidence = confidence
        self.weights = resample_weights(num_queries, resamples=resamples, rng=rng, strata=strata)
        self._seed_draws = rng.random((max_seeds, resamples))

    def means(self, values: np.ndarray, *, robust: bool = False) -> np.ndarray:
        """Average `values` on each resample.

        Parameters
        ----------
        values
            float (S, N) or (N,).
        robust
            Whether the seeds' means are joined by their interquartile mean in place of the mean.

        Returns
        -------
        np.ndarray
            float64 (B,).
        """
        rows = np.atleast_2d(np.asarray(values, dtype=np.float64))  # (S, N)
        seeds, queries = rows.shape
        if queries != self.weights.shape[1]:
            raise ValueError(f"values cover {queries} queries, not {self.weights.shape[1]}.")
        if seeds > len(self._seed_draws):
            raise ValueError(f"values hold {seeds} seeds, above max_seeds={len(self._seed_draws)}.")
        per_seed = rows @ self.weights.T  # (S, B)
        picks = (self._seed_draws[:seeds] * seeds).astype(np.int64)  # (S, B)
        drawn = np.take_along_axis(per_seed, picks, axis=0)
        return interquartile_mean(drawn) if robust else drawn.mean(axis=0)

    def interval(self, value: float, draws: np.ndarray) -> Interval:
        """Put the percentile interval of bootstrap `draws` (B,) around an estimate.

        Draws that are not defined (``nan``) are left out; if none is left, so is the interval.
        """
        known = draws[~np.isnan(draws)]
        if len(known) == 0 or np.isnan(value):
            return Interval(float(value), float("nan"), float("nan"))
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(known, [tail, 1 - tail])
        return Interval(float(value), float(low), float(high))

    def mean(self, values: np.ndarray) -> Interval:
        """Interval of the mean of `values` (S, N)."""
        return self.interval(float(np.mean(values)), self.means(values))

    def iqm(self, values: np.ndarray) -> Interval:
        """Interval of the interquartile mean over the seeds of the mean over queries, (S, N)."""
        per_seed = np.atleast_2d(values).mean(axis=1)
        return self.interval(float(interquartile_mean(per_seed)), self.means(values, robust=True))

    def difference(self, first: np.ndarray, second: np.ndarray) -> Interval:
        """Paired interval of ``mean(first) - mean(second)``, each (S, N) or (N,)."""
        value = float(np.mean(first) - np.mean(second))
        return self.interval(value, self.means(first) - self.means(second))

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray) -> Interval:
        """Paired interval of ``mean(numerator) / mean(denominator)``; nan where that is 0."""
        value = _ratio(np.mean(numerator), np.mean(denominator))
        return self.interval(float(value), _ratio(self.means(numerator), self.means(denominator)))

    def gap_closed(
        self, values: np.ndarray, *, best_single: np.ndarray, oracle: np.ndarray
    ) -> Interval:
        """Paired interval of (V - best single) / (oracle - best single); rewards (S, N) or (N,)."""
        value = _ratio(
            np.mean(values) - np.mean(best_single), np.mean(oracle) - np.mean(best_single)
        )
        base = self.means(best_single)
        draws = _ratio(self.means(values) - base, self.means(oracle) - base)
        return self.interval(float(value), draws)


def stratified_bootstrap(
    scores: np.ndarray, *, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Interval of the interquartile mean of runs x tasks, runs resampled within each task.

    Parameters
    ----------
    scores
        float (S, T), one row per run (seed), one column per task.
    rng
        Source of the draws.
    resamples, confidence
        As in `PairedBootstrap`.

    Raises
    ------
    ValueError
        If `scores` is not a non-empty matrix.
    """
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores has shape {scores.shape}: give runs x tasks, neither empty.")
    runs, tasks = scores.shape
    picks = rng.integers(runs, size=(resamples, runs, tasks))
    drawn = scores[picks, np.arange(tasks)]  # (B, S, T)
    draws = interquartile_mean(drawn.reshape(resamples, -1), axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(interquartile_mean(scores.ravel())), float(low), float(high))


def wilson_interval(successes: float, trials: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion.

    Parameters
    ----------
    successes
        Number of successes; a sum of scores in [0, 1] is allowed and gives a wider interval than
        its own variance would.
    trials
        Number of trials, at least 1.
    confidence
        Coverage, in (0, 1).

    Raises
    ------
    ValueError
        If `trials` is below 1 or `successes` is outside [0, trials].
    """
    _check_proportion(successes, trials)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low, high = max(0.0, float(centre - half)), min(1.0, float(centre + half))
    return Interval(share, min(low, share), max(high, share))


def jeffreys_interval(successes: float, trials: int, *, confidence: float = 0.95) -> Interval:
    """Bayesian interval of a proportion under the prior Beta(1/2, 1/2); see `wilson_interval`."""
    _check_proportion(successes, trials)
    tail = (1 - confidence) / 2
    posterior = stats.beta(successes + 0.5, trials - successes + 0.5)
    low = 0.0 if successes == 0 else float(posterior.ppf(tail))
    high = 1.0 if successes == trials else float(posterior.ppf(1 - tail))
    return Interval(successes / trials, low, high)


def finite_figures(figures: Mapping[str, float | Interval]) -> dict[str, float | dict[str, float]]:
    """Turn figures into the JSON form of a summary, rounded to six decimals.

    Figures that are not defined are left out.
    """
    result: dict[str, float | dict[str, float]] = {}
    for name, figure in figures.items():
        if isinstance(figure, Interval):
            if figure.defined:
                result[name] = {key: round(part, 6) for key, part in figure.as_dict().items()}
        elif np.isfinite(figure):
            result[name] = round(float(figure), 6)
    return result


def figures_to_json(
    figures: Mapping[str, float | Interval],
) -> dict[str, float | dict[str, float]]:
    """Turn figures into JSON values that `figures_from_json` turns back, all digits kept."""
    return {
        name: figure.as_dict() if isinstance(figure, Interval) else figure
        for name, figure in figures.items()
    }


def figures_from_json(
    content: Mapping[str, float | Mapping[str, float]],
) -> dict[str, float | Interval]:
    """Take back what `figures_to_json` returned."""
    return {
        name: float(figure) if isinstance(figure, (int, float)) else Interval(**figure)
        for name, figure in content.items()
    }


def _ratio(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    """Divide, with nan where the denominator is zero (or, for gaps, below the rounding error)."""
    top, bottom = np.asarray(numerator, float), np.asarray(denominator, float)
    safe = np.where(np.abs(bottom) > 1e-12, bottom, np.nan)
    return np.asarray(top / safe)


def _check_proportion(successes: float, trials: int) -> None:
    """Refuse counts that are no proportion."""
    if trials < 1:
        raise ValueError(f"trials={trials} must be at least 1: an empty group has no proportion.")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes={successes} must be between 0 and trials={trials}.")
