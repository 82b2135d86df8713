"""Rules of the shared budget: the price of a unit of cost, by hand and in play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.budget_rules import (
    BudgetAdaptive,
    BudgetGreedy,
    BudgetOracle,
    BudgetPacing,
    BudgetResolving,
    BudgetScarcity,
    BudgetStatic,
    priced_choice,
    spending_curve,
)
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.hindsight_budget import hindsight_returns
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table


def market(n: int = 300) -> RoutingData:
    """A cheap and a dear adapter; how much better the dear one is differs, and is predicted."""
    rng = np.random.default_rng(0)
    quality = np.stack([0.3 * rng.random(n), rng.random(n)], axis=1).astype(np.float32)
    costs = np.tile(np.array([2.0, 20.0], dtype=np.float32), (n, 1))
    data = identity_table(n=n, k=2, d=4).data("train").take(np.zeros(n, dtype=np.int64))
    return replace(
        data,
        observations=np.hstack([quality, costs / 20]),
        rewards=quality,
        scores={"quality": quality},
        costs={"completion_tokens": costs},
    )


FULL = {"budget_low": 1.0, "budget_high": 1.0}


def bound_to(policy: Any, lanes: int = 2, **options: Any) -> tuple[Any, BudgetVectorEnv]:
    env = BudgetVectorEnv(lanes, data=market(), **options)
    policy.bind(env.scenario)
    policy.begin(lanes)
    return policy, env


def test_choices_by_hand() -> None:
    values = np.array([[0.5, 0.9], [0.5, 0.9], [0.5, 0.9], [0.1, 0.2]])
    costs = np.array([[0.1, 1.0]])
    masks = np.ones((4, 3), dtype=np.bool_)
    masks[2, 1] = False
    prices = np.array([[0.4], [0.5], [0.4], [3.0]])
    # .46/.5, .45/.4, the dear one forbidden, nothing above 0
    assert priced_choice(values, costs * prices, masks).tolist() == [1, 0, 0, 2]


def test_prices_by_hand() -> None:
    options = {"horizon": 4, "budget_low": 0.5, "budget_high": 0.5}
    expected: list[tuple[Any, list[float]]] = [
        (BudgetGreedy(), [0, 0]),
        (BudgetStatic(0.3), [0.3, 0.3]),
        # budget left 1, episode left 1; then 1/2 and 3/4 on the lane that paid 20 of 40
        (BudgetPacing(0.3), [0.3 * 0.75 / 0.5, 0.3 * 0.75]),
        # pace 20/30 and 40/30 of the first
        (BudgetScarcity(0.3), [0.45, 0.225]),
        # rho = 1; one lane spent 2, the other nothing
        (BudgetAdaptive(0.2, first=0.3), [0.3 + 0.2, 0.3 - 0.2]),
    ]
    for policy, prices in expected:
        rule, env = bound_to(policy, **options)
        observations, _ = env.reset(seed=0)
        rule.price(observations)
        observations, *_ = env.step(np.array([1, 2]))
        np.testing.assert_allclose(rule.price(observations), prices, rtol=1e-6)


def test_the_adaptive_price_starts_anew_with_every_episode() -> None:
    rule, env = bound_to(BudgetAdaptive(1.0, first=0.3), horizon=2, **FULL)
    observations, _ = env.reset(seed=0)
    for step in range(4):
        prices = rule.price(observations)
        assert (prices == 0.3).all() == (step % 2 == 0)
        following, rewards, terminated, _, info = env.step(np.array([1, 0]))
        rule.learn(observations, np.array([1, 0]), rewards, terminated, info)
        observations = following


def test_the_spending_curve() -> None:
    values = np.array([[0.5, 0.9], [0.5, 0.6]])
    costs = np.array([[0.1, 1.0], [0.1, 1.0]])
    spending, prices = spending_curve(values, costs)
    assert (np.diff(spending) >= 0).all()
    assert (np.diff(prices) < 0).all()
    assert spending[-1] == pytest.approx(1.0)  # both dear
    assert spending[0] == 0.0  # nothing is worth 100
    at = np.interp(-0.3, -prices, spending)
    assert at == pytest.approx((1.0 + 0.1) / 2)  # .4/.9 > .3 > .1/.9


def test_resolving_spends_the_budget() -> None:
    data = market()
    env = BudgetVectorEnv(100, data=data, horizon=64, budget_low=0.2, budget_high=0.4, hard_late=0)
    sample = data.observations
    resolving = rollout(BudgetResolving(1.0, sample=sample), env, episodes=100, seed=0)
    assert resolving.quantities["unspent"].mean() < 0.06
    bound = hindsight_returns(env, episodes=100, seed=0)
    assert (resolving.returns <= bound + 1e-9).all()
    assert resolving.returns.mean() > 0.95 * bound.mean()


def test_planning_beats_greed_even_with_hindsight() -> None:
    env = BudgetVectorEnv(100, data=market(), horizon=32, budget_low=0.1, budget_high=0.4)

    def value(policy: ScenarioPolicy) -> float:
        return float(rollout(policy, env, episodes=200, seed=1).returns.mean())

    def tuned(rule: Callable[[float], ScenarioPolicy], grid: tuple[float, ...]) -> float:
        return max(value(rule(parameter)) for parameter in grid)

    greedy, oracle = value(BudgetGreedy()), value(BudgetOracle())
    static, pacing = tuned(BudgetStatic, BudgetStatic.grid), tuned(BudgetPacing, BudgetPacing.grid)
    scarcity = tuned(BudgetScarcity, BudgetScarcity.grid)
    assert greedy <= oracle + 1e-9
    assert oracle * 1.05 < static < min(pacing, scarcity)
    assert max(pacing, scarcity) < hindsight_returns(env, episodes=200, seed=1).mean()
    assert tuned(BudgetAdaptive, BudgetAdaptive.grid) > oracle * 1.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BudgetStatic(-1.0), "price=-1.0 of rule 'static'"),
        (lambda: BudgetPacing(float("nan")), "price=nan of rule 'pacing'"),
        (lambda: BudgetAdaptive(float("inf")), "step=inf of rule 'adaptive'"),
        (lambda: BudgetAdaptive(0.1, first=-1.0), "first=-1.0 of rule 'adaptive'"),
        (lambda: BudgetResolving(1.0, sample=np.ones((4, 3))), r"sample has shape \(4, 3\)"),
        (lambda: BudgetResolving(1.0, sample=np.ones((0, 4))), r"sample has shape \(0, 4\)"),
    ],
)
def test_refuses_parameters(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
