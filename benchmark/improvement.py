"""Comparing runs rather than means: probability of improvement, performance profiles.

Both follow Agarwal et al. 2021, *Deep reinforcement learning at the edge of the statistical
precipice* (arXiv:2108.13264, sections 4.2 and 4.3), with a run's score on one task in the place of
its score on one game. Pure functions of arrays (S, T): S runs (seeds), T tasks.
"""

from __future__ import annotations

import numpy as np

from routing_gym.benchmark.statistics import Interval


def task_scores(values: np.ndarray, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average each run's values within each task.

    Parameters
    ----------
    values
        float (S, N), what each run's choice brought on each query.
    tasks
        (N,) the queries' tasks.

    Returns
    -------
    scores : np.ndarray
        float64 (S, T).
    names : np.ndarray
        (T,) the tasks, sorted.
    """
    names, index = np.unique(tasks, return_inverse=True)
    members = (index[:, None] == np.arange(len(names))).astype(np.float64)  # (N, T)
    return np.atleast_2d(values) @ (members / members.sum(axis=0)), names


def normalised_scores(
    values: np.ndarray, tasks: np.ndarray, *, table: np.ndarray, least_gap: float = 0.02
) -> np.ndarray:
    """Score each run on each task between a random choice (0) and the oracle (1).

    Parameters
    ----------
    values
        float (S, N).
    tasks
        (N,).
    table
        float (N, K), every adapter's value.
    least_gap
        Tasks on which the oracle is less than this above a random choice are left out.

    Returns
    -------
    np.ndarray
        float64 (S, T'), T' of the tasks.
    """
    scores, _ = task_scores(values, tasks)
    floor, _ = task_scores(table.mean(axis=1)[None], tasks)
    top, _ = task_scores(table.max(axis=1)[None], tasks)
    kept = (top - floor)[0] >= least_gap
    return (scores - floor)[:, kept] / (top - floor)[:, kept]


def probability_of_improvement(
    first: np.ndarray,
    second: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    r"""Probability that a run of one agent beats a run of another on a task drawn at random.

    .. math:: \frac 1T \sum_t \frac 1{S S'} \sum_{i, j} \left[1(x_{it} > y_{jt})
        + \tfrac 12 1(x_{it} = y_{jt})\right],

    the Mann-Whitney statistic averaged over tasks, with a percentile interval over runs resampled
    within each task. Seeds alone vary in it, not queries: for the latter see `PairedBootstrap`.

    Parameters
    ----------
    first, second
        float (S, T) and (S', T), scores of the runs on the same tasks.
    rng
        Source of the draws.
    resamples, confidence
        As in `PairedBootstrap`.

    Raises
    ------
    ValueError
        If the tasks differ in number or one has no runs.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"first and second have shapes {first.shape} and {second.shape}: give (S, T) and "
            "(S', T) with the same tasks."
        )
    if not first.size or not second.size:
        raise ValueError("first or second has no runs: give at least one seed of each.")
    left, right = first[:, None, :], second[None, :, :]
    wins = (left > right) + 0.5 * (left == right)  # (S, S', T)
    s, s2, tasks = wins.shape
    draws = np.zeros(resamples)
    for task in range(tasks):
        mine = rng.multinomial(s, np.full(s, 1 / s), size=resamples)
        theirs = rng.multinomial(s2, np.full(s2, 1 / s2), size=resamples)
        draws += np.einsum("bi,ij,bj->b", mine, wins[:, :, task], theirs, optimize=True)
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws / (s * s2 * tasks), [tail, 1 - tail])
    value = float(wins.mean())
    return Interval(value, min(float(low), value), max(float(high), value))


def performance_profile(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Share of runs x tasks whose score reaches each level.

    Parameters
    ----------
    scores
        float (S, T), see `normalised_scores`.
    levels
        float (L,).

    Returns
    -------
    np.ndarray
        float64 (L,), not rising where levels rise.
    """
    return (scores[:, :, None] >= levels - 1e-12).mean(axis=(0, 1))


def profile_band(
    scores: np.ndarray,
    levels: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = 500,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise bootstrap band of a `performance_profile`, runs resampled within each task.

    Returns
    -------
    low, high : np.ndarray
        float64 (L,).
    """
    reached = (scores[:, :, None] >= levels - 1e-12).astype(np.float64)  # (S, T, L)
    s, tasks = scores.shape
    draws = np.zeros((resamples, len(levels)))
    for task in range(tasks):
        weights = rng.multinomial(s, np.full(s, 1 / s), size=resamples) / s
        draws += weights @ reached[:, task] / tasks
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high
