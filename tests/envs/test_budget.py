"""Budget-v0: what is charged, what is lost, and when hard queries come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.envs.budget import PACE_LIMIT, BudgetEnv, BudgetVectorEnv
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table

TABLE = identity_table(n=60, k=4, d=8)


def by_hand(**more: Any) -> RoutingData:
    """One query: a cheap adapter and a dear one, with mean costs 2 and 10."""
    made = RoutingData(
        adapters=("cheap", "dear"),
        observations=np.array([[1.0, 0.0]], dtype=np.float32),
        rewards=np.array([[0.1, 0.2]], dtype=np.float32),
        accuracy=np.array([[0, 1]], dtype=np.float32),
        query_ids=np.array(["q"]),
        tasks=np.array(["t"]),
        domains=np.array(["d"]),
        complexity=np.array([1]),
        scores={"quality": np.array([[0.25, 1.0]], dtype=np.float32)},
        costs={"completion_tokens": np.array([[2, 10]], dtype=np.float32)},
    )
    return replace(made, **more)


def test_an_episode_by_hand() -> None:
    env = BudgetEnv(data=by_hand(), horizon=4, budget_low=0.5, budget_high=0.5)
    observation, info = env.reset()
    assert info["budget"] == 20
    assert observation.tolist() == [1, 0, 1, 1, 1]
    assert env.action_masks().tolist() == [True, True, True]
    observation, reward, *_, info = env.step(1)
    assert reward == 1.0
    assert (info["spent"], info["budget_left"], info["accuracy"]) == (10, 0.5, 1)
    np.testing.assert_allclose(observation[2:], [0.5, 0.75, 10 / (3 * 10) / 0.5])
    _, reward, *_, info = env.step(2)
    assert (reward, info["adapter"], info["refused"], info["spent"]) == (0, "refuse", 1, 0)
    _, reward, *_, info = env.step(0)
    assert (reward, info["accuracy"], info["unspent"]) == (0.25, 0, 0)
    assert env.action_masks().tolist() == [True, False, True]  # 8 left, the mean is 10
    observation, reward, terminated, truncated, info = env.step(0)
    assert (reward, terminated, truncated) == (0.25, True, False)
    assert info["unspent"] == pytest.approx(6 / 20)
    np.testing.assert_allclose(observation[2:], [0.3, 0, 0])


def test_an_answer_that_costs_more_than_is_left_is_lost() -> None:
    env = BudgetEnv(
        data=by_hand(), horizon=2, budget_low=0.7, budget_high=0.7, mean_costs=(2.0, 6.0)
    )
    _, info = env.reset()
    assert info["budget"] == pytest.approx(0.7 * 2 * 6)
    _, reward, terminated, _, info = env.step(1)  # it costs 10 of 8.4
    assert reward == 0
    assert (info["lost"], info["spent"], info["accuracy"]) == (1, pytest.approx(8.4), 0)
    assert info["budget_left"] == 0
    assert not terminated
    assert env.action_masks().tolist() == [False, False, True]
    _, reward, terminated, _, info = env.step(2)
    assert (reward, terminated, info["lost"]) == (0, True, 0)


def test_pace_is_capped() -> None:
    env = BudgetEnv(data=by_hand(), horizon=8, budget_low=0.9, budget_high=0.9)
    env.reset()
    for _ in range(7):
        observation, *_ = env.step(2)
    assert observation[-1] == PACE_LIMIT


def test_the_spending_never_exceeds_the_budget() -> None:
    env = BudgetVectorEnv(64, TABLE, horizon=8, budget_low=0.2, budget_high=0.6)
    _, info = env.reset(seed=0)
    budgets, spent = info["budget"], np.zeros(64)
    rng = np.random.default_rng(0)
    for _ in range(8):
        masks = env.action_masks()
        actions = np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
        *_, terminated, _, info = env.step(actions)
        ended = terminated.all()
        spent += (info["final_info"] if ended else info)["spent"]
    assert ended
    assert (spent <= budgets + 1e-9).all()
    scenario: Any = env.scenario
    assert (budgets >= 0.2 * 8 * scenario.dearest - 1e-9).all()
    assert (budgets <= 0.6 * 8 * scenario.dearest + 1e-9).all()
    assert budgets.std() > 0


def positions(scenario: Any) -> float:
    """Mean place of hard queries within their episodes, 0 first and 1 last."""
    places = np.broadcast_to(np.linspace(0, 1, scenario.horizon), scenario.rows.shape)
    return float(places[scenario.hard[scenario.rows]].mean())


def test_hard_queries_come_late() -> None:
    found, mixes = [], []
    for late in (0.0, 0.5, 1.0):
        env = BudgetVectorEnv(400, TABLE, horizon=30, hard_late=late)
        env.reset(seed=3)
        scenario: Any = env.scenario
        hard = scenario.hard[scenario.rows]
        found.append(positions(scenario))
        mixes.append(np.sort(scenario.rows, axis=1))
        if late == 1.0:
            assert (np.diff(hard.astype(int), axis=1) >= 0).all()  # all of them at the end
    assert found[0] == pytest.approx(0.5, abs=0.02)
    assert found[0] < found[1] < found[2]
    np.testing.assert_array_equal(mixes[0], mixes[2])  # the same queries in another order


def test_where_the_complexity_is_unknown_the_dearest_third_is_hard() -> None:
    data = TABLE.data("train")
    env = BudgetEnv(data=replace(data, complexity=np.zeros(len(data), dtype=np.int64)))
    scenario: Any = env.scenario
    dear = data.costs["completion_tokens"].mean(axis=1)
    assert scenario.hard.mean() == pytest.approx(1 / 3, abs=0.06)
    assert dear[scenario.hard].min() > dear[~scenario.hard].max()
    known: Any = BudgetEnv(data=data).scenario
    np.testing.assert_array_equal(known.hard, data.complexity == 3)


def test_other_costs_and_values() -> None:
    env = BudgetEnv(TABLE, cost="seconds", value="reward")
    _, info = env.reset(seed=0)
    data = TABLE.data("train")
    row = data.query_ids.tolist().index(info["query_id"])
    _, reward, *_, info = env.step(1)
    assert reward == pytest.approx(data.rewards[row, 1])
    assert info["spent"] == pytest.approx(data.costs["seconds"][row, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon=0 is impossible here: give at least 1"),
        ({"horizon": 8.0}, "horizon=8.0 is a float"),
        ({"budget_low": 0.0}, "budget_low=0.0 is impossible here: give a number above 0"),
        ({"budget_high": "much"}, "budget_high='much' is a str"),
        ({"budget_low": 0.5, "budget_high": 0.4}, "budget_low=0.5 is above budget_high=0.4"),
        ({"horizon": 2, "budget_low": 0.01}, "less than any adapter's mean cost"),
        ({"hard_late": 1.5}, "hard_late=1.5 is impossible here"),
        ({"cost": "euros"}, "the table has no measured 'euros'"),
        ({"cost": ["seconds"]}, r"cost=\['seconds'\] is a list: give a cost's name"),
        ({"mean_costs": "dear"}, "mean_costs='dear' must be 4 numbers"),
        ({"mean_costs": [1.0, None, 2.0, 3.0]}, "must be 4 numbers of at least 0"),
        ({"value": "charm"}, "value='charm' must be one of"),
        ({"mean_costs": (1.0, 2.0)}, "must be 4 numbers of at least 0, one per adapter"),
        ({"mean_costs": (1.0, -2.0, 1.0, 1.0)}, "must be 4 numbers of at least 0"),
        (
            {"horizont": 3},
            "unknown option 'horizont': .* did you mean 'horizon'",
        ),
    ],
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BudgetEnv(TABLE, **options)


def test_refuses_what_costs_nothing() -> None:
    free = by_hand(costs={"completion_tokens": np.zeros((1, 2), dtype=np.float32)})
    with pytest.raises(ValueError, match="is 0 throughout the table"):
        BudgetEnv(data=free)
