"""Operating points of routers with a threshold: what they cost and how good they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PRICES = 41


@dataclass(frozen=True)
class CostQualityCurve:
    """The operating points of one router, from the cheapest price setting to the dearest.

    Parameters
    ----------
    prices
        float64 (T,), the quality that one unit of cost is held to be worth, falling.
    costs, quality
        float64 (T,), mean measured cost and mean quality of what the router then chooses.
    """

    prices: np.ndarray
    costs: np.ndarray
    quality: np.ndarray


def strong_call_curve(
    preference: np.ndarray, weak: np.ndarray, strong: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every operating point of a router between two models that calls the strong one above a cut.

    Parameters
    ----------
    preference
        float (N,), the higher the rather the strong model is called.
    weak, strong
        float (N,), quality of the two models on each query.

    Returns
    -------
    shares, quality : np.ndarray
        float64 (T,) each, T at most N + 1: share of strong calls, rising from 0 to 1, and the mean
        quality. Queries of equal preference are called together; on the line between two points
        lots are drawn among them.

    Raises
    ------
    ValueError
        If lengths differ, there are no queries, or a preference is not finite.
    """
    preference = np.asarray(preference, dtype=np.float64)
    weak, strong = np.asarray(weak, dtype=np.float64), np.asarray(strong, dtype=np.float64)
    shapes = (preference.shape, weak.shape, strong.shape)
    if preference.ndim != 1 or not len(preference) or len(set(shapes)) > 1:
        raise ValueError(f"preference, weak and strong have shapes {shapes}: give (N,) each.")
    if not np.isfinite(preference).all():
        row = int(np.argmin(np.isfinite(preference)))
        raise ValueError(f"preference[{row}] is not finite: check the router's prediction.")
    order = np.argsort(-preference, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    falls = preference[order][1:] < preference[order][:-1]
    ends = np.flatnonzero(np.concatenate([[True], falls, [True]]))  # calls at each cut
    return ends / len(order), weak.mean() + gained[ends] / len(order)


def cost_quality_curve(
    values: np.ndarray,
    *,
    quality: np.ndarray,
    cost: np.ndarray,
    expected_cost: np.ndarray,
    points: int = _PRICES,
) -> CostQualityCurve:
    """Operating points of a router that takes the arm of highest value minus price times cost.

    The prices are quantiles of those at which some query changes from one arm to another, with 0
    (quality alone) and one above all of them (cost alone), so that the points lie where choices
    change, whatever the units.

    Parameters
    ----------
    values
        float (N, K), the router's predicted quality.
    quality, cost
        float (N, K), what the chosen arm then scores and costs.
    expected_cost
        float (K,) or (N, K), what the router believes that an arm costs: its mean on the train
        split, never the measured cost of the judged answer.
    points
        T, at least 2.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or fewer than 2 points are asked for.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape != quality.shape or values.shape != cost.shape:
        raise ValueError(
            f"values, quality and cost have shapes {values.shape}, {quality.shape} and "
            f"{cost.shape}: give (N, K) each."
        )
    if points < 2:
        raise ValueError(f"points={points} makes no curve: give at least 2.")
    try:
        expected = np.broadcast_to(np.asarray(expected_cost, dtype=np.float64), values.shape)
    except ValueError as error:
        raise ValueError(f"expected_cost must be (K,) or (N, K): {error}.") from error
    if not (np.isfinite(values).all() and np.isfinite(expected).all()):
        raise ValueError("values or expected_cost are not finite: check the router's prediction.")
    prices = _prices(values, expected, points)
    rows = np.arange(len(values))
    chosen = [_cheapest_best(values - price * expected, expected) for price in prices]
    return CostQualityCurve(
        prices=prices,
        costs=np.array([cost[rows, actions].mean(dtype=np.float64) for actions in chosen]),
        quality=np.array([quality[rows, actions].mean(dtype=np.float64) for actions in chosen]),
    )


def _prices(values: np.ndarray, expected: np.ndarray, points: int) -> np.ndarray:
    """Return (T,) falling prices, quantiles of those at which two arms of a query are equal."""
    k = values.shape[1]
    left, right = np.triu_indices(k, 1)
    run = expected[:, left] - expected[:, right]
    rise = values[:, left] - values[:, right]
    equal = rise[run != 0] / run[run != 0]
    equal = equal[equal > 0]
    if not len(equal):
        return np.zeros(points)
    inner = np.quantile(equal, np.linspace(1, 0, points - 2)) if points > 2 else np.empty(0)
    return np.concatenate([[2 * equal.max()], inner, [0.0]])


def _cheapest_best(utility: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return (N,), the arm of highest utility, of equals the one expected to cost least."""
    best = utility >= utility.max(axis=1, keepdims=True) - 1e-12
    return np.where(best, expected, np.inf).argmin(axis=1)
