"""How far a judge agrees with the truth: Cohen's kappa, resampled by query."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa with its interval.

    Parameters
    ----------
    value
        At most 1; 0 is agreement by chance, 1 full agreement; nan where both sides name one and
        the same label throughout.
    low, high
        Ends of the percentile interval; nan where it is not defined.
    """

    value: float
    low: float
    high: float


def cohen_kappa(
    first: np.ndarray,
    second: np.ndarray,
    *,
    clusters: np.ndarray,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Agreement:
    """Agreement of two raters beyond chance (Cohen 1960), with a clustered bootstrap interval.

    ``kappa = (o - e) / (1 - e)`` with the observed agreement o and that of independent raters with
    the same shares of labels, e. Clusters (queries) are drawn whole, because the answers to one
    query are not independent.

    Parameters
    ----------
    first, second
        Labels (M,) of the two raters, numbers or texts.
    clusters
        (M,), the query of each item.
    rng
        Source of the draws.
    resamples
        B, the number of resamples.
    confidence
        Coverage, in (0, 1).

    Raises
    ------
    ValueError
        If there are no items, the lengths differ, or a number is out of range.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"the labels have shapes {first.shape} and {second.shape}: give (M,) of both raters."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be between 0 and 1, for instance 0.95.")
    weights = cluster_weights(clusters, count=len(first), resamples=resamples, rng=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the case without two labels, which is nan here as there
        value = float(cohen_kappa_score(first, second))
    draws = kappa_draws(first, second, weights)
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return Agreement(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Agreement(value, float(low), float(high))


def cluster_weights(
    clusters: np.ndarray, *, count: int, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw clusters with replacement, and give each item its cluster's count.

    Parameters
    ----------
    clusters
        (M,) labels.
    count
        M, at least 1.
    resamples
        B, at least 1.
    rng
        Source of the draws.

    Returns
    -------
    ndarray
        float64 (B, M); the number of times that each item is in each resample.

    Raises
    ------
    ValueError
        If there are no items, their number differs, or `resamples` is below 1.
    """
    clusters = np.asarray(clusters)
    if count < 1 or clusters.shape != (count,):
        raise ValueError(
            f"clusters has shape {clusters.shape}: give one per item, {count}, at least one."
        )
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be at least 1.")
    names, index = np.unique(clusters, return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    drawn = rng.multinomial(len(names), share, size=resamples)  # (B, clusters)
    return drawn[:, index].astype(np.float64)


def kappa_draws(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kappa under every resample.

    Parameters
    ----------
    first, second
        Labels (M,).
    weights
        float (B, M), none negative.

    Returns
    -------
    ndarray
        float64 (B,); nan where only one label occurs.
    """
    labels, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    left, right = np.eye(len(labels))[index.reshape(2, -1)]  # (M, labels) each
    total = weights.sum(axis=1)
    observed = weights @ (left * right).sum(axis=1) / total
    expected = ((weights @ left) * (weights @ right)).sum(axis=1) / total**2
    draws = np.full(len(weights), np.nan)
    return np.divide(observed - expected, 1 - expected, out=draws, where=1 - expected > 1e-12)
