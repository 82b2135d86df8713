"""The hindsight bound of Budget-v0: what nobody can beat, even knowing every answer beforehand.

An episode in hindsight is a multiple-choice knapsack: one adapter or none for each of T queries,
costs within the budget. Its linear relaxation bounds every policy from above, for an answer that
is cut short earns nothing, and a mask only forbids. Two ways to the same number: linear
programming, and the greedy of Sinha & Zoltners (1979, *The multiple-choice knapsack problem*),
which is exact for the relaxation and takes all episodes at once.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from routing_gym.envs.budget import BudgetScenario
from routing_gym.envs.scenario_vector import ScenarioVectorEnv


def hindsight_bound(values: np.ndarray, costs: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Solve the relaxed knapsack of many episodes by the greedy along each query's hull.

    Per query only the upper concave hull of (0, 0) and its K (cost, value) points matters; its
    edges, each a further cost and value, are taken over all queries in falling order of value per
    cost until the budget is used up, the last one in part.

    Parameters
    ----------
    values
        float (E, T, K), what each answer is worth.
    costs
        float (E, T, K), what it costs, at least 0.
    budgets
        float (E,), what each episode may spend.

    Returns
    -------
    np.ndarray
        float64 (E,), the bounds.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a cost is below 0 or not finite.
    """
    _check(values, costs, budgets)
    gains, prices = hull_edges(values.astype(np.float64), costs.astype(np.float64))
    episodes = len(budgets)
    gains, prices = gains.reshape(episodes, -1), prices.reshape(episodes, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(gains > 0, gains / prices, 0.0)  # infinite where free
    order = np.argsort(-slopes, axis=1, kind="stable")
    gains, prices = (np.take_along_axis(edges, order, axis=1) for edges in (gains, prices))
    before = np.cumsum(prices, axis=1) - prices
    left = np.maximum(budgets[:, None] - before, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(prices > 0, np.minimum(left / prices, 1.0), 1.0)
    return (gains * share).sum(axis=1)


def hull_edges(values: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the edges of the upper concave hulls of (0, 0) and K points each.

    Parameters
    ----------
    values, costs
        float64 (..., K).

    Returns
    -------
    tuple of np.ndarray
        Gains in value and further costs of the edges, float64 (..., K), in falling order of gain
        per cost; 0 and 0 where a hull has fewer than K edges.
    """
    shape = values.shape
    flat_values, flat_costs = (a.reshape(-1, shape[-1]) for a in (values, costs))
    rows = np.arange(len(flat_values))
    at_value, at_cost = np.zeros(len(rows)), np.zeros(len(rows))
    gains, prices = np.zeros(flat_values.shape), np.zeros(flat_costs.shape)
    for edge in range(shape[-1]):
        gain, price = flat_values - at_value[:, None], flat_costs - at_cost[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(price > 0, gain / price, np.inf)
        slope = np.where((gain > 0) & (price >= 0), slope, -np.inf)
        steepest = slope.max(axis=1, keepdims=True)
        # of equally steep points the farthest: the whole edge at once, free gains in full
        reach = np.where(slope == steepest, gain, -np.inf).argmax(axis=1)
        rises = np.isfinite(gain[rows, reach]) & (steepest[:, 0] > 0)
        gains[:, edge] = np.where(rises, gain[rows, reach], 0.0)
        prices[:, edge] = np.where(rises, price[rows, reach], 0.0)
        at_value, at_cost = at_value + gains[:, edge], at_cost + prices[:, edge]
    return gains.reshape(shape), prices.reshape(shape)


def linear_programme(values: np.ndarray, costs: np.ndarray, budget: float) -> float:
    r"""Solve one episode's relaxation by HiGHS.

    :math:`\max \sum_{tk} v_{tk} x_{tk}` subject to :math:`\sum_{tk} c_{tk} x_{tk} \le B`,
    :math:`\sum_k x_{tk} \le 1` for every t, :math:`x \ge 0`.

    Parameters
    ----------
    values, costs
        float (T, K).
    budget
        B.

    Raises
    ------
    RuntimeError
        If the solver fails.
    """
    queries, adapters = values.shape
    once = np.kron(np.eye(queries), np.ones(adapters))
    found = linprog(
        -values.ravel(),
        A_ub=np.vstack([costs.ravel(), once]),
        b_ub=np.concatenate([[budget], np.ones(queries)]),
        method="highs",
    )
    if not found.success:
        raise RuntimeError(f"the linear programme of {queries} queries failed: {found.message}")
    return -float(found.fun)


def hindsight_returns(env: ScenarioVectorEnv, *, episodes: int, seed: int) -> np.ndarray:
    """Bound the returns of the episodes that `rollout` plays with this seed.

    Parameters
    ----------
    env
        Lanes of Budget-v0, which are reset.
    episodes
        E, at least 1.
    seed
        s; episode e is that of seed s + e.

    Returns
    -------
    np.ndarray
        float64 (E,).

    Raises
    ------
    ValueError
        If the environment is another scenario, or there is no episode.
    """
    if not isinstance(env.scenario, BudgetScenario):
        raise ValueError(f"{type(env).__name__} has no shared budget: give lanes of Budget-v0.")
    if episodes < 1:
        raise ValueError(f"episodes={episodes} must be at least 1.")
    scenario = env.scenario
    bounds = []
    for first in range(0, episodes, env.num_envs):
        env.reset(seed=seed + first)
        rows = scenario.rows
        bounds.append(
            hindsight_bound(scenario.values[rows], scenario.costs[rows], scenario.budgets)
        )
    return np.concatenate(bounds)[:episodes]


def _check(values: np.ndarray, costs: np.ndarray, budgets: np.ndarray) -> None:
    """Refuse arrays that are no knapsacks."""
    if values.ndim != 3 or costs.shape != values.shape or budgets.shape != values.shape[:1]:
        raise ValueError(
            f"values {values.shape}, costs {costs.shape} and budgets {budgets.shape} must be "
            "(E, T, K), (E, T, K) and (E,)."
        )
    if not (np.isfinite(costs) & (costs >= 0)).all():
        raise ValueError("costs must be finite and at least 0.")
