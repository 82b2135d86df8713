"""The routing field's metrics as pure functions of operating points; definitions and sources below.

A router with a threshold (or a price on cost) has many *operating points*; a curve is given as two
arrays of T points, in any order unless said otherwise. Where the published code of a metric is
flawed, the function here does it right; `routing_gym.benchmark.published_metrics` holds the
published variant, named after its source, so that figures can be set beside each other.

PGR, APGR, CPT (Ong et al. 2024, *RouteLLM*, arXiv:2406.18665, eqs. 5 to 7)
    Performance gap recovered, (r - weak)/(strong - weak); its average over the share of calls to
    the strong model; the least share of strong calls at which PGR reaches x.
AIQ (Hu et al. 2024, *RouterBench*, arXiv:2403.12031, sec. 3.3)
    Average improvement in quality: the mean height of the non-decreasing convex hull of the
    router's points in the plane of cost and quality, over a range of costs.
Gain@B, Gap@O, CostSave (Li et al. 2026, *LLMRouterBench*, arXiv:2601.07206)
    Relative gain over the best single model, relative gap to the oracle, and the largest cut in
    cost at no less than the best single model's accuracy.
V_B (Huang et al. 2025, *RouterEval*, arXiv:2503.10657)
    Accuracy over that of the best single model.
Arena score (Lu et al. 2025, *RouterArena*, arXiv:2510.00202)
    Weighted harmonic mean of accuracy and of a logarithmic score of cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ARENA_COST_LOW, ARENA_COST_HIGH = 0.0044, 200.0  # USD per 1,000 queries
ARENA_BETA = 0.1
_TINY = 1e-12


def performance_gap_recovered(
    quality: np.ndarray | float, *, weak: float, strong: float
) -> np.ndarray:
    """PGR = (r - weak) / (strong - weak); 0 is the weak model, 1 the strong one.

    Parameters
    ----------
    quality
        The router's mean quality at each operating point, any shape.
    weak, strong
        Mean quality of the two models on the same queries.

    Raises
    ------
    ValueError
        If the strong model is not better than the weak one.
    """
    if not strong > weak:
        raise ValueError(
            f"strong={strong} must be above weak={weak}: without a gap nothing can be recovered; "
            "name the better model strong, or take more queries."
        )
    return (np.asarray(quality, dtype=np.float64) - weak) / (strong - weak)


def average_pgr(shares: np.ndarray, quality: np.ndarray, *, weak: float, strong: float) -> float:
    """APGR: the area under PGR over the share of strong calls, from share 0 to share 1.

    Points are joined by straight lines, which a router reaches by drawing lots between two
    thresholds; with the points of `routing_gym.benchmark.cost_quality.strong_call_curve` it is
    exact, and a router that draws lots over all queries has 0.5.

    Parameters
    ----------
    shares
        float (T,), share of queries sent to the strong model; must reach from 0 to 1.
    quality
        float (T,), mean quality at those shares.
    weak, strong
        Mean quality of the two models on the same queries.

    Raises
    ------
    ValueError
        If the shares do not span [0, 1], or the models have no gap.
    """
    x, y = sorted_points(shares, quality)
    if abs(x[0]) > _TINY or abs(x[-1] - 1) > _TINY:
        raise ValueError(
            f"shares span [{x[0]:g}, {x[-1]:g}]: add the points 0 (the weak model alone) and 1 "
            "(the strong one), or averages of different routers are over different ranges."
        )
    pgr = performance_gap_recovered(y, weak=weak, strong=strong)
    return float(np.trapezoid(pgr, x))


def call_performance_threshold(
    shares: np.ndarray, quality: np.ndarray, *, weak: float, strong: float, level: float
) -> float:
    """CPT(x): the least share of strong calls at which PGR is at least `level`.

    It is the first crossing of the curve of straight lines, so a curve that falls and rises again
    has one well-defined value. The threshold is picked on the judged queries, as is customary.

    Parameters
    ----------
    shares, quality, weak, strong
        As in `average_pgr`; the shares need not span [0, 1].
    level
        x in [0, 1]; RouteLLM reports .5 and .8.

    Returns
    -------
    float
        A share in [0, 1]; nan where the curve never reaches the level.

    Raises
    ------
    ValueError
        If `level` is outside [0, 1], or the models have no gap.
    """
    check_level(level)
    x, y = sorted_points(shares, quality)
    pgr = performance_gap_recovered(y, weak=weak, strong=strong)
    reached = np.flatnonzero(pgr >= level - _TINY)
    if not len(reached):
        return float("nan")
    first = int(reached[0])
    if first == 0:
        return float(x[0])
    rise = pgr[first] - pgr[first - 1]  # above 0, as the point before lies below the level
    return float(x[first - 1] + (level - pgr[first - 1]) / rise * (x[first] - x[first - 1]))


def quality_hull(costs: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-decreasing upper convex hull of operating points in the plane of cost and quality.

    Any point on it can be had by drawing lots between two operating points.

    Parameters
    ----------
    costs, quality
        float (T,) each.

    Returns
    -------
    costs, quality : np.ndarray
        float64 (H,) each, both rising strictly: from the cheapest point (the best of those) to
        the cheapest of the highest quality.
    """
    hull: list[tuple[float, float]] = []
    for x, y in zip(*sorted_points(costs, quality), strict=True):
        if hull and y <= hull[-1][1]:  # no cheaper and no better
            continue
        if hull and x == hull[-1][0]:
            hull.pop()
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], (x, y)):
            hull.pop()
        hull.append((float(x), float(y)))
    points = np.array(hull)
    return points[:, 0], points[:, 1]


def common_cost_range(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Costs that every router can be judged over: from the dearest minimum to the highest cost.

    Below its own cheapest point a router has no quality; above its dearest it keeps it.

    Parameters
    ----------
    curves
        One array (T,) of costs per router.

    Raises
    ------
    ValueError
        If there are no curves or the range is empty.
    """
    if not curves:
        raise ValueError("curves is empty: give the costs of at least one router.")
    low = max(float(np.min(costs)) for costs in curves)
    high = max(float(np.max(costs)) for costs in curves)
    if not low < high:
        raise ValueError(
            f"the routers' common range of costs [{low:g}, {high:g}] is empty: give curves with "
            "more than one operating point."
        )
    return low, high


def average_improvement_in_quality(
    costs: np.ndarray, quality: np.ndarray, *, low: float, high: float
) -> float:
    """AIQ: mean height of the router's `quality_hull` over the costs from `low` to `high`.

    Parameters
    ----------
    costs, quality
        float (T,) each, the router's operating points.
    low, high
        The range, the same for all routers that are compared; see `common_cost_range`. Above the
        router's own highest cost its hull is flat.

    Raises
    ------
    ValueError
        If the range is empty or starts below the router's cheapest point.
    """
    x, y = quality_hull(costs, quality)
    if not low < high:
        raise ValueError(f"low={low}, high={high} is an empty range: give low below high.")
    if low < x[0] - _TINY:
        raise ValueError(
            f"low={low:g} is below the router's cheapest point {x[0]:g}, where it has no quality: "
            "take the range of common_cost_range, or add a cheaper operating point."
        )
    inside = x[(x > low) & (x < high)]
    grid = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(grid, x, y), grid) / (high - low))


def gain_over_best(accuracy: float, *, best_single: float) -> float:
    """Gain@B = accuracy / best single - 1; raises ValueError unless the best single is above 0."""
    return value_over_best(accuracy, best_single=best_single) - 1


def value_over_best(accuracy: float, *, best_single: float) -> float:
    """V_B = accuracy / best single; raises ValueError unless the best single is above 0."""
    return accuracy / _positive("best_single", best_single)


def gap_to_oracle(accuracy: float, *, oracle: float) -> float:
    """Gap@O = 1 - accuracy / oracle, 0 for the oracle; ValueError unless the oracle is above 0."""
    return 1 - accuracy / _positive("oracle", oracle)


def cost_save(
    costs: np.ndarray, accuracy: np.ndarray, *, best_cost: float, best_accuracy: float
) -> float:
    """CostSave: the largest 1 - c / best_cost among points at least as accurate as the best single.

    Parameters
    ----------
    costs, accuracy
        float (T,) each, the router's operating points.
    best_cost, best_accuracy
        Of the best single model.

    Returns
    -------
    float
        At most 1, below 0 if the accuracy is only had at a higher cost; nan if it is never had.

    Raises
    ------
    ValueError
        If `best_cost` is not above 0.
    """
    _positive("best_cost", best_cost)
    kept = np.asarray(costs, dtype=np.float64)[np.asarray(accuracy) >= best_accuracy - _TINY]
    return float(1 - kept.min() / best_cost) if len(kept) else float("nan")


def arena_score(accuracy: float, cost: float) -> float:
    """Arena score 1.1 A C / (0.1 A + C), C = (log2 200 - log2 c) / (log2 200 - log2 0.0044).

    Parameters
    ----------
    accuracy
        A in [0, 1].
    cost
        c in USD per 1,000 queries, above 0; beyond the published ends 0.0044 and 200 it counts as
        the nearer end, so that C stays in [0, 1].

    Raises
    ------
    ValueError
        If the accuracy is outside [0, 1] or the cost is not above 0.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy={accuracy} is outside [0, 1]: give a share, not per cent.")
    clipped = min(max(_positive("cost", cost), ARENA_COST_LOW), ARENA_COST_HIGH)
    span = np.log2(ARENA_COST_HIGH) - np.log2(ARENA_COST_LOW)
    cheapness = float((np.log2(ARENA_COST_HIGH) - np.log2(clipped)) / span)
    divisor = ARENA_BETA * accuracy + cheapness
    return (1 + ARENA_BETA) * accuracy * cheapness / divisor if divisor else 0.0


def sorted_points(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check two arrays (T,) and sort both by the first, of equals by the second; float64.

    Raises
    ------
    ValueError
        If the shapes differ, there are no points, or one is not finite.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"the operating points have shapes {x.shape} and {y.shape}: give two arrays of equal "
            "length, at least 1."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the operating points hold a value that is not finite: leave it out.")
    order = np.lexsort((y, x))
    return x[order], y[order]


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    """Rise over run; the run is above 0."""
    return (right[1] - left[1]) / (right[0] - left[0])


def _positive(name: str, value: float) -> float:
    """Return a value above 0, or refuse it."""
    if not value > 0:
        raise ValueError(f"{name}={value} must be above 0: a ratio to it is asked for.")
    return float(value)


def check_level(level: float) -> None:
    """Raise ValueError for a share of the gap that is outside [0, 1]."""
    if not 0 <= level <= 1:
        raise ValueError(f"level={level} is outside [0, 1]: give a share of the gap, such as 0.8.")
