from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from routing_gym.agents import load_agent
from routing_gym.agents.preference_ppo import (
    PreferenceFeatures,
    PreferencePPOAgent,
    PreferencePPOConfig,
)
from routing_gym.agents.trade_off import TradeOff
from routing_gym.envs.data import RoutingData
from tests.agents.problems import FAST, identity

# arm a is left for arm 0 where (1 - w) 0.6 < w (cost_a - cost_0): at w = .67, .5 and .4
ARM_COSTS = (0.1, 0.4, 0.7, 1.0)
OPTIONS = {**FAST["preference_ppo"], "cost": ("cost",), "cost_quantile": 1.0}


@lru_cache
def priced(split: str) -> RoutingData:
    """Make the identity problem with a price per adapter; qualities are exactly .9 and .3."""
    data = identity(split)
    quality = np.where(data.accuracy > 0, 0.9, 0.3).astype(np.float32)
    cost = np.broadcast_to(np.float32(ARM_COSTS), quality.shape)
    return replace(data, scores={"quality": quality, "cost": cost})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreferencePPOAgent, Path]:
    folder = tmp_path_factory.mktemp("preference") / "log"
    agent = PreferencePPOAgent(**{**OPTIONS, "total_steps": 10_240})
    agent.train(priced("train"), validation=priced("validation"), seed=0, log_dir=folder)
    return agent, folder


@pytest.fixture(scope="module")
def agent(run: tuple[PreferencePPOAgent, Path]) -> PreferencePPOAgent:
    return run[0]


def test_learns_both_extremes(agent: PreferencePPOAgent) -> None:
    data = priced("test")
    best = agent.at(0.0).decide_on(data).actions
    assert data.accuracy[np.arange(len(data)), best].mean() > 0.95
    cheapest = agent.at(1.0).decide_on(data).actions
    assert (cheapest == 0).mean() > 0.95


def test_a_dearer_cost_never_buys_more(agent: PreferencePPOAgent) -> None:
    points = agent.cost_quality(priced("test"))
    assert (np.diff(points.cost) <= 0.01).all()
    assert (np.diff(points.quality) <= 0.01).all()
    assert points.cost[0] - points.cost[-1] > 0.4
    assert points.quality[0] - points.quality[-1] > 0.4


def test_one_policy_is_near_the_best_under_every_preference(agent: PreferencePPOAgent) -> None:
    data = priced("test")
    points = agent.cost_quality(data, np.linspace(0, 1, 21))
    quality, cost = agent.trade_off.columns(data)
    worth = (1 - points.preferences[:, None, None]) * quality - (
        points.preferences[:, None, None] * cost
    )
    assert (worth.max(axis=2).mean(axis=1) - points.rewards).max() < 0.05
    assert (worth.mean(axis=1).max(axis=1) <= points.rewards + 0.02).all()  # any fixed adapter


def test_decides_at_the_configured_preference(agent: PreferencePPOAgent) -> None:
    observations = priced("test").observations
    default = agent.probabilities(observations)
    np.testing.assert_array_equal(
        default, agent.probabilities_at(observations, preference=agent.config.preference)
    )
    other = agent.at(0.8)
    np.testing.assert_array_equal(
        other.probabilities(observations), agent.probabilities_at(observations, preference=0.8)
    )
    assert agent.config.preference != other.config.preference
    np.testing.assert_array_equal(agent.probabilities(observations), default)


def test_each_query_may_have_its_own_preference(agent: PreferencePPOAgent) -> None:
    observations = priced("test").observations[:3]
    weights = np.array([0.0, 0.45, 1.0])
    together = agent.probabilities_at(observations, preference=weights)
    for row, weight in enumerate(weights):
        alone = agent.probabilities_at(observations[row : row + 1], preference=float(weight))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-6)


def test_keeps_the_policy_that_is_best_over_all_preferences(
    run: tuple[PreferencePPOAgent, Path],
) -> None:
    agent, _ = run
    measured = [row["value"] for row in agent.curves if row["quantity"] == "preference_reward"]
    assert len(measured) == 40
    kept = agent.cost_quality(priced("validation")).rewards.mean()
    assert kept == pytest.approx(max(measured), abs=1e-6)


def test_tensorboard_shows_what_ppo_shows(run: tuple[PreferencePPOAgent, Path]) -> None:
    _, folder = run
    tags = set(EventAccumulator(str(folder)).Reload().Tags()["scalars"])
    shared = {"reward", "regret", "accuracy", "entropy", "usage_entropy", "share/adapter_0"}
    for split in ("train", "validation"):
        assert {f"routing_{split}/{quantity}" for quantity in shared} <= tags
    assert {"routing_validation/preference_reward", "train/approx_kl", "rollout/ep_rew_mean"} <= (
        tags
    )
    assert (folder / "curves.csv").is_file()


def test_saves_and_loads_every_preference(agent: PreferencePPOAgent, tmp_path: Path) -> None:
    agent.at(0.3).save(tmp_path / "policy")
    loaded = load_agent(tmp_path / "policy")
    assert isinstance(loaded, PreferencePPOAgent)
    assert loaded.config.preference == 0.3
    assert loaded.trade_off == agent.trade_off
    before, after = (each.cost_quality(priced("test")) for each in (agent, loaded))
    np.testing.assert_array_equal(before.cost, after.cost)
    np.testing.assert_array_equal(before.quality, after.quality)
    assert loaded.num_features == 16


def test_learns_from_the_chosen_cells_only() -> None:
    """Spoil the scores that no decision met: the weights are the same."""
    from routing_gym.envs.dynamics import RoutingDynamics

    data, met = priced("train"), np.zeros(priced("train").rewards.shape, dtype=bool)
    measures = RoutingDynamics.measures

    def spy(dynamics: RoutingDynamics, rows: Any, actions: Any) -> tuple[Any, dict[str, Any]]:
        met[rows, actions] = True
        return measures(dynamics, rows, actions)

    def weights(train: RoutingData) -> dict[str, np.ndarray]:
        short = PreferencePPOAgent(**{**OPTIONS, "total_steps": 512})
        short.train(train, validation=priced("validation"), seed=0)
        return short._state()[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoutingDynamics, "measures", spy)
        before = weights(data)
    assert 0.2 < met.mean() < 0.8
    for spoilt, same in ((~met, True), (met, False)):
        quality = np.where(spoilt, 1 - data.scores["quality"], data.scores["quality"])
        after = weights(replace(data, scores={**data.scores, "quality": quality}))
        assert all(np.array_equal(after[name], before[name]) for name in before) == same


def test_features_by_hand() -> None:
    features = PreferenceFeatures(
        spaces.Box(-1, 1, (3,), np.float32), factor=2.0, preference_scale=3.0
    )
    seen = features(torch.tensor([[1.0, -0.5, 0.25]]))
    np.testing.assert_allclose(seen.numpy(), [[2.0, -1.0, -1.0, 0.5, -1.5]])
    assert features.features_dim == 5


def test_default_preference_is_the_default_rewards_rate() -> None:
    table = Path(__file__).parents[2] / "results" / "table"
    if not table.exists():
        pytest.skip("no results/table")
    from routing_gym.envs.table import OutcomeTable
    from routing_gym.rewards.reward import DEFAULT_REWARD

    train = OutcomeTable.load(table).data("train")
    config = PreferencePPOConfig()
    found = TradeOff.fit(train, quality="", costs=(), quantile=config.cost_quantile)
    weights = DEFAULT_REWARD.weights
    rate = (weights["tokens"] + weights["seconds"]) * found.ceiling / weights["quality"]
    assert config.preference == pytest.approx(rate / (1 + rate), abs=5e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preference": 1.5}, r"preference=1.5 is outside \[0, 1\]"),
        ({"preference": float("nan")}, "preference=nan is outside"),
        ({"cost_quantile": 0.0}, "cost_quantile=0.0 is not above 0"),
        ({"cost_quantile": 1.1}, r"cost_quantile=1.1 is outside \[0, 1\]"),
        ({"concentration": 0.0}, "concentration=0.0 is not above 0"),
        ({"preference_scale": -1.0}, "preference_scale=-1.0 is not above 0"),
        ({"num_preferences": 1}, "num_preferences=1 is too small: give at least 2"),
        ({"cost": "cost"}, "cost='cost' is one text: give a list"),
        ({"num_envs": 0}, "num_envs=0 is too small"),
        ({"preferense": 0.1}, "did you mean 'preference'"),
    ],
)
def test_refuses_settings(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreferencePPOAgent(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"quality": "wit"},
            "quality 'wit' is not in the data, which has accuracy.*set the option",
        ),
        ({"cost": ("money",)}, "cost 'money' is not in the data, which has .*set the option"),
    ],
)
def test_refuses_missing_columns(options: dict, message: str) -> None:
    agent = PreferencePPOAgent(**{**FAST["preference_ppo"], **options})
    with pytest.raises(ValueError, match=message):
        agent.train(priced("train"), validation=priced("validation"), seed=0)


def test_refuses_preferences_when_deciding(agent: PreferencePPOAgent) -> None:
    observations = priced("test").observations
    with pytest.raises(ValueError, match=r"preference=-0.5 is outside \[0, 1\]"):
        agent.probabilities_at(observations, preference=-0.5)
    with pytest.raises(ValueError, match=r"preference=2\.0 is outside"):
        agent.at(2.0)
    with pytest.raises(ValueError, match=r"preference=7\.0 is outside"):
        agent.cost_quality(priced("test"), [0.0, 7.0])
    with pytest.raises(ValueError, match="give one number, or one per query"):
        agent.probabilities_at(observations, preference=np.zeros(3))
    with pytest.raises(RuntimeError, match="is not trained"):
        PreferencePPOAgent().cost_quality(priced("test"))
