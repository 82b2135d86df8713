"""The hindsight bound: by hand, against the linear programme, and above every policy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from routing_gym.agents.budget_rules import BudgetOracle
from routing_gym.benchmark.hindsight_budget import (
    hindsight_bound,
    hindsight_returns,
    hull_edges,
    linear_programme,
)
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.cascade import CascadeVectorEnv
from tests.synthetic import identity_table

TABLE = identity_table(n=60, k=4, d=8)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (0.0, 0.3),  # the free answer
        (1.0, 0.3 + 0.4),  # the steepest edge: .4 for 1 on the first query
        (2.0, 0.3 + 0.4 + 0.3),  # then .6 for 2 on the second, half of it
        (3.0, 0.3 + 0.4 + 0.6),
        (5.0, 0.3 + 0.4 + 0.6 + 0.2 / 4 * 2),  # then .2 for 4 on the first, half of it
        (100.0, 0.6 + 0.9),
    ],
)
def test_by_hand(budget: float, expected: float) -> None:
    values = np.array([[[0.4, 0.6, 0.3], [0.3, 0.9, 0.5]]])
    costs = np.array([[[1.0, 5.0, 3.0], [0.0, 2.0, 1.5]]])
    assert hindsight_bound(values, costs, np.array([budget]))[0] == pytest.approx(expected)
    assert linear_programme(values[0], costs[0], budget) == pytest.approx(expected)


def test_edges_by_hand() -> None:
    values = np.array([[0.4, 0.6, 0.3], [0.0, -1.0, 0.0], [0.2, 0.4, 0.1]])
    costs = np.array([[1.0, 5.0, 3.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    gains, prices = hull_edges(values, costs)
    np.testing.assert_allclose(gains, [[0.4, 0.2, 0], [0, 0, 0], [0.1, 0.3, 0]])
    np.testing.assert_allclose(prices, [[1, 4, 0], [0, 0, 0], [0, 2, 0]])


def test_it_is_the_linear_programme() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        queries, adapters = rng.integers(1, 9), rng.integers(1, 6)
        values = rng.random((queries, adapters)).round(1)  # with ties
        costs = rng.integers(0, 6, size=(queries, adapters)).astype(float)
        budget = float(rng.integers(0, 3 * queries + 1))
        found = hindsight_bound(values[None], costs[None], np.array([budget]))[0]
        assert found == pytest.approx(linear_programme(values, costs, budget), abs=1e-9)


def test_it_bounds_every_plan() -> None:
    rng = np.random.default_rng(1)
    values, costs = rng.random((4, 3)), rng.random((4, 3))
    padded = [np.hstack([a, np.zeros((4, 1))]) for a in (values, costs)]  # refuse last
    for budget in (0.3, 0.8, 1.5):
        bound = hindsight_bound(values[None], costs[None], np.array([budget]))[0]
        rows, best = np.arange(4), 0.0
        for plan in itertools.product(range(4), repeat=4):
            gain, price = (a[rows, list(plan)].sum() for a in padded)
            best = max(best, gain if price <= budget else 0.0)
        assert best <= bound + 1e-12
        assert bound < best + values.max()  # less than one answer above the best plan


def test_it_bounds_the_rollouts_of_the_same_seed() -> None:
    for lanes in (3, 8):
        env = BudgetVectorEnv(lanes, TABLE, horizon=6, budget_low=0.2)
        bounds = hindsight_returns(env, episodes=8, seed=5)
        played = rollout(BudgetOracle(), env, episodes=8, seed=5)
        assert bounds.shape == (8,)
        assert (played.returns <= bounds + 1e-9).all()
        scenario = env.scenario
        env.reset(seed=5)
        rows = scenario.rows[0]  # type: ignore[attr-defined]
        values, costs = (getattr(scenario, name)[rows] for name in ("values", "costs"))
        first = linear_programme(values, costs, float(scenario.budgets[0]))  # type: ignore[attr-defined]
        assert bounds[0] == pytest.approx(first)


def test_bad_input() -> None:
    ones = np.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"must be \(E, T, K\), \(E, T, K\) and \(E,\)"):
        hindsight_bound(ones, ones, np.ones(3))
    with pytest.raises(ValueError, match="costs must be finite and at least 0"):
        hindsight_bound(ones, -ones, np.ones(2))
    with pytest.raises(ValueError, match="CascadeVectorEnv has no shared budget"):
        hindsight_returns(CascadeVectorEnv(2, TABLE), episodes=1, seed=0)
    with pytest.raises(ValueError, match="episodes=0 must be at least 1"):
        hindsight_returns(BudgetVectorEnv(2, TABLE), episodes=0, seed=0)
    with pytest.raises(RuntimeError, match="the linear programme of 3 queries failed"):
        linear_programme(ones[0], ones[0], -1.0)
