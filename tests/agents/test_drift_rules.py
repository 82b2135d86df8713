"""Rules for Drift-v0: the bandits against regressions written out, and what noticing is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.drift_rules import (
    DRIFT_RULES,
    ChangeAwareOracleRule,
    DiscountedRule,
    DriftRule,
    ForgettingLinUCBRule,
    InformedGreedyRule,
    SlidingWindowRule,
    StaticGreedyRule,
    TrackingRule,
)
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.data import RoutingData
from routing_gym.envs.drift import DriftEnv, DriftVectorEnv
from tests.synthetic import identity_table


def predicted(n: int = 60, k: int = 3, noise: float = 0.0) -> RoutingData:
    """Make the identity problem with predictions of its rewards as the observations."""
    data = identity_table(n=n, k=k, d=8).data("train")
    error = np.random.default_rng(0).normal(scale=noise, size=data.rewards.shape)
    return replace(data, observations=(data.rewards + error).astype(np.float32))


def lanes_of(lanes: int = 64, **options: Any) -> DriftVectorEnv:
    made = {"data": predicted(), "expected": "observations", "length": 60}
    return DriftVectorEnv(lanes, **(made | options))


def mean_reward(rule: DriftRule, env: DriftVectorEnv, episodes: int = 64) -> float:
    result = rollout(rule, env, episodes=episodes, seed=0)
    return float((result.returns / result.lengths).mean())


def test_tracking_by_hand() -> None:
    data = predicted().take(np.array([0]))  # its right adapter is number `right`
    env = DriftEnv(
        data=data, expected="observations", events=["exchange"], window=(0, 0), smoothing=0.5
    )
    rule = TrackingRule(3.0).bind(env.scenario)
    rule.begin(1)
    right = int(data.rewards[0].argmax())
    for seed in range(40):  # until the right one is among the exchanged
        observation, _ = env.reset(seed=seed)
        if right in env.scenario.event_pair[0]:
            break
    assert rule.act(observation[None], env.action_masks()[None]).tolist() == [right]
    observation, *_ = env.step(right)
    residual = env.scenario.residual[0]
    other = int(env.scenario.event_pair[0].sum()) - right
    loss = float(data.rewards[0, other] - data.rewards[0, right])
    assert residual[right] == pytest.approx(0.5 * loss)
    (next_action,) = rule.act(observation[None], env.action_masks()[None])
    scores = data.rewards[0] + 3 * residual
    assert next_action == int(scores.argmax())
    assert next_action != right


def replayed(rule: ForgettingLinUCBRule, steps: int, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """Let a rule learn from random choices on one lane; return contexts, and what it was told."""
    env = lanes_of(1, delay=delay, length=200, data=predicted(noise=0.3), events=["exchange"])
    rule.bind(env.scenario)
    rule.begin(1)
    rng = np.random.default_rng(1)
    observations, _ = env.reset(seed=0)
    contexts, told = [], []
    for _ in range(steps):
        actions = rng.integers(3, size=1)
        following, rewards, terminated, truncated, info = env.step(actions)
        rule.learn(observations, actions, rewards, terminated | truncated, info)
        values = observations[0, :3].astype(np.float64)
        contexts.append([1, *values])
        told.append([actions[0], rewards[0] - values[actions[0]]])
        observations = following
    return np.array(contexts), np.array(told)


@pytest.mark.parametrize("delay", [0, 4])
def test_the_window_holds_the_last_outcomes_alone(delay: int) -> None:
    rule = SlidingWindowRule(7)
    contexts, told = replayed(rule, steps=25, delay=delay)
    last = slice(25 - delay - 7, 25 - delay)
    for adapter in range(3):
        rows = told[last, 0] == adapter
        inside = contexts[last][rows]
        np.testing.assert_allclose(rule._gram[0, adapter], inside.T @ inside, atol=1e-9)
        moment = inside.T @ told[last, 1][rows]
        np.testing.assert_allclose(rule._moment[0, adapter], moment, atol=1e-9)
    assert (told[last, 0] == 0).any()


@pytest.mark.parametrize("delay", [0, 4])
def test_the_discount_weighs_by_age(delay: int) -> None:
    rule = DiscountedRule(0.9)
    contexts, told = replayed(rule, steps=25, delay=delay)
    heard = 25 - delay
    weights = 0.9 ** np.arange(heard)[::-1]
    for adapter in range(3):
        rows = told[:heard, 0] == adapter
        inside, weight = contexts[:heard][rows], weights[rows]
        gram = (inside.T * weight) @ inside
        np.testing.assert_allclose(rule._gram[0, adapter], gram)
        np.testing.assert_allclose(rule._squared[0, adapter], (inside.T * weight**2) @ inside)
        moment = (inside.T * weight) @ told[:heard, 1][rows]
        np.testing.assert_allclose(rule._moment[0, adapter], moment)


@pytest.mark.parametrize(
    "rule", [SlidingWindowRule(7, alpha=0.4), DiscountedRule(0.9, alpha=0.4, penalty=0.5)]
)
def test_bounds_by_the_papers_formulas(rule: Any) -> None:
    replayed(rule, steps=25, delay=0)
    values = np.array([0.6, 0.5, 0.55])
    context = np.array([1, *values])
    bounds = []
    for adapter in range(3):
        matrix = rule._gram[0, adapter] + rule.penalty * np.eye(4)
        theta = np.linalg.solve(matrix, rule._moment[0, adapter])
        solved = np.linalg.solve(matrix, context)
        if isinstance(rule, DiscountedRule):
            variance = solved @ (rule._squared[0, adapter] + 0.5 * np.eye(4)) @ solved
        else:
            variance = context @ solved
        bounds.append(values[adapter] + context @ theta + 0.4 * np.sqrt(variance))
    shown = np.zeros((1, 13), dtype=np.float32)
    shown[0, :3] = values
    assert rule.act(shown, np.ones((1, 3), dtype=bool)).tolist() == [int(np.argmax(bounds))]
    mask = np.ones((1, 3), dtype=bool)
    mask[0, int(np.argmax(bounds))] = False
    assert rule.act(shown, mask).tolist() == [int(np.argsort(bounds)[-2])]


@pytest.mark.parametrize("rule_class", [SlidingWindowRule, DiscountedRule])
def test_a_bandit_without_data_is_static(rule_class: Any) -> None:
    env = lanes_of(16, delay=60, data=predicted(noise=0.2))
    static = rollout(StaticGreedyRule(), env, episodes=16, seed=0)
    bandit = rollout(rule_class(alpha=0.0), env, episodes=16, seed=0)
    np.testing.assert_array_equal(bandit.returns, static.returns)


def test_each_episode_is_a_world_of_its_own() -> None:
    env = lanes_of(4, length=10)
    for rule in (SlidingWindowRule(5), DiscountedRule(0.9)):
        rule.bind(env.scenario)
        rule.begin(4)
        observations, _ = env.reset(seed=0)
        for _ in range(10):
            actions = rule.act(observations, env.action_masks())
            following, rewards, terminated, truncated, info = env.step(actions)
            rule.learn(observations, actions, rewards, terminated | truncated, info)
            observations = following
        assert not rule._gram.any()
        assert not rule._moment.any()
        assert not rule._age.any()
        if isinstance(rule, DiscountedRule):
            assert not rule._squared.any()


def test_who_notices_an_exchange_earns_more() -> None:
    env = lanes_of(64, events=["exchange"], length=120, data=predicted(noise=0.1))
    static = mean_reward(StaticGreedyRule(), env)
    informed = mean_reward(InformedGreedyRule(), env)
    oracle = mean_reward(ChangeAwareOracleRule(), env)
    assert static < informed <= oracle
    for rule in (SlidingWindowRule(32, penalty=0.1), DiscountedRule(0.95, penalty=0.1)):
        assert mean_reward(rule, env) > static + 0.3 * (informed - static)
    assert max(mean_reward(TrackingRule(kappa), env) for kappa in TrackingRule.grid) > static


def test_without_change_right_predictions_suffice() -> None:
    env = lanes_of(16, events=["none"])
    for rule in (StaticGreedyRule(), InformedGreedyRule(), ChangeAwareOracleRule()):
        result = rollout(rule, env, episodes=16, seed=0)
        np.testing.assert_allclose(result.quantities["regret"], 0, atol=1e-6)


@pytest.mark.parametrize("name", list(DRIFT_RULES))
def test_every_rule_plays_and_repeats_itself(name: str) -> None:
    env = lanes_of(8, length=20, delay=2)
    rule = DRIFT_RULES[name]
    one, other = (rollout(rule(), env, episodes=12, seed=0) for _ in range(2))
    np.testing.assert_array_equal(one.returns, other.returns)
    assert rule.name == name


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrackingRule(-1), "kappa=-1 of rule 'tracking'"),
        (lambda: SlidingWindowRule(0), "window=0 of rule 'sliding_window_linucb'"),
        (lambda: SlidingWindowRule(2.5), "window=2.5"),
        (lambda: SlidingWindowRule(alpha=-1), "alpha=-1"),
        (lambda: DiscountedRule(0), r"gamma=0 .* must be in \(0, 1\]"),
        (lambda: DiscountedRule(1.1), "gamma=1.1"),
        (lambda: DiscountedRule(penalty=0), "penalty=0"),
    ],
)
def test_parameters_that_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_another_scenario_is_refused() -> None:
    env = BudgetVectorEnv(2, identity_table(n=60, k=4, d=8))
    with pytest.raises(ValueError, match="plays Drift-v0, not BudgetScenario"):
        StaticGreedyRule().bind(env.scenario)
