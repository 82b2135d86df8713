"""Rules for weighted metrics: as good as their predictions, and better than one setting for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.preference_rules import (
    PreferenceOracle,
    StaticWeights,
    WeightedPredictions,
)
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.data import RoutingData
from routing_gym.envs.preference import PreferenceEnv, PreferenceVectorEnv
from routing_gym.envs.preference_metrics import metric_values
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=80, k=4, d=8)


def predicting(table: OutcomeTable, noise: float = 0.0) -> RoutingData:
    """Data whose observations are metrics, K columns for each in turn, more or less true."""
    data = table.data("train")
    values = metric_values(data).transpose(0, 2, 1).reshape(len(data), -1)
    values = values + np.random.default_rng(0).normal(scale=noise, size=values.shape)
    return replace(data, observations=values.astype(np.float32))


def mean_reward(rule: Any, data: RoutingData, steps: int = 40) -> float:
    env = PreferenceVectorEnv(16, data=data)
    rule.bind(env.scenario)
    rule.begin(16)
    observations, _ = env.reset(seed=0)
    total = 0.0
    for _ in range(steps):
        actions = rule.act(observations, env.action_masks())
        observations, rewards, *_ = env.step(actions)
        total += rewards.mean()
    return total / steps


def trade_off_table() -> OutcomeTable:
    """Adapter k is better and dearer than adapter k - 1, on every query."""
    table = identity_table(n=60, k=4, d=8)
    ladder = np.broadcast_to(np.arange(4) / 4, (60, 4))
    scores = {**table.scores, "quality": ladder**0.5, "tokens": ladder / 2, "seconds": ladder / 20}
    return replace(table, scores=scores)


def test_rules_on_true_predictions() -> None:
    data = predicting(trade_off_table())
    oracle = mean_reward(PreferenceOracle(), data)
    assert mean_reward(WeightedPredictions(), data) == pytest.approx(oracle, abs=1e-6)
    static = max(mean_reward(StaticWeights(weight), data) for weight in StaticWeights.grid)
    assert static < oracle - 0.02
    uneven = mean_reward(StaticWeights((0.2, 0.4, 0.4)), data)
    assert mean_reward(StaticWeights(0.2), data) == uneven
    noisy = mean_reward(WeightedPredictions(), predicting(trade_off_table(), noise=1.0))
    assert noisy < oracle - 0.02


def test_rules_honour_masks(table: OutcomeTable) -> None:
    env = PreferenceVectorEnv(3, data=predicting(table))
    observations, _ = env.reset(seed=0)
    masks = np.zeros((3, 4), dtype=np.bool_)
    masks[:, 2] = True
    for rule in (WeightedPredictions(), StaticWeights(0.5), PreferenceOracle()):
        rule.bind(env.scenario)
        rule.begin(3)
        assert rule.act(observations, masks).tolist() == [2, 2, 2]


def test_wrong_rules(table: OutcomeTable) -> None:
    env = PreferenceEnv(table)
    with pytest.raises(ValueError, match="needs a column per metric and adapter, so 12"):
        WeightedPredictions().bind(env.scenario)
    with pytest.raises(ValueError, match="play it on Preference-v0"):
        WeightedPredictions().bind(BudgetVectorEnv(2, table).scenario)
    for weights in (-0.1, np.nan):
        with pytest.raises(ValueError, match=r"weights=.*at least 0"):
            StaticWeights(weights)
    with pytest.raises(ValueError, match="must be at most 1"):
        StaticWeights(1.5)
    scenario = PreferenceEnv(data=predicting(table)).scenario
    with pytest.raises(ValueError, match="must be 3 numbers"):
        StaticWeights((1, 2)).bind(scenario)
