"""Intervals: the difference by hand, and queries counted as what they are, few."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.scenario_figures import (
    ScenarioBootstrap,
    query_deviations,
    scenario_figures,
)
from routing_gym.benchmark.scenario_judging import Judging


@dataclass
class Played:
    returns: np.ndarray


@dataclass
class Rule:
    test: Played


@dataclass
class Result:
    """What the figures read of a `ScenarioResult`."""

    ours: np.ndarray
    rule: np.ndarray
    our_pools: np.ndarray
    best_rule_pools: np.ndarray
    bound: np.ndarray | None
    bound_pools: np.ndarray | None
    name: str = "budget"
    runs: dict[str, Any] = field(default_factory=lambda: {"ppo": (), "plain": ()})

    @property
    def judging(self) -> Judging:
        return Judging(1, len(self.rule), len(self.best_rule_pools) or 0)

    @property
    def best_rule(self) -> Rule:
        return Rule(Played(self.rule))

    def returns(self, label: str = "ppo") -> np.ndarray:
        return self.ours

    def pools(self, label: str = "ppo") -> np.ndarray:
        return self.our_pools


def result_of(
    *, shift: float = 0.5, query_noise: float = 0.0, bound: bool = True, pools: int = 40
) -> Any:
    """Five seeds that are better by a constant; on other queries by a constant more or less."""
    rng = np.random.default_rng(0)
    rule, rule_pools = rng.normal(10, 1, 400), rng.normal(10, 1, (pools, 64))
    moved = query_noise * rng.standard_normal((pools, 1))
    return Result(
        ours=np.tile(rule + shift, (5, 1)),
        rule=rule,
        our_pools=rule_pools + shift + moved,
        best_rule_pools=rule_pools,
        bound=rule + 2 if bound else None,
        bound_pools=rule_pools + 2 if bound else None,
    )


def test_figures_by_hand() -> None:
    result = result_of()
    figures: dict[str, Any] = scenario_figures([result], resamples=200)
    mean = result.rule.mean()
    assert figures["budget_best_rule"].value == pytest.approx(mean)
    assert figures["budget_ppo_iqm"].value == pytest.approx(mean + 0.5)
    difference = figures["budget_ppo_minus_best_rule"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.5, 0.5, 0.5))
    assert figures["budget_ppo_minus_best_rule_low"] == difference.low
    assert figures["budget_plain_minus_best_rule"].value == pytest.approx(0.5)
    assert figures["budget_ppo_over_hindsight"].value == pytest.approx((mean + 0.5) / (mean + 2))
    assert figures["budget_best_rule_over_hindsight"].value == pytest.approx(mean / (mean + 2))


def test_what_other_queries_bring_widens_the_interval() -> None:
    """The episodes say +.5 for certain; the queries, that it could have been 1.96 sd off."""
    bootstrap = ScenarioBootstrap(result_of(query_noise=0.3), resamples=4000, seed=0)
    found = bootstrap.compare().minus_rule
    assert found.value == pytest.approx(0.5)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.3, rel=0.25)
    assert found.low < 0


def test_the_interval_covers_the_truth() -> None:
    """PPO is as good as the rule; queries and episodes are drawn anew, 60 times."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(60):
        moved = 0.2 * rng.standard_normal()  # of the test split that was drawn
        noise = rng.normal(0, 1, 400)
        pools = moved + 0.2 * rng.standard_normal((64, 1)) + rng.normal(0, 1, (64, 64))
        result: Any = Result(
            ours=np.tile(moved + noise, (3, 1)),
            rule=np.zeros(400),
            our_pools=pools,
            best_rule_pools=np.zeros((64, 64)),
            bound=None,
            bound_pools=None,
        )
        interval = ScenarioBootstrap(result, resamples=500, seed=0).compare().minus_rule
        covered += interval.low <= 0 <= interval.high
    assert 52 <= covered <= 60


def test_noise_of_the_pools_episodes_is_taken_off() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(0, 1, (200, 16))  # no difference between queries at all
    assert query_deviations(same).std() < 0.4 * same.mean(axis=1).std()
    apart = same + rng.normal(0, 1, (200, 1))
    assert query_deviations(apart).std() == pytest.approx(1.0, rel=0.15)
    assert query_deviations(apart).mean() == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(query_deviations(np.ones((4, 3))), np.zeros(4))


def test_without_bound_or_pools() -> None:
    figures: dict[str, Any] = scenario_figures([result_of(bound=False)], resamples=100)
    assert not any(name.endswith("over_hindsight") for name in figures)
    bare = result_of(pools=0)
    assert scenario_figures([bare], resamples=100)["budget_ppo_minus_best_rule_low"] == (
        pytest.approx(0.5)
    )


def test_the_seed_determines_the_intervals() -> None:
    result = result_of(query_noise=0.3)
    first, second, other = (
        ScenarioBootstrap(result, resamples=200, seed=seed).compare() for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other
