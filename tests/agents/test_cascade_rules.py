"""Rules of the cascade: the order of tries, and the moment to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.cascade_rules import (
    CascadeFixedOrder,
    CascadeGreedy,
    CascadeOracle,
    CascadePandora,
    CascadeThreshold,
    pandora_index,
)
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.envs.cascade import CascadeVectorEnv
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table

ADAPTERS = ("a", "b", "c")


def problem(quality: list[list[float]], values: list[float], costs: list[float]) -> RoutingData:
    """Queries that look alike; predicted values and costs are in the observation."""
    scores = np.array(quality, dtype=np.float32)
    n = len(scores)
    return RoutingData(
        adapters=ADAPTERS,
        observations=np.tile(np.array(values + costs, dtype=np.float32), (n, 1)),
        rewards=scores,
        accuracy=scores,
        query_ids=np.array([f"q{i}" for i in range(n)]),
        tasks=np.array(["t"] * n),
        domains=np.array(["d"] * n),
        complexity=np.ones(n, dtype=np.int64),
        scores={"quality": scores},
        costs={"seconds": np.tile(np.array(costs, dtype=np.float32), (n, 1))},
    )


def tries(policy: ScenarioPolicy, data: RoutingData) -> list[str]:
    """The adapters that a rule tries on the first query, in their order."""
    env = CascadeVectorEnv(1, data=data.take(np.array([0])), price_tokens=0.0, price_seconds=1.0)
    policy.bind(env.scenario)
    observations, _ = env.reset(seed=0)
    policy.begin(1)
    taken = []
    for _ in range(5):
        action = policy.act(observations, env.action_masks())
        if action[0] == 3:
            return taken
        taken.append(ADAPTERS[action[0]])
        observations, *_ = env.step(action)
    raise AssertionError("the rule never accepts")


FAIL = problem([[0.0, 0.0, 0.0]], [0.5, 0.4, 0.3], [0.2, 0.02, 0.01])
MIDDLING = problem([[0.5, 1.0, 1.0]], [0.5, 0.4, 0.3], [0.2, 0.02, 0.01])


@pytest.mark.parametrize(
    ("policy", "data", "expected"),
    [
        (CascadeGreedy(), FAIL, "b"),  # .3, .38, .29 after costs
        (CascadeThreshold(0.5), FAIL, "abc"),
        (CascadeThreshold(0.5), MIDDLING, "a"),
        (CascadeThreshold(0.6), MIDDLING, "ab"),
        (CascadeThreshold(0.5, order="net"), FAIL, "bac"),
        (CascadeThreshold(0.5, order="ratio"), FAIL, "cba"),
        (CascadeFixedOrder(0.5, order=(2, 0, 1)), FAIL, "cab"),
        (CascadeFixedOrder(0.5, order=(2, 0)), FAIL, "ca"),
        (CascadeFixedOrder(0.5, order=(0, 1)), MIDDLING, "a"),
        # indices 1 - c/v: .6, .95, .967
        (CascadePandora(1.0), FAIL, "cba"),
        # after one failure .2, .9, .93; after two .. below 0 for a: .5 / 4 < .2
        (CascadePandora(0.5), FAIL, "cb"),
        (CascadePandora(0.0), FAIL, "c"),
        (CascadeOracle(), MIDDLING, "c"),  # .3, .98, .99
    ],
)
def test_orders_by_hand(policy: ScenarioPolicy, data: RoutingData, expected: str) -> None:
    assert "".join(tries(policy, data)) == expected


def test_a_first_box_is_opened_even_where_none_pays() -> None:
    dear = problem([[0.0, 0.0, 0.0]], [0.1, 0.2, 0.0], [0.3, 0.5, 0.25])
    assert tries(CascadePandora(1.0), dear) == ["a"]  # loses least: -.2, -.3, -.25


def test_pandoras_index_solves_its_equation() -> None:
    rng = np.random.default_rng(0)
    chance, price = rng.random((200, 3)), rng.random((200, 3))
    index = pandora_index(chance, price)
    excess = chance * np.maximum(1 - index, 0) + (1 - chance) * np.maximum(-index, 0)
    np.testing.assert_allclose(excess, price, atol=1e-12)
    assert pandora_index(np.array([[0.0, 1.5]]), np.array([[0.0, 0.25]])).tolist() == [[0, 0.75]]


def identity(*, noise: float = 0.0) -> RoutingData:
    """The identity problem seen through true, or noisy, values and prices."""
    data = identity_table(n=200, k=4, d=8).data("test")
    rng = np.random.default_rng(0)
    values = data.scores["quality"] + rng.normal(scale=noise, size=data.rewards.shape)
    prices = 0.001 * data.costs["completion_tokens"] + 0.05 * data.costs["seconds"]
    return replace(data, observations=np.hstack([values, prices]).astype(np.float32))


def test_with_true_values_greedy_is_the_oracle() -> None:
    env = CascadeVectorEnv(50, data=identity(), price_tokens=0.001, price_seconds=0.05)
    greedy, oracle = (
        rollout(p, env, episodes=100, seed=0) for p in (CascadeGreedy(), CascadeOracle())
    )
    np.testing.assert_allclose(greedy.returns, oracle.returns)
    np.testing.assert_allclose(oracle.quantities["regret"], 0, atol=1e-12)
    assert set(greedy.lengths) == {2}


def test_checking_pays_where_predictions_are_noisy() -> None:
    env = CascadeVectorEnv(100, data=identity(noise=0.5))

    def value(policy: ScenarioPolicy) -> float:
        return float(rollout(policy, env, episodes=400, seed=0).returns.mean())

    one, many, bound = value(CascadeGreedy()), value(CascadeThreshold(0.6)), value(CascadeOracle())
    assert one + 0.1 < many < bound
    assert value(CascadePandora(0.9)) > one + 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CascadeThreshold(-0.1), "threshold=-0.1"),
        (lambda: CascadeThreshold(0.5, order="size"), "order='size' must be one of"),  # type: ignore[arg-type]
        (lambda: CascadeFixedOrder(0.5, order=()), r"order=\(\) must be adapter numbers"),
        (lambda: CascadeFixedOrder(0.5, order=(1, 1)), "each once"),
        (lambda: CascadePandora(1.5), "belief=1.5 of rule 'pandora' must be at most 1"),
        (lambda: tries(CascadeFixedOrder(0.5, order=(0, 7)), FAIL), "more than K = 3"),
    ],
)
def test_refuses_parameters(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
