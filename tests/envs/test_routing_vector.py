"""The vectorised environment is Gymnasium's SyncVectorEnv of the scalar one, without its loop."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from routing_gym.envs import ROUTING
from routing_gym.envs.routing import BLOCK, RoutingEnv
from routing_gym.envs.routing_vector import RoutingVectorEnv
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table

LANES = 6


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=60, k=4, d=8)


def assert_same(left: Any, right: Any, path: str = "") -> None:
    """Compare values, dtypes and keys of nested dictionaries of arrays exactly."""
    if isinstance(left, dict):
        assert set(left) == set(right), path
        for key in left:
            assert_same(left[key], right[key], f"{path}/{key}")
    elif path == "/final_obs":  # Gymnasium keeps a list of rows in an object array
        np.testing.assert_array_equal(np.stack(left), np.stack(right))
    else:
        assert left.dtype == right.dtype, path
        assert left.tolist() == right.tolist(), path


@pytest.mark.parametrize("observation", ["embedding", "index"])
def test_trajectories_equal_gymnasiums(table: OutcomeTable, observation: str) -> None:
    options: dict[str, Any] = {"table": table, "observation": observation, "split": "test"}
    native = gym.make_vec(ROUTING, LANES, **options)
    assert isinstance(native.unwrapped, RoutingVectorEnv)
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    looped = gym.make_vec(ROUTING, LANES, vectorization_mode="sync", vector_kwargs=mode, **options)
    assert isinstance(looped.unwrapped, SyncVectorEnv)
    assert native.observation_space == looped.observation_space
    assert native.action_space == looped.action_space
    assert native.metadata["autoreset_mode"] == looped.metadata["autoreset_mode"]
    rng = np.random.default_rng(0)
    seeds: tuple[Any, ...] = (11, None, list(range(50, 50 + LANES)), [3, None, 4, None, 5, None])
    for seed in seeds:
        for one, other in zip(native.reset(seed=seed), looped.reset(seed=seed), strict=True):
            assert_same(one, other)
        for _ in range(20):
            actions = rng.integers(4, size=LANES)
            for one, other in zip(native.step(actions), looped.step(actions), strict=True):
                assert_same(one, other)


def test_a_part_of_the_lanes_can_be_reset(table: OutcomeTable) -> None:
    native = RoutingVectorEnv(3, table)
    looped = SyncVectorEnv([lambda: RoutingEnv(table)] * 3, autoreset_mode="SameStep")
    native.reset(seed=1)
    looped.reset(seed=1)
    seeds: tuple[Any, ...] = (None, 9, [4, 5, None])
    for seed in seeds:
        for mask in ([True, False, True], [False, False, True]):
            options = [{"reset_mask": np.array(mask)} for _ in range(2)]
            left = native.reset(seed=seed, options=options[0])
            for one, other in zip(left, looped.reset(seed=seed, options=options[1]), strict=True):
                assert_same(one, other)


def test_lane_i_is_the_scalar_environment_of_seed_plus_i(table: OutcomeTable) -> None:
    lanes = RoutingVectorEnv(LANES, table)
    observations, _ = lanes.reset(seed=100)
    scalars = [RoutingEnv(table) for _ in range(LANES)]
    waiting = [env.reset(seed=100 + i)[0] for i, env in enumerate(scalars)]
    rng = np.random.default_rng(1)
    for _ in range(2 * BLOCK + 3):  # past the scalar environment's blocks of draws
        np.testing.assert_array_equal(observations, waiting)
        actions = rng.integers(4, size=LANES)
        observations, rewards, *_ = lanes.step(actions)
        assert [env.step(a)[1] for env, a in zip(scalars, actions, strict=True)] == rewards.tolist()
        waiting = [env.reset()[0] for env in scalars]


def arrays(values: Any) -> list[np.ndarray]:
    """List every array in nested tuples and dictionaries."""
    if isinstance(values, np.ndarray):
        return [values]
    parts = values.values() if isinstance(values, dict) else values
    return [array for part in parts for array in arrays(part)]


@pytest.mark.parametrize("observation", ["embedding", "index"])
def test_no_memory_is_ever_returned_twice(table: OutcomeTable, observation: Any) -> None:
    env = RoutingVectorEnv(LANES, table, observation=observation)
    actions = np.zeros(LANES, dtype=np.int64)
    returned = [env.reset(seed=0), *(env.step(actions) for _ in range(3)), env.reset()]
    found = [arrays(result) for result in returned]
    for index, mine in enumerate(found):
        others = [array for other in found[index + 1 :] for array in other]
        assert not any(np.shares_memory(a, b) for a in mine for b in [*others, actions])
    for array in (array for result in found for array in result):
        array[...] = 0  # a user may do what they like with what they got
    twins = _advanced(table, steps=5)
    assert env.step(actions)[1].tolist() == [twin.step(0)[1] for twin in twins]


def _advanced(table: OutcomeTable, *, steps: int) -> list[RoutingEnv]:
    """Make the scalar twins of seed 0 that have drawn as many queries."""
    twins = [RoutingEnv(table) for _ in range(LANES)]
    for lane, env in enumerate(twins):
        for step in range(steps):
            env.reset(seed=lane if step == 0 else None)
    return twins


def measured(info: dict[str, Any]) -> dict[str, Any]:
    """Keep the numbers of a full ``final_info``, without its masks."""
    kept = {name: info[name] for name in ("action", "oracle_reward", "regret", "accuracy")}
    for group in ("scores", "cost"):
        kept[group] = {k: v for k, v in info[group].items() if not k.startswith("_")}
    return kept


@pytest.mark.parametrize("observation", ["embedding", "index"])
def test_less_info_is_the_same_trajectory(table: OutcomeTable, observation: Any) -> None:
    levels = ("full", "light", "none")
    envs = [RoutingVectorEnv(LANES, table, observation=observation, info=i) for i in levels]
    started = [env.reset(seed=7) for env in envs]
    assert started[1][1] == started[2][1] == {}
    rng = np.random.default_rng(2)
    for _ in range(5):
        waiting = envs[0].rows
        actions = rng.integers(4, size=LANES)
        full, light, bare = (env.step(actions) for env in envs)
        for other in (light, bare):
            for one, another in zip(full[:4], other[:4], strict=True):
                assert one.dtype == another.dtype
                np.testing.assert_array_equal(one, another)
        assert_same({"final_info": measured(full[4]["final_info"])}, light[4])
        assert bare[4] == {}
        np.testing.assert_array_equal(
            full[4]["final_obs"], envs[0].dynamics.observe(waiting), strict=True
        )


@pytest.mark.parametrize("info", ["light", "none"])
def test_little_info_returns_fresh_memory_too(table: OutcomeTable, info: Any) -> None:
    env = RoutingVectorEnv(LANES, table, info=info, observation="index")
    actions = np.zeros(LANES, dtype=np.int64)
    returned = [env.reset(seed=0), *(env.step(actions) for _ in range(3))]
    found = [[*arrays(result), actions] for result in returned]
    for index, mine in enumerate(found):
        others = [array for other in found[index + 1 :] for array in other[:-1]]
        assert not any(np.shares_memory(a, b) for a in mine for b in others)
        parts = arrays(returned[index][:-1])
        assert not any(np.shares_memory(a, b) for a in parts for b in arrays(returned[index][-1]))
    for array in (array for result in found for array in result):
        array[...] = 0
    assert env.step(actions)[1].tolist() == [twin.step(0)[1] for twin in _advanced(table, steps=4)]


def test_waiting_queries_can_be_asked_for(table: OutcomeTable) -> None:
    env = RoutingVectorEnv(LANES, table, observation="index")
    assert env.rows.tolist() == [-1] * LANES
    observations, _ = env.reset(seed=0)
    assert env.rows.tolist() == observations.tolist()
    env.rows[...] = 0  # a copy
    assert env.rows.tolist() == observations.tolist()


def test_unseeded_lanes_differ(table: OutcomeTable) -> None:
    one, other = RoutingVectorEnv(64, table), RoutingVectorEnv(64, table)
    ids = [env.reset()[1]["query_id"].tolist() for env in (one, other)]
    assert ids[0] != ids[1]
    assert len(set(ids[0])) > 10


def test_gymnasiums_wrappers_count_episodes(table: OutcomeTable) -> None:
    env = RecordEpisodeStatistics(gym.make_vec(ROUTING, LANES, table=table))
    env.reset(seed=0)
    _, rewards, *_ = env.step(np.zeros(LANES, dtype=np.int64))
    assert list(env.return_queue) == pytest.approx(rewards.tolist())
    assert set(env.length_queue) == {1}


def test_action_masks(table: OutcomeTable) -> None:
    env = RoutingVectorEnv(LANES, table)
    assert env.action_masks().tolist() == [[True] * 4] * LANES
    assert env.adapters == table.adapters
    assert env.observation_space.shape == (LANES, 8)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 1], r"shape \(2,\)"),
        ([0.0] * LANES, "dtype float64"),
        ([0, 0, 4, 0, 0, 0], "action=4 of lane 2 must be from 0 to 3"),
        ([0, 0, 0, -1, 0, 0], "action=-1 of lane 3"),
    ],
)
def test_refuses_actions(table: OutcomeTable, actions: list[float], message: str) -> None:
    env = RoutingVectorEnv(LANES, table)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(actions)


def test_refuses_arguments(table: OutcomeTable) -> None:
    with pytest.raises(ValueError, match="num_envs=0"):
        RoutingVectorEnv(0, table)
    with pytest.raises(ValueError, match="render the scalar RoutingEnv"):
        RoutingVectorEnv(2, table, render_mode="ansi")
    with pytest.raises(ValueError, match="info='some' must be one of"):
        RoutingVectorEnv(2, table, info="some")  # type: ignore[arg-type]
    env = RoutingVectorEnv(2, table)
    with pytest.raises(ResetNeeded):
        env.step([0, 0])
    with pytest.raises(ValueError, match="seed has 3 entries, not L = 2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="leaves out lanes at the first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    for mask in ([True, True], np.array([1, 1]), np.array([False, False])):
        with pytest.raises(ValueError, match="must be a bool array with a True"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match=r"has shape \(3,\), not \(L,\) = \(2,\)"):
        env.reset(options={"reset_mask": np.ones(3, dtype=bool)})


def test_a_step_has_no_loop_over_lanes(table: OutcomeTable) -> None:
    def cost(lanes: int) -> float:
        """CPU seconds per step, the best of several runs."""
        env = RoutingVectorEnv(lanes, table)
        env.reset(seed=0)
        actions = np.zeros(lanes, dtype=np.int64)
        best = np.inf
        for _ in range(5):
            start = time.process_time()
            for _ in range(20):
                env.step(actions)
            best = min(best, (time.process_time() - start) / 20)
        return float(best)

    # a loop would cost 1,000 times as much; arrays of this size cost far less
    assert cost(4000) < 40 * cost(4)
