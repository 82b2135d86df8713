from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routing_gym.agents.trade_off import TradeOff, check_preference, preference_rewards
from routing_gym.envs.data import RoutingData
from routing_gym.rewards.reward import DEFAULT_REWARD
from tests.agents.problems import by_hand, identity

QUALITY = np.array([[1.0, 0.5], [0.2, 0.8]])
COST = np.array([[0.4, 0.1], [0.3, 0.9]])


def hand(**costs: np.ndarray) -> RoutingData:
    data = by_hand(QUALITY.tolist())
    scores = {"quality": data.rewards, "cost": COST.astype(np.float32)}
    return replace(data, scores=scores, costs={k: v.astype(np.float32) for k, v in costs.items()})


def fit(data: RoutingData, **options: object) -> TradeOff:
    return TradeOff.fit(data, **{"quality": "", "costs": (), "quantile": 1.0, **options})


def test_rewards_by_hand() -> None:
    np.testing.assert_allclose(
        preference_rewards(QUALITY, COST, preference=0.25),
        [[0.75 * 1.0 - 0.25 * 0.4, 0.75 * 0.5 - 0.25 * 0.1], [0.075, 0.375]],
    )
    np.testing.assert_allclose(
        preference_rewards(QUALITY, COST, preference=np.array([0.0, 1.0])),
        [[1.0, 0.5], [-0.3, -0.9]],
    )


def test_cost_is_cut_at_the_quantile_of_the_train_split() -> None:
    found = fit(hand(), quantile=2 / 3)
    assert found.ceiling == pytest.approx(0.4)  # of .1, .3, .4, .9
    quality, cost = found.columns(hand())
    np.testing.assert_allclose(quality, QUALITY)
    np.testing.assert_allclose(cost, [[1.0, 0.25], [0.75, 1.0]], rtol=1e-6)


def test_costs_are_averaged_and_scores_come_before_measured_costs() -> None:
    data = hand(cost=99 * COST, prompt=np.full((2, 2), 2.0), completion=10 * COST)
    assert fit(data, costs=("cost",)).ceiling == pytest.approx(0.9)
    found = fit(data, costs=("prompt", "completion"))
    assert found.ceiling == pytest.approx((2 + 9) / 2)
    np.testing.assert_allclose(found.columns(data)[1], (2 + 10 * COST) / 11, rtol=1e-6)


def test_finds_the_columns_of_the_usual_tables() -> None:
    found = fit(identity("train"))
    assert (found.quality, found.costs) == ("quality", ("tokens", "seconds"))
    bare = hand()
    bare = replace(bare, scores={"cost": bare.scores["cost"]})
    found = fit(bare)
    assert (found.quality, found.costs) == ("accuracy", ("cost",))
    np.testing.assert_allclose(found.columns(bare)[0], QUALITY, rtol=1e-6)


def test_agrees_with_the_default_reward_up_to_a_constant() -> None:
    data = identity("train")
    found = fit(data)  # the highest cost is the ceiling: nothing is cut
    weights = DEFAULT_REWARD.weights
    rate = (weights["tokens"] + weights["seconds"]) * found.ceiling / weights["quality"]
    worth = preference_rewards(*found.columns(data), preference=rate / (1 + rate))
    scaled = worth * (1 + rate) * weights["quality"] / sum(weights.values())
    shift = (weights["tokens"] + weights["seconds"]) / sum(weights.values())
    np.testing.assert_allclose(scaled + shift, data.rewards, atol=1e-6)


def test_operating_points_by_hand() -> None:
    found = TradeOff("quality", ("cost",), 1.0)
    actions = np.array([[0, 1], [1, 0]])
    points = found.operating_points(hand(), np.array([0.0, 0.5]), actions)
    np.testing.assert_allclose(points.quality, [0.9, 0.35])
    np.testing.assert_allclose(points.cost, [0.65, 0.2])
    np.testing.assert_allclose(points.rewards, [0.9, 0.075], atol=1e-7)


@pytest.mark.parametrize(
    ("preference", "message"),
    [
        (-0.1, r"preference=-0.1 is outside \[0, 1\]: give the cost's weight"),
        (float("nan"), "preference=nan is outside"),
        (np.array([0.0, 1.5]), "preference=1.5 is outside"),
        (np.zeros(3), r"preference has shape \(3,\).*= \(2,\)"),
    ],
)
def test_refuses_preferences(preference: float | np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_preference(preference, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"quality": "wit"},
            "quality 'wit' is not in the data, which has accuracy, cost, points, quality",
        ),
        ({"costs": ("cost", "seconds")}, "cost 'seconds' is not in the data.*set the option"),
        ({"costs": ("loss",)}, "is negative or not finite somewhere"),
        ({"costs": ("free",)}, r"cost \('free',\) is 0 up to its quantile 1.0"),
        ({"quality": "points"}, r"quality 'points' is not within \[0, 1\]"),
    ],
)
def test_refuses_columns(options: dict, message: str) -> None:
    data = hand(loss=-COST, free=0 * COST)
    data = replace(data, scores={**data.scores, "points": 10 * data.rewards})
    with pytest.raises(ValueError, match=message):
        fit(data, **options)


def test_without_costs_the_remedy_is_named() -> None:
    data = by_hand([[1.0, 0.0]])
    with pytest.raises(ValueError, match="cost 'tokens' is not in the data, which has relevance"):
        fit(data)
