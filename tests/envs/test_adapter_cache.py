"""AdapterCache-v0: what a swap costs, who has to go, what is seen, and sticky topics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from routing_gym.adapters.profile import PoolProfile, Timing
from routing_gym.envs.adapter_cache import AdapterCacheEnv, AdapterCacheVectorEnv
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table

NAMES = ("base", "a", "b", "c")
SECONDS = {"a": 0.5, "b": 0.25, "c": 2.0}
VALUES = [[0.1, 0.9, 0.3, 0.2]]
TABLE = identity_table(n=60, k=4, d=8)


def by_hand(**more: Any) -> RoutingData:
    """One query, whose answers are worth .1, .9, .3 and .2."""
    made = RoutingData(
        adapters=NAMES,
        observations=np.array([[1.0, 0.0]], dtype=np.float32),
        rewards=np.array(VALUES, dtype=np.float32),
        accuracy=np.array([[0, 1, 0, 0]], dtype=np.float32),
        query_ids=np.array(["q"]),
        tasks=np.array(["t"]),
        domains=np.array(["d"]),
        complexity=np.array([1]),
        scores={"quality": 1 - np.array(VALUES, dtype=np.float32)},
        costs={"seconds": np.array([[4.0, 3.0, 2.0, 1.0]], dtype=np.float32)},
    )
    return replace(made, **more)


def env_of(**options: Any) -> AdapterCacheEnv:
    return AdapterCacheEnv(**({"data": by_hand(), "profile": SECONDS, "length": 8} | options))


def state_of(env: AdapterCacheEnv, observation: np.ndarray) -> dict[str, float]:
    width = env.scenario.embeddings.shape[1]
    return dict(zip(env.scenario.state_names, observation[width:].tolist(), strict=True))


def shown(**entries: float) -> dict[str, float]:
    names = [f"{group}_{name}" for group in ("resident", "recency") for name in NAMES]
    return dict.fromkeys(names, 0.0) | {"resident_base": 1.0} | entries


def test_an_episode_by_hand() -> None:
    env = env_of(slots=2, price_seconds=0.8, length=5)
    observation, info = env.reset(seed=0)
    assert observation[:2].tolist() == [1, 0]
    assert info == {"query_id": "q", "task": "t", "domain": "d", "complexity": 1}
    assert state_of(env, observation) == shown(left=1.0)

    observation, reward, terminated, _, info = env.step(1)  # "a" is loaded
    assert reward == pytest.approx(0.9 - 0.8 * 0.5)
    assert (info["swap"], info["hit"], info["seconds"], info["accuracy"]) == (1, 0, 0.5, 1.0)
    assert (info["oracle_reward"], info["regret"]) == pytest.approx((0.5, 0.0))
    expected = shown(resident_a=1, recency_a=1, left=0.8)
    assert state_of(env, observation) == pytest.approx(expected)

    observation, reward, *_, info = env.step(2)  # "b" beside it
    assert reward == pytest.approx(0.3 - 0.8 * 0.25)
    assert info["regret"] == pytest.approx(0.9 - 0.1)  # "a" was there for nothing
    expected = shown(resident_a=1, recency_a=0.5, resident_b=1, recency_b=1, left=0.6)
    assert state_of(env, observation) == pytest.approx(expected)

    observation, reward, *_, info = env.step(1)  # a hit, after which "b" is the least recent
    assert (reward, info["hit"], info["seconds"]) == (pytest.approx(0.9), 1, 0)
    observation, reward, *_, info = env.step(0)  # the base needs no slot and moves nothing
    assert (reward, info["hit"]) == (pytest.approx(0.1), 1)
    expected = shown(resident_a=1, recency_a=1, resident_b=1, recency_b=0.5, left=0.2)
    assert state_of(env, observation) == pytest.approx(expected)

    observation, reward, terminated, truncated, info = env.step(3)  # "c" puts "b" out
    assert reward == pytest.approx(0.2 - 0.8 * 2.0)
    assert (terminated, truncated) == (True, False)
    expected = shown(resident_a=1, recency_a=0.5, resident_c=1, recency_c=1, left=0)
    assert state_of(env, observation) == pytest.approx(expected)
    assert state_of(env, env.reset()[0]) == shown(left=1.0)  # slots are empty again


def test_the_evicted_slot_can_be_chosen() -> None:
    env = env_of(slots=2, eviction="chosen")
    assert env.action_space.n == 8
    names = env.scenario.action_names
    assert names[:4] == ("base/0", "base/1", "a/0", "a/1")
    env.reset(seed=0)
    first_slots = [True, False] * 4
    assert env.action_masks().tolist() == first_slots  # an empty slot is taken, whatever it is
    with pytest.raises(ValueError, match="a/1"):
        env.step(3)
    env.step(2)  # "a"
    assert env.action_masks().tolist() == first_slots
    env.step(4)  # "b"; now full, "a" the least recently used
    assert env.action_masks().tolist() == [True, False, True, False, True, False, True, True]
    observation, *_ = env.step(7)  # "c" in the place of "b"
    state = state_of(env, observation)
    assert (state["recency_a"], state["recency_b"], state["recency_c"]) == (0.5, 0, 1)
    assert env.action_masks().tolist() == [True, False, True, False, True, True, True, False]


def test_lru_is_the_choice_of_slot_0() -> None:
    lru = env_of(data=TABLE.data("train"), profile=dict.fromkeys(TABLE.adapters, 0.3), length=50)
    free = env_of(
        data=TABLE.data("train"),
        profile=dict.fromkeys(TABLE.adapters, 0.3),
        length=50,
        eviction="chosen",
    )
    lru.reset(seed=3)
    free.reset(seed=3)
    rng = np.random.default_rng(0)
    for action in rng.integers(4, size=50):
        one, other = lru.step(int(action)), free.step(2 * int(action))
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:4] == other[1:4]


def test_what_an_answer_is_worth_and_its_own_seconds() -> None:
    env = env_of(value="quality", charge_decoding=True, price_seconds=0.1)
    env.reset(seed=0)
    _, reward, *_, info = env.step(2)
    assert reward == pytest.approx(0.7 - 0.1 * (0.25 + 2.0))
    assert (info["seconds"], info["swap_seconds"]) == (2.25, 0.25)


def test_a_price_of_nothing_is_routing() -> None:
    data = TABLE.data("train")
    env = AdapterCacheVectorEnv(
        16, data=data, profile=dict.fromkeys(TABLE.adapters, 0.3), price_seconds=0.0
    )
    env.reset(seed=0)
    for _ in range(5):
        rows = env.scenario.rows.copy()
        best = data.rewards[rows].argmax(axis=1)
        _, rewards, _, _, info = env.step(best)
        np.testing.assert_allclose(rewards, data.rewards[rows].max(axis=1))
        assert (info["regret"] == 0).all()


@pytest.mark.parametrize("stickiness", [0.0, 0.7, 1.0])
def test_topics_stick(stickiness: float) -> None:
    data = TABLE.data("train")
    data = replace(data, domains=np.array(["x", "y", "y", "z"])[np.arange(len(data)) % 4])
    env = AdapterCacheVectorEnv(
        400,
        data=data,
        profile=dict.fromkeys(TABLE.adapters, 0.3),
        stickiness=stickiness,
        length=21,
    )
    env.reset(seed=0)
    seen = []
    for _ in range(20):
        seen.append(data.domains[env.scenario.rows])
        env.step(np.zeros(400, dtype=np.int64))
    domains = np.array(seen)  # (T, L)
    kept = domains[1:] == domains[:-1]
    assert kept.mean() == pytest.approx(stickiness, abs=0.02)
    if stickiness < 1:  # from "x", whose others are "y" and "z" at two to one
        left = domains[1:][(domains[:-1] == "x") & ~kept]
        assert (left == "y").mean() == pytest.approx(2 / 3, abs=0.05)


def test_nothing_of_an_answer_is_seen() -> None:
    data = TABLE.data("train")
    rng = np.random.default_rng(0)
    other = replace(
        data,
        rewards=rng.random(data.rewards.shape).astype(np.float32),
        accuracy=rng.random(data.accuracy.shape).astype(np.float32),
        scores={},
        costs={},
    )
    profile = dict.fromkeys(TABLE.adapters, 0.3)
    one, two = (AdapterCacheEnv(data=d, profile=profile, length=30) for d in (data, other))
    np.testing.assert_array_equal(one.reset(seed=1)[0], two.reset(seed=1)[0])
    for action in rng.integers(4, size=30):
        np.testing.assert_array_equal(one.step(int(action))[0], two.step(int(action))[0])


def test_profiles(tmp_path: Path) -> None:
    timing = {name: Timing(0.2, 0.1, 0.3, 5) for name in ("load", "switch")}
    profile = PoolProfile({name: timing for name in "abc"})
    profile.save(tmp_path / "profile.json")
    for given in (profile, tmp_path / "profile.json", str(tmp_path / "profile.json")):
        assert env_of(profile=given).scenario.swap_seconds.tolist() == [0.0, 0.4, 0.4, 0.4]
    assert env_of().scenario.swap_seconds.tolist() == [0.0, 0.5, 0.25, 2.0]
    with pytest.raises(ValueError, match=r"no adapter 'adapter_0'.*measure_pool_costs.py"):
        AdapterCacheEnv(TABLE, profile=profile)
    with pytest.raises(FileNotFoundError, match=r"does not exist: measure it with scripts/"):
        env_of(profile=tmp_path / "none.json")


def test_the_embedded_table_has_its_profile() -> None:
    env = AdapterCacheEnv(split="validation")
    swap = dict(zip(env.adapters, env.scenario.swap_seconds, strict=True))
    assert swap.pop("base") == 0
    assert all(0 < seconds < 60 for seconds in swap.values())
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 0}, "length=0 is impossible here: give at least 1"),
        ({"length": 2.5}, "length=2.5 is a float: give a whole number"),
        ({"slots": 0}, "slots=0 is impossible here: give 1 to 2"),
        ({"slots": 3}, "slots=3 is impossible here: give 1 to 2"),
        ({"slots": True}, "slots=True is a bool"),
        ({"slots": "two"}, "slots='two' is a str"),
        ({"stickiness": 1.5}, "stickiness=1.5 is impossible"),
        ({"stickiness": None}, "stickiness=None is a NoneType: give a number"),
        ({"price_seconds": -1}, "price_seconds=-1 is impossible"),
        ({"price_seconds": float("nan")}, "price_seconds=nan is impossible"),
        ({"eviction": "fifo"}, "eviction='fifo' must be one of lru, chosen"),
        ({"resident": ["d"]}, "names 'd', which is none of base, a, b, c"),
        ({"resident": "base"}, "must be a list of names"),
        ({"resident": ["base", "a", "b"]}, "leaves 1 adapter to swap"),
        ({"profile": {"a": 1.0}}, "profile has no seconds of adapter 'b'"),
        ({"profile": SECONDS | {"c": -1}}, r"profile\['c'\]=-1 is impossible"),
        ({"profile": SECONDS | {"c": "1"}}, r"profile\['c'\]='1' is a str"),
        ({"profile": SECONDS | {"c": float("inf")}}, "give finite ones"),
        ({"profile": 3}, "profile=3 must be a path"),
        ({"value": "beauty"}, "value='beauty' must be 'reward' or a score of the table: quality"),
        ({"charge_decoding": 1}, "charge_decoding=1 must be True or False"),
        ({"slot": 1}, "unknown option 'slot': .* did you mean 'slots'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        env_of(**options)


def test_costs_that_were_not_measured() -> None:
    bare = by_hand(costs={})
    assert env_of(data=bare).scenario.decode_seconds.tolist() == [[0, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"no measured 'seconds'.*collect"):
        env_of(data=bare, charge_decoding=True)
    unscored = by_hand(scores={"quality": np.full((1, 4), np.nan, dtype=np.float32)})
    with pytest.raises(ValueError, match="value='quality' is not finite"):
        env_of(data=unscored, value="quality")


def test_chosen_eviction_passes_the_checkers_and_is_the_same_in_lanes() -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    options: dict[str, Any] = {"table": TABLE, "length": 9, "eviction": "chosen"}
    options["profile"] = dict.fromkeys(TABLE.adapters, 0.3)
    env = AdapterCacheEnv(**options)
    check_env(env, skip_render_check=True)
    sb3.check_env(env)
    native, twins = AdapterCacheVectorEnv(3, **options), [AdapterCacheEnv(**options) for _ in "abc"]
    observations, _ = native.reset(seed=5)
    for lane, twin in enumerate(twins):
        np.testing.assert_array_equal(twin.reset(seed=5 + lane)[0], observations[lane])
    rng = np.random.default_rng(0)
    for _ in range(30):
        masks = native.action_masks()
        actions = np.where(masks, rng.random(masks.shape), -1).argmax(axis=1)
        observations, rewards, terminated, *_ = native.step(actions)
        for lane, twin in enumerate(twins):
            np.testing.assert_array_equal(twin.action_masks(), masks[lane])
            seen, reward, ended, *_ = twin.step(int(actions[lane]))
            seen = twin.reset()[0] if ended else seen
            np.testing.assert_array_equal(seen, observations[lane])
            assert (reward, ended) == (rewards[lane], terminated[lane])
