"""The hindsight bound of AdapterCache-v0 against every sequence of actions of tiny streams."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.hindsight_cache import (
    cache_states,
    hindsight_plan,
    hindsight_returns,
    stream_rows,
)
from routing_gym.envs.adapter_cache import AdapterCacheVectorEnv
from routing_gym.envs.budget import BudgetVectorEnv
from tests.synthetic import identity_table


def env_of(lanes: int, *, k: int = 3, **options: Any) -> AdapterCacheVectorEnv:
    data = identity_table(n=40, k=k, d=8).data("train")
    profile = {name: 0.2 + 0.15 * i for i, name in enumerate(data.adapters)}
    return AdapterCacheVectorEnv(lanes, data=data, **({"profile": profile} | options))


def brute_force(env: AdapterCacheVectorEnv, sequences: np.ndarray, seed: int) -> float:
    """Play every sequence of actions on a lane of its own, all with the same stream."""
    env.reset(seed=[seed] * env.num_envs)
    returns = np.zeros(env.num_envs)
    playing = np.ones(env.num_envs, dtype=bool)
    for step in range(sequences.shape[1]):
        masks = env.action_masks()
        lanes = np.arange(env.num_envs)
        playing &= masks[lanes, sequences[:, step]]
        actions = np.where(playing, sequences[:, step], masks.argmax(axis=1))
        returns += env.step(actions)[1]
    return float(returns[playing].max())


@pytest.mark.parametrize(
    ("options", "actions"),
    [
        ({"slots": 1, "length": 5}, 3),
        ({"slots": 2, "length": 5}, 3),
        ({"slots": 2, "length": 4, "eviction": "chosen"}, 6),
        ({"slots": 1, "length": 5, "resident": ["adapter_0"], "price_seconds": 3.0}, 3),
        ({"slots": 1, "length": 5, "charge_decoding": True, "price_seconds": 0.5}, 3),
    ],
)
def test_no_sequence_of_actions_is_better_and_one_is_as_good(
    options: dict[str, Any], actions: int
) -> None:
    if options["slots"] == 2:  # one more adapter, so that somebody has to go
        options = options | {"resident": ["adapter_3"]}
        k, actions = 4, actions // 3 * 4
        options["length"] = 4 if actions == 4 else 3
    else:
        k = 3
    sequences = np.array(list(product(range(actions), repeat=options["length"])))
    env = env_of(len(sequences), k=k, **options)
    for seed in range(4):
        best = brute_force(env, sequences, seed)
        small = env_of(1, k=k, **options)
        (bound,) = hindsight_returns(small, episodes=1, seed=seed)
        assert bound == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("eviction", ["lru", "chosen"])
def test_the_plan_reaches_its_bound(eviction: str) -> None:
    env = env_of(8, k=5, slots=2, length=30, eviction=eviction)
    rows = stream_rows(env, episodes=8, seed=3)
    returns, actions = hindsight_plan(env.scenario, rows)
    env.reset(seed=3)
    played = np.zeros(8)
    for step in range(30):
        np.testing.assert_array_equal(env.scenario.rows, rows[:, step])
        played += env.step(actions[:, step])[1]
    np.testing.assert_allclose(played, returns)


def test_a_choice_of_whom_to_evict_is_worth_at_least_the_rule() -> None:
    found = {
        eviction: hindsight_returns(
            env_of(16, k=5, slots=2, length=40, eviction=eviction), episodes=16, seed=0
        )
        for eviction in ("lru", "chosen")
    }
    assert (found["chosen"] >= found["lru"] - 1e-9).all()
    assert found["chosen"].mean() > found["lru"].mean()


def test_a_free_swap_is_the_oracle() -> None:
    env = env_of(4, price_seconds=0.0, slots=1, length=10)
    rows = stream_rows(env, episodes=4, seed=0)
    oracle = env.scenario.values[rows].max(axis=2).sum(axis=1)
    np.testing.assert_allclose(hindsight_returns(env, episodes=4, seed=0), oracle)


def test_episodes_do_not_depend_on_the_lanes() -> None:
    rows = stream_rows(env_of(8, slots=1, length=6), episodes=8, seed=5)
    few = stream_rows(env_of(3, slots=1, length=6), episodes=8, seed=5)
    np.testing.assert_array_equal(rows, few)


def test_states_by_hand() -> None:
    states = cache_states(env_of(1, slots=1, length=2, resident=["adapter_0"]).scenario)
    # Empty, adapter_1, adapter_2.
    assert states.following.tolist() == [[0, 1, 2], [1, 1, 2], [2, 1, 2]]
    expected = [[False, True, True], [False, False, True], [False, True, False]]
    assert states.swaps.tolist() == expected
    assert states.allowed.all()
    assert len(cache_states(env_of(1, k=5, slots=2).scenario).swaps) == 1 + 5 + 20


def test_too_large_a_cache_and_other_scenarios_are_refused() -> None:
    data = identity_table(n=40, k=16, d=16).data("train")
    large = AdapterCacheVectorEnv(1, data=data, slots=6, profile=dict.fromkeys(data.adapters, 0.1))
    with pytest.raises(ValueError, match="more than 5000: bound a smaller cache"):
        hindsight_returns(large, episodes=1, seed=0)
    other = BudgetVectorEnv(2, identity_table(n=60, k=4, d=8))
    with pytest.raises(ValueError, match="env plays BudgetScenario"):
        stream_rows(other, episodes=1, seed=0)
