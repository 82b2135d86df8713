"""How well a score puts right answers above wrong ones: AUROC, Spearman, AUROC within a query.

Scores and truths are tables of queries x adapters. Intervals resample queries, each with all of
its answers, because the answers to one query are not independent. A resample is a row of weights,
so that all resamples are ranked at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.statistics import Interval, PairedBootstrap


@dataclass(frozen=True)
class Ranking:
    """How well one score ranks one group of answers by their verified accuracy.

    Parameters
    ----------
    auroc
        Probability that a right answer scores above a wrong one, ties counted half.
    spearman
        Rank correlation with the accuracy, ties at their mid-rank.
    within_query
        Mean over the queries whose adapters differ of the AUROC among the answers to one query:
        what a router needs, because it compares the adapters on the same query.
    """

    auroc: Interval
    spearman: Interval
    within_query: Interval


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve (Hanley & McNeil 1982); ties count half.

    Parameters
    ----------
    scores
        float array of any shape; higher says right.
    truth
        0/1 array of the same shape.

    Returns
    -------
    float
        In [0, 1]; nan if all answers are right or all are wrong.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not finite or a truth is not 0 or 1.

    Examples
    --------
    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.75
    """
    return _estimate(*_checked(scores, truth))[0]


def spearman(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rank correlation with a 0/1 truth; parameters and errors as in `auroc`."""
    return _estimate(*_checked(scores, truth))[1]


def rank_draws(
    scores: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank one set of answers under every resample.

    With p, n and t the positive, negative and total weight at each distinct score, AUROC is
    ``sum p (n below + n / 2) / (P N)``. The mean mid-ranks of right and wrong answers are
    ``(AUROC - 1/2) (P + N)`` apart, and the mid-ranks' variance is ``T**2 (1 - sum (t/T)**3) / 12``
    (Kendall 1945, ties included), which gives Spearman's correlation in closed form.

    Parameters
    ----------
    scores
        float (M,), higher says right.
    truth
        0/1 (M,).
    weights
        float (B, M), how often each answer is in each resample; only proportions count.

    Returns
    -------
    tuple[ndarray, ndarray]
        AUROC and Spearman, float64 (B,); nan where a resample is not mixed, or its scores are
        all equal (Spearman).
    """
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    drawn = weights[:, order]
    total = np.add.reduceat(drawn, starts, axis=1)  # (B, distinct scores)
    positive = np.add.reduceat(drawn * truth[order], starts, axis=1)
    negative = total - positive
    right, wrong = positive.sum(axis=1), negative.sum(axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    mixed = (right > 0) & (wrong > 0)
    area = np.full(len(weights), np.nan)
    np.divide((positive * below).sum(axis=1), right * wrong, out=area, where=mixed)
    area = np.clip(area, 0.0, 1.0)  # of rounding
    everything = right + wrong
    ties = ((total / np.maximum(everything, 1e-300)[:, None]) ** 3).sum(axis=1)
    spread = everything * np.sqrt(np.maximum(1 - ties, 0) / 12)
    correlation = np.full(len(weights), np.nan)
    product = (area - 0.5) * np.sqrt(right * wrong)
    np.divide(product, spread, out=correlation, where=mixed & (ties < 1 - 1e-12))
    return area, correlation


def rank(
    scores: np.ndarray,
    accuracy: np.ndarray,
    *,
    bootstrap: PairedBootstrap,
    rows: np.ndarray | None = None,
) -> Ranking:
    """Measure how a score ranks the answers of some queries.

    Parameters
    ----------
    scores
        float (N, K), higher says right.
    accuracy
        0/1 (N, K), the verified correctness.
    bootstrap
        The shared resamples of the N queries.
    rows
        bool (N,), the queries that count; None takes all.

    Raises
    ------
    ValueError
        As `auroc`, or if no query counts.
    """
    kept = _kept(rows, len(scores))
    scores, accuracy = _checked(scores[kept], accuracy[kept])
    weights = bootstrap.weights[:, kept]
    (area, correlation), draws = _estimate(scores, accuracy), _resample(scores, accuracy, weights)
    return Ranking(
        auroc=bootstrap.interval(area, draws[0]),
        spearman=bootstrap.interval(correlation, draws[1]),
        within_query=_within_query(scores, accuracy, bootstrap=bootstrap, weights=weights),
    )


def auroc_interval(
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    bootstrap: PairedBootstrap,
    rows: np.ndarray | None = None,
) -> Interval:
    """AUROC alone, for truths other than accuracy (does an uncertainty predict errors?).

    Parameters and errors are those of `rank`.
    """
    kept = _kept(rows, len(scores))
    scores, truth = _checked(scores[kept], truth[kept])
    draws = _resample(scores, truth, bootstrap.weights[:, kept])[0]
    return bootstrap.interval(_estimate(scores, truth)[0], draws)


def auroc_difference(
    first: np.ndarray, second: np.ndarray, truth: np.ndarray, *, bootstrap: PairedBootstrap
) -> Interval:
    """Paired interval of the AUROC of one score (N, K) minus that of another."""
    (first, right), (second, _) = _checked(first, truth), _checked(second, truth)
    value = _estimate(first, right)[0] - _estimate(second, right)[0]
    draws = [_resample(scores, right, bootstrap.weights)[0] for scores in (first, second)]
    return bootstrap.interval(value, draws[0] - draws[1])


def concordance(scores: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """AUROC among the answers to each query, ties half; nan (N,) where all are right or wrong."""
    scores, accuracy = _checked(scores, accuracy)
    right, wrong = accuracy[:, :, None] == 1, accuracy[:, None, :] == 0
    ahead = np.sign(scores[:, :, None] - scores[:, None, :]) / 2 + 0.5  # (N, K, K)
    pairs = (right & wrong).sum(axis=(1, 2))
    won = (ahead * (right & wrong)).sum(axis=(1, 2))
    return np.divide(won, pairs, out=np.full(len(scores), np.nan), where=pairs > 0)


def _within_query(
    scores: np.ndarray, accuracy: np.ndarray, *, bootstrap: PairedBootstrap, weights: np.ndarray
) -> Interval:
    """Mean concordance over the queries whose answers differ."""
    shares = concordance(scores, accuracy)
    mixed = ~np.isnan(shares)
    if not mixed.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    mass = weights[:, mixed].sum(axis=1)
    draws = np.full(len(weights), np.nan)
    np.divide(weights[:, mixed] @ shares[mixed], mass, out=draws, where=mass > 0)
    return bootstrap.interval(float(shares[mixed].mean()), draws)


def _estimate(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """AUROC and Spearman of the sample itself."""
    area, correlation = rank_draws(scores.ravel(), truth.ravel(), np.ones((1, scores.size)))
    return float(area[0]), float(correlation[0])


def _resample(
    scores: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and Spearman, each (B,), where all K answers of a query (N, K) weigh the same."""
    answers = np.repeat(weights, scores.shape[1], axis=1)  # (B, N * K)
    return rank_draws(scores.ravel(), truth.ravel(), answers)


def _kept(rows: np.ndarray | None, count: int) -> np.ndarray:
    """Mask (N,) of the queries that count, at least one."""
    kept = np.ones(count, dtype=np.bool_) if rows is None else np.asarray(rows)
    if not kept.any():
        raise ValueError("rows marks no query: choose a group that holds some.")
    return kept


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, the truth as float64, after holding them to their contract."""
    scores, truth = np.asarray(scores), np.asarray(truth, dtype=np.float64)
    if scores.shape != truth.shape:
        raise ValueError(f"scores have shape {scores.shape}, the truth {truth.shape}: align them.")
    if not np.isfinite(scores).all():
        raise ValueError(f"{(~np.isfinite(scores)).sum()} scores are not finite: score them again.")
    if not np.isin(truth, (0.0, 1.0)).all():
        wrong = truth[~np.isin(truth, (0.0, 1.0))][0]
        raise ValueError(f"truth {wrong} is neither 0 nor 1: decide which answers count as right.")
    return scores, truth
