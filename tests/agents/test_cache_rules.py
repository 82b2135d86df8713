"""Rules for AdapterCache-v0: each by hand, and against each other where the best is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.cache_rules import (
    CACHE_RULES,
    CacheRule,
    GreedyOracleRule,
    GreedyRule,
    HysteresisRule,
    ResidentRule,
    ThresholdRule,
)
from routing_gym.benchmark.hindsight_cache import hindsight_returns
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.envs.adapter_cache import AdapterCacheEnv, AdapterCacheVectorEnv
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table

NAMES = ("base", "a", "b", "c")
SECONDS = {"base": 0.5, "a": 0.5, "b": 0.25, "c": 1.0}


def by_hand(predicted: list[float], rewards: list[float] | None = None) -> RoutingData:
    """One query with these predictions."""
    return RoutingData(
        adapters=NAMES,
        observations=np.array([predicted], dtype=np.float32),
        rewards=np.array([rewards or predicted], dtype=np.float32),
        accuracy=np.zeros((1, 4), dtype=np.float32),
        query_ids=np.array(["q"]),
        tasks=np.array(["t"]),
        domains=np.array(["d"]),
        complexity=np.array([1]),
    )


def chosen(rule: CacheRule, data: RoutingData, *, before: list[int], **options: Any) -> list[str]:
    """What a rule does in four steps, after some actions that are not its own."""
    env = AdapterCacheEnv(data=data, profile=SECONDS, length=20, **options)
    observation, _ = env.reset(seed=0)
    for action in before:
        observation, *_ = env.step(action)
    rule.bind(env.scenario)
    rule.begin(1)
    names = []
    for _ in range(4):
        (action,) = rule.act(observation[None], env.action_masks()[None])
        names.append(env.scenario.action_names[action])
        observation, *_ = env.step(int(action))
    return names


def test_greedy_swaps_always() -> None:
    data = by_hand([0.5, 0.7, 0.6, 0.4])
    assert chosen(GreedyRule(), data, before=[2]) == ["a"] * 4


def test_hysteresis_charges_what_is_not_there() -> None:
    data = by_hand([0.5, 0.8, 0.7, 0.4])  # "a" takes .5 s, "b" .25 s
    assert chosen(HysteresisRule(0.1), data, before=[]) == ["a"] * 4
    assert chosen(HysteresisRule(0.5), data, before=[]) == ["b"] * 4
    assert chosen(HysteresisRule(1.0), data, before=[]) == ["base"] * 4
    assert chosen(HysteresisRule(1.0), data, before=[1]) == ["a"] * 4


def test_resident_only_fills_the_slots_and_stays() -> None:
    data = by_hand([0.5, 0.7, 0.6, 0.9])
    assert chosen(ResidentRule(), data, before=[]) == ["c"] * 4
    assert chosen(ResidentRule(), data, before=[2]) == ["c"] * 4  # one slot is free
    assert chosen(ResidentRule(), data, before=[2, 1]) == ["a"] * 4  # none is
    assert chosen(ResidentRule(), data, before=[2], slots=1) == ["b"] * 4


def test_the_threshold_waits_for_the_sum_of_gains() -> None:
    data = by_hand([0.5, 0.7, 0.6, 0.4])  # "a" gains .2 a query over the base
    assert chosen(ThresholdRule(0.1), data, before=[]) == ["a"] * 4
    assert chosen(ThresholdRule(0.5), data, before=[]) == ["base", "base", "a", "a"]
    assert chosen(ThresholdRule(2.0), data, before=[]) == ["base"] * 4
    # "b" is there, so that "a" gains only .1.
    assert chosen(ThresholdRule(0.25), data, before=[2]) == ["b", "b", "a", "a"]


def test_without_a_base_the_first_adapter_is_loaded() -> None:
    data = by_hand([0.5, 0.7, 0.6, 0.4])
    first = chosen(ThresholdRule(5.0), data, before=[], resident=(), slots=1)
    assert first == ["a"] * 4
    assert chosen(ThresholdRule(0.05), data, before=[2], resident=(), slots=1) == ["a"] * 4


def test_gains_are_forgotten_at_the_end_of_an_episode() -> None:
    env = AdapterCacheVectorEnv(
        2, data=by_hand([0.5, 0.7, 0.6, 0.4]), profile=SECONDS, length=2, slots=1
    )
    rule = ThresholdRule(0.5).bind(env.scenario)
    rule.begin(2)
    observations, _ = env.reset(seed=0)
    for _ in range(6):  # a third query of an episode would swap
        actions = rule.act(observations, env.action_masks())
        assert actions.tolist() == [0, 0]
        following, rewards, terminated, _, info = env.step(actions)
        rule.learn(observations, actions, rewards, terminated, info)
        observations = following


def test_the_greedy_oracle_knows_the_rewards_and_the_price() -> None:
    data = by_hand([0.5, 0.9, 0.9, 0.9], rewards=[0.1, 0.2, 0.3, 0.8])
    assert chosen(GreedyOracleRule(), data, before=[], price_seconds=0.1) == ["c"] * 4
    assert chosen(GreedyOracleRule(), data, before=[], price_seconds=2.0) == ["base"] * 4
    assert chosen(GreedyOracleRule(), data, before=[2], price_seconds=2.0) == ["b"] * 4


def test_rules_evict_the_least_recently_used() -> None:
    data = by_hand([0.5, 0.7, 0.6, 0.9])
    names = chosen(GreedyRule(), data, before=[2, 4], slots=2, eviction="chosen")
    assert names == ["c/0"] * 4


@pytest.fixture(scope="module")
def env() -> AdapterCacheVectorEnv:
    """A sticky stream of the identity problem with noisy predictions."""
    data = identity_table(n=200, k=4, d=8).data("train")
    noise = np.random.default_rng(0).normal(scale=0.25, size=data.rewards.shape)
    noisy = (data.rewards + noise).astype(np.float32)
    return AdapterCacheVectorEnv(
        64,
        data=replace(data, observations=noisy),
        profile=dict.fromkeys(data.adapters, 1.0),
        length=40,
        slots=1,
        price_seconds=0.8,
    )


def mean_return(rule: CacheRule, env: AdapterCacheVectorEnv) -> float:
    return float(rollout(rule, env, episodes=64, seed=0).returns.mean())


def test_planning_pays(env: AdapterCacheVectorEnv) -> None:
    found = {
        name: max(
            mean_return(rule(value) if rule.grid else rule(), env) for value in rule.grid or (0,)
        )
        for name, rule in CACHE_RULES.items()
    }
    bound = float(hindsight_returns(env, episodes=64, seed=0).mean())
    assert found["greedy"] < found["hysteresis"] < bound
    assert found["greedy_oracle"] < found["hysteresis"]
    assert found["resident_only"] < found["hysteresis"]
    assert found["greedy"] < found["lru_threshold"] < bound


@pytest.mark.parametrize("eviction", ["lru", "chosen"])
@pytest.mark.parametrize("name", list(CACHE_RULES))
def test_every_rule_plays_and_repeats_itself(name: str, eviction: str) -> None:
    data = identity_table(n=60, k=4, d=8).data("train")
    env = AdapterCacheVectorEnv(
        8,
        data=data,
        profile=dict.fromkeys(data.adapters, 0.3),
        length=10,
        eviction=eviction,
    )
    rule = CACHE_RULES[name]
    one, other = (rollout(rule(), env, episodes=12, seed=0) for _ in range(2))
    np.testing.assert_array_equal(one.returns, other.returns)
    assert (one.lengths == 10).all()
    assert rule.name == name


def test_parameters_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="beta=-1 of rule 'hysteresis'"):
        HysteresisRule(-1)
    with pytest.raises(ValueError, match="threshold=nan of rule 'lru_threshold'"):
        ThresholdRule(float("nan"))


def test_another_scenario_is_refused() -> None:
    env = BudgetVectorEnv(2, identity_table(n=60, k=4, d=8))
    with pytest.raises(ValueError, match="plays AdapterCache-v0, not BudgetScenario"):
        GreedyRule().bind(env.scenario)


def test_observations_without_predictions_are_refused() -> None:
    data = replace(by_hand([0.5, 0.7, 0.6, 0.4]), observations=np.ones((1, 2), dtype=np.float32))
    env = AdapterCacheEnv(data=data, profile=SECONDS)
    with pytest.raises(ValueError, match="needs 1 columns per adapter"):
        GreedyRule().bind(env.scenario)
