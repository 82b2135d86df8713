"""Routing metrics as the publishers' code computes them, flaws included, for comparison only.

What is wrong with each stands in its docstring; use `routing_gym.benchmark.routing_metrics`.
"""

from __future__ import annotations

import numpy as np

from routing_gym.benchmark.routing_metrics import (
    check_level,
    performance_gap_recovered,
    quality_hull,
    sorted_points,
)


def quantile_points_routellm(
    preference: np.ndarray, weak: np.ndarray, strong: np.ndarray, *, bins: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Operating points at the quantiles of the router's preference, as RouteLLM evaluates.

    Parameters
    ----------
    preference
        float (N,), the higher the rather the strong model is called.
    weak, strong
        float (N,), quality of the two models on each query.
    bins
        Number of equally filled bins; their bins + 1 edges are the thresholds.

    Returns
    -------
    shares, quality : np.ndarray
        float64 (bins + 1,) each, shares rising. Queries that tie with a threshold all go to the
        strong model, except at the highest threshold, which calls it never.
    """
    thresholds = np.quantile(preference, np.linspace(0, 1, bins + 1))
    calls = preference[None, :] >= thresholds[:, None]  # (bins + 1, N)
    calls[-1] = preference > thresholds[-1]
    quality = np.where(calls, strong, weak).mean(axis=1, dtype=np.float64)
    return sorted_points(calls.mean(axis=1), quality)


def average_pgr_routellm(
    preference: np.ndarray, weak: np.ndarray, strong: np.ndarray, *, bins: int = 10
) -> float:
    """APGR as RouteLLM's code computes it: a trapezoid over quantile thresholds.

    Differs from `average_pgr` by its few points and, for routers with many equal preferences, by
    where the ties fall. Parameters as in `quantile_points_routellm`.
    """
    x, y = quantile_points_routellm(preference, weak, strong, bins=bins)
    pgr = performance_gap_recovered(y, weak=float(weak.mean()), strong=float(strong.mean()))
    return float(np.trapezoid(pgr, x) / (x[-1] - x[0]))


def call_performance_threshold_routellm(
    shares: np.ndarray, quality: np.ndarray, *, weak: float, strong: float, level: float
) -> float:
    """CPT(x) as RouteLLM's code computes it: linear interpolation of share over quality.

    The flaw: `numpy.interp` needs its abscissae in rising order, and a quality curve that dips is
    not; the result is then one of several crossings, or none. Use `call_performance_threshold`.
    """
    check_level(level)
    x, y = sorted_points(shares, quality)
    pgr = performance_gap_recovered(y, weak=weak, strong=strong)
    return float(np.interp(level, pgr, x))


def average_improvement_in_quality_routerbench(
    costs: np.ndarray, quality: np.ndarray, *, high: float
) -> float:
    """AIQ as RouterBench's code computes it: area from the router's own minimum cost, over `high`.

    The flaw: the area misses what lies below the router's cheapest point, but the divisor does
    not, so that a router loses by *not* being offered cheaply, whatever its quality.
    """
    x, y = quality_hull(costs, quality)
    if high < x[-1]:
        raise ValueError(f"high={high} is below the router's own cost {x[-1]}: take the highest.")
    x, y = np.append(x, high), np.append(y, y[-1])
    return float(np.trapezoid(y, x) / high)
