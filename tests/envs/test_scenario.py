"""What every sequential scenario promises, and the machinery that they share."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from routing_gym.envs import ADAPTER_CACHE, DRIFT, ENVS, LIVE, PREFERENCE, ROUTING, VECTOR_ENVS
from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import Scenario, Transition, require_count, require_number
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams
from routing_gym.queries.query import Verdict
from routing_gym.queries.registry import resolve
from tests.envs.live_pool import ScriptedPool, WordCount
from tests.synthetic import identity_table

SCENARIOS = [name for name in ENVS if name != ROUTING]
LANES = 6
TABLE = identity_table(n=60, k=4, d=8)

scenarios = pytest.mark.parametrize("name", SCENARIOS)


def options_of(name: str) -> dict[str, Any]:
    """The least that a scenario must be given to run on the identity problem."""
    options: dict[str, Any] = {"table": TABLE, "split": "test"}
    if name in (ADAPTER_CACHE, DRIFT):
        options |= {"length": 16}
    if name == ADAPTER_CACHE:
        options |= {"profile": dict.fromkeys(TABLE.adapters, 0.5)}
    if name == LIVE:
        options |= {"pool": ScriptedPool(TABLE.adapters), "evaluator": WordCount()}
        options |= {"reward": {"quality": 1.0}}
        options |= {"verifier": lambda query, text: Verdict(float(len(text) % 2), 0.0)}
    return options


def scalar(name: str, **more: Any) -> ScenarioEnv:
    made: ScenarioEnv = resolve(ENVS, name, kind="environment")(**options_of(name), **more)
    return made


def lanes_of(name: str, lanes: int = LANES, **more: Any) -> ScenarioVectorEnv:
    vector_class = resolve(VECTOR_ENVS, name, kind="environment")
    made: ScenarioVectorEnv = vector_class(lanes, **options_of(name), **more)
    return made


def allowed(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an allowed action for each row of masks."""
    chosen: np.ndarray = np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
    return chosen


def assert_same(left: Any, right: Any, path: str = "") -> None:
    """Compare values, dtypes and keys of nested dictionaries of arrays exactly."""
    if isinstance(left, dict):
        assert set(left) == set(right), path
        for key in left:
            assert_same(left[key], right[key], f"{path}/{key}")
    elif path == "/final_obs":  # Gymnasium keeps a list of rows in an object array
        # and ours holds zeros where no episode ended
        rows = [(mine, his) for mine, his in zip(left, right, strict=True) if his is not None]
        for mine, his in rows:
            np.testing.assert_array_equal(mine, his)
    else:
        assert left.dtype == right.dtype, path
        np.testing.assert_array_equal(left, right, err_msg=path)


@scenarios
def test_passes_the_checkers_without_warnings(name: str) -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(name, **options_of(name)).unwrapped
        check_env(env, skip_render_check=False)
        sb3.check_env(env)


@scenarios
def test_the_page_has_gymnasiums_headings(name: str) -> None:
    page = resolve(ENVS, name, kind="environment").__doc__
    headings = ["Description", "Action Space", "Observation Space", "Rewards", "Starting State"]
    positions = [page.index(f"## {h}\n") for h in [*headings, "Episode End", "Arguments"]]
    assert positions == sorted(positions)
    assert page.index("## Version History") > positions[-1]
    assert f"* v{gym.spec(name).version}:" in page


@scenarios
def test_declares_itself(name: str) -> None:
    env = scalar(name)
    scenario = env.scenario
    width = scenario.embeddings.shape[1] + len(scenario.state_names)
    assert env.observation_space.shape == (width,)
    assert len(set(scenario.state_names)) == len(scenario.state_names)
    assert len(scenario.action_names) == env.action_space.n
    assert scenario.action_names[: scenario.num_adapters] == env.adapters
    assert set(scenario.episode_quantities) <= set(scenario.quantities)
    _, info = env.reset(seed=0)
    *_, info = env.step(allowed(env.action_masks()[None], np.random.default_rng(0))[0])
    assert set(scenario.quantities) <= set(info)
    assert all(np.isfinite(info[quantity]) for quantity in scenario.quantities)


def played(env: ScenarioEnv, *, seed: int, steps: int) -> list[tuple[Any, ...]]:
    """Play allowed actions through several episodes."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    trace: list[tuple[Any, ...]] = [(observation.tobytes(),)]
    for _ in range(steps):
        action = int(allowed(env.action_masks()[None], rng)[0])
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append((observation.tobytes(), np.asarray(reward).tobytes(), terminated, truncated))
        if terminated or truncated:
            observation, _ = env.reset()
            trace.append((observation.tobytes(),))
    return trace


@scenarios
def test_the_seed_decides_everything(name: str) -> None:
    one, other = scalar(name), scalar(name)
    first = played(one, seed=7, steps=60)
    assert played(other, seed=7, steps=60) == first
    assert played(one, seed=7, steps=60) == first
    assert played(one, seed=8, steps=60) != first


@scenarios
def test_unseeded_environments_differ(name: str) -> None:
    seen = {scalar(name).reset()[0].tobytes() for _ in range(12)}
    assert len(seen) > 1


@scenarios
def test_a_lane_is_the_scalar_environment_of_its_seed(name: str) -> None:
    lanes, twins = lanes_of(name), [scalar(name) for _ in range(LANES)]
    observations, _ = lanes.reset(seed=100)
    waiting = [twin.reset(seed=100 + lane)[0] for lane, twin in enumerate(twins)]
    rng = np.random.default_rng(1)
    for _ in range(50):
        np.testing.assert_array_equal(observations, waiting)
        masks = lanes.action_masks()
        np.testing.assert_array_equal(masks, [twin.action_masks() for twin in twins])
        actions = allowed(masks, rng)
        observations, rewards, terminated, truncated, _ = lanes.step(actions)
        for lane, twin in enumerate(twins):
            waiting[lane], reward, ended, cut, _ = twin.step(actions[lane])
            assert np.asarray(reward).tobytes() == rewards[lane].tobytes()
            assert (ended, cut) == (terminated[lane], truncated[lane])
            if ended or cut:
                waiting[lane], _ = twin.reset()


@scenarios
def test_trajectories_equal_gymnasiums(name: str) -> None:
    options = options_of(name)
    native = gym.make_vec(name, LANES, **options)
    assert isinstance(native.unwrapped, ScenarioVectorEnv)
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    looped = gym.make_vec(name, LANES, vectorization_mode="sync", vector_kwargs=mode, **options)
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
            actions = allowed(native.unwrapped.action_masks(), rng)
            for one, other in zip(native.step(actions), looped.step(actions), strict=True):
                assert_same(one, other)


@scenarios
def test_a_part_of_the_lanes_can_be_reset(name: str) -> None:
    native = lanes_of(name, 3)
    looped = SyncVectorEnv([lambda: scalar(name)] * 3, autoreset_mode="SameStep")
    native.reset(seed=1)
    looped.reset(seed=1)
    rng = np.random.default_rng(0)
    for seed in (None, 9, [4, 5, None]):
        for mask in ([True, False, True], [False, False, True]):
            actions = allowed(native.action_masks(), rng)
            for one, other in zip(native.step(actions), looped.step(actions), strict=True):
                assert_same(one, other)
            options = [{"reset_mask": np.array(mask)} for _ in range(2)]
            left, _ = native.reset(seed=seed, options=options[0])
            right, _ = looped.reset(seed=seed, options=options[1])
            np.testing.assert_array_equal(left, right)


def arrays(values: Any) -> list[np.ndarray]:
    """List every array in nested tuples and dictionaries."""
    if isinstance(values, np.ndarray):
        return [values]
    parts = values.values() if isinstance(values, dict) else values
    return [array for part in parts for array in arrays(part)]


@scenarios
def test_no_memory_is_ever_returned_twice(name: str) -> None:
    env, twin = lanes_of(name), lanes_of(name)
    rng = np.random.default_rng(0)
    returned: list[Any] = [env.reset(seed=0)]
    twin.reset(seed=0)
    for _ in range(12):
        masks = env.action_masks()
        actions = allowed(masks, rng)
        twin.step(actions)
        returned.append((*env.step(actions), masks, actions))
    found = [arrays(result) for result in returned]
    for index, mine in enumerate(found):
        others = [array for other in found[index + 1 :] for array in other]
        assert not any(np.shares_memory(a, b) for a in mine for b in others)
    for array in (array for result in found for array in result):
        array[...] = 0  # a user may do what they like with what they got
    for _ in range(5):
        actions = allowed(env.action_masks(), rng)
        for one, other in zip(env.step(actions), twin.step(actions), strict=True):
            assert_same(one, other)


@scenarios
def test_observations_stay_in_their_space(name: str) -> None:
    env = lanes_of(name, 32)
    rng = np.random.default_rng(2)
    observations, _ = env.reset(seed=3)
    for _ in range(80):
        assert env.observation_space.contains(observations)
        observations, *_, info = env.step(allowed(env.action_masks(), rng))
        if "final_obs" in info:
            assert env.observation_space.contains(info["final_obs"])


@scenarios
def test_lean_lanes_leave_out_names_alone(name: str) -> None:
    if name == LIVE:
        pytest.skip("its answers are its cost")
    full, lean = lanes_of(name), lanes_of(name, lean=True)
    for env in (full, lean):
        env.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = allowed(full.action_masks(), rng)
        expected, found = full.step(actions), lean.step(actions)
        for one, other in zip(expected[:4], found[:4], strict=True):
            np.testing.assert_array_equal(one, other)
        info = found[4]
        assert "query_id" not in info
        assert_same(info, {key: select(expected[4][key], info[key]) for key in info})


def select(full: Any, wanted: Any) -> Any:
    """The part of a nested info that another one has."""
    if not isinstance(wanted, dict):
        return full
    return {key: select(full[key], value) for key, value in wanted.items()}


@scenarios
@pytest.mark.parametrize("action", [-1, 10_000, 1.0, "accept", None, np.array([1])])
def test_refuses_actions(name: str, action: Any) -> None:
    env = scalar(name)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="must be an integer from 0 to"):
        env.step(action)
    env.step(np.int64(np.flatnonzero(env.action_masks())[0]))


@scenarios
def test_lanes_refuse_actions(name: str) -> None:
    env = lanes_of(name, 2)
    with pytest.raises(ResetNeeded):
        env.step([0, 0])
    env.reset(seed=0)
    first = int(np.flatnonzero(env.action_masks()[1])[0])
    for actions, message in (
        ([0], r"shape \(1,\)"),
        ([0.0, 0.0], "dtype float64"),
        ([first, 10_000], "action=10000 of lane 1 must be from 0 to"),
        ([-1, first], "action=-1 of lane 0"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)


@scenarios
def test_masks_are_fresh_and_honoured(name: str) -> None:
    env = scalar(name)
    rng = np.random.default_rng(0)
    for episode in range(5):
        env.reset(seed=episode)
        ended = False
        while not ended:
            masks = env.action_masks()
            assert masks.shape == (env.action_space.n,)
            assert masks.dtype == np.bool_
            assert masks.any()
            for action in np.flatnonzero(~masks):
                with pytest.raises(ValueError, match="is not allowed now"):
                    env.step(action)
            env.action_masks()[:] = False  # what a caller does with them changes nothing
            np.testing.assert_array_equal(env.action_masks(), masks)
            assert masks[[env.action_space.sample() for _ in range(20)]].all()
            *_, terminated, truncated, _ = env.step(allowed(masks[None], rng)[0])
            ended = terminated or truncated
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
            env.step(0)


@scenarios
def test_refuses_options(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown option 'colour'"):
        scalar(name, colour="red")
    with pytest.raises(ValueError, match="render_mode='human'"):
        scalar(name, render_mode="human")
    with pytest.raises(ValueError, match="num_envs=0"):
        lanes_of(name, 0)
    with pytest.raises(ValueError, match="render the scalar environment"):
        lanes_of(name, 2, render_mode="ansi")
    env = lanes_of(name, 2)
    with pytest.raises(ValueError, match="seed has 3 entries, not L = 2"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="leaves out lanes at the first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    for mask in ([True, True], np.array([1, 1]), np.array([False, False])):
        with pytest.raises(ValueError, match="must be a bool array with a True"):
            env.reset(options={"reset_mask": mask})


@scenarios
def test_rendering(name: str) -> None:
    env = scalar(name, render_mode="ansi")
    assert env.render() is None
    env.reset(seed=0)
    assert str(env.render()).startswith("new episode: ")
    action = int(np.flatnonzero(env.action_masks())[0])
    env.step(action)
    assert str(env.render()).startswith(f"{env.scenario.action_names[action]}: reward ")
    assert scalar(name).render() is None


@scenarios
def test_behind_stable_baselines(name: str) -> None:
    pytest.importorskip("stable_baselines3")
    from routing_gym.envs.scenario_sb3 import ScenarioVecEnv

    env, twin = ScenarioVecEnv(lanes_of(name)), lanes_of(name)
    env.seed(4)
    np.testing.assert_array_equal(env.reset(), twin.reset(seed=4)[0])
    returns, lengths = np.zeros(LANES), np.zeros(LANES, dtype=np.int64)
    rng = np.random.default_rng(0)
    finished = 0
    for _ in range(80):
        actions = allowed(env.action_masks(), rng)
        observations, rewards, dones, infos = env.step(actions)
        expected, raw, terminated, truncated, info = twin.step(actions)
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_array_equal(rewards, raw.astype(np.float32))
        assert rewards.dtype == np.float32
        np.testing.assert_array_equal(dones, terminated | truncated)
        np.testing.assert_array_equal(env.ended, dones)
        returns, lengths = returns + raw, lengths + 1
        for lane, each in enumerate(infos):
            if dones[lane]:
                last = info["final_obs"][lane]
                np.testing.assert_array_equal(each["terminal_observation"], last)
                assert each["episode"]["r"] == returns[lane]
                assert each["episode"]["l"] == lengths[lane]
                assert each["TimeLimit.truncated"] == (truncated[lane] and not terminated[lane])
            else:
                assert each == {}
        for quantity in env.env.scenario.quantities:
            values = env.last_step[quantity]
            source = info["final_info"] if dones.all() else info
            alive = ~dones if not dones.all() else dones
            np.testing.assert_array_equal(values[alive], source[quantity][alive])
            if dones.any():
                last = info["final_info"][quantity][dones]
                np.testing.assert_array_equal(values[dones], last)
        finished += int(dones.sum())
        returns[dones], lengths[dones] = 0.0, 0
    assert finished > 0
    assert len(env.env_method("action_masks", indices=[0, 2])) == 2
    assert env.get_attr("adapters", indices=1) == [TABLE.adapters]
    with pytest.raises(ValueError, match="the lanes share 'note'"):
        env.set_attr("note", "y", indices=0)


@scenarios
def test_a_step_has_no_loop_over_lanes(name: str) -> None:
    if name == LIVE:
        pytest.skip("it asks a pool")

    def cost(lanes: int) -> float:
        """CPU seconds per step, the best of several runs."""
        env = lanes_of(name, lanes)
        env.reset(seed=0)
        rng, best = np.random.default_rng(0), np.inf
        for _ in range(12):
            actions = allowed(env.action_masks(), rng)
            start = time.process_time()
            env.step(actions)
            best = min(best, time.process_time() - start)
        return float(best)

    # a loop would cost 1,000 times as much; arrays of this size cost far less
    assert cost(4000) < 100 * cost(4)


def test_stable_baselines_takes_no_vector_reward() -> None:
    pytest.importorskip("stable_baselines3")
    from routing_gym.envs.scenario_sb3 import ScenarioVecEnv

    env = ScenarioVecEnv(lanes_of(PREFERENCE, reward_kind="vector"))
    env.reset()
    with pytest.raises(ValueError, match="make the scenario with a scalar reward"):
        env.step(np.zeros(LANES, dtype=np.int64))


class Counting(Scenario):
    """Each lane counts its steps; the action must be the count modulo 2, the third is the last."""

    quantities = ("count",)
    state_names = ("count",)

    def __init__(self, data: RoutingData, *, stuck: bool = False) -> None:
        super().__init__(data)
        self.stuck = stuck
        self.require_costs("seconds")

    @property
    def observation_space(self) -> gym.spaces.Box:
        return self.box([0.0], [3.0])

    def allocate(self, lanes: int) -> None:
        self.num_lanes, self.count = lanes, np.zeros(lanes, dtype=np.int64)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        self.count[lanes] = 0

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        return self.join(np.zeros(len(lanes), dtype=np.int64), self.count[lanes, None])

    def masks(self) -> np.ndarray:
        masks = np.zeros((self.num_lanes, self.num_adapters), dtype=np.bool_)
        if not self.stuck:
            masks[np.arange(self.num_lanes), self.count % 2] = True
        return masks

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        self.count += 1
        ended = self.count == 3
        return Transition(
            self.count.astype(np.float64), np.zeros_like(ended), ended, {"count": self.count.copy()}
        )

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        return {}


class CountingEnv(ScenarioEnv):
    scenario_class = Counting


def test_a_scenario_by_hand() -> None:
    env = CountingEnv(TABLE)
    env.reset()
    first = TABLE.data("train").observations[0]
    rewards = []
    for action in (0, 1, 0):
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append((reward, terminated, truncated, info))
        np.testing.assert_array_equal(observation[:-1], first)
        assert observation[-1] == info["count"] == reward
    assert [reward for reward, *_ in rewards] == [1, 2, 3]
    assert [truncated for _, _, truncated, _ in rewards] == [False, False, True]
    assert not any(terminated for _, terminated, _, _ in rewards)


def test_masks_that_allow_nothing_and_forbidden_actions() -> None:
    env = CountingEnv(TABLE)
    env.reset()
    message = r"action=2 \(adapter_2\) of lane 0 is not allowed now: choose among adapter_0 "
    with pytest.raises(ValueError, match=message):
        env.step(2)
    stuck = CountingEnv(TABLE, stuck=True)
    stuck.reset()
    with pytest.raises(ValueError, match="lane 0 has no valid action"):
        stuck.step(0)


def test_an_option_close_to_a_known_one_is_named() -> None:
    with pytest.raises(ValueError, match="unknown option 'stck': known are stuck; did you mean"):
        CountingEnv(TABLE, stck=True)


def test_costs_must_have_been_measured() -> None:
    data = TABLE.data("train")
    with pytest.raises(ValueError, match=r"no measured 'seconds' \(it has \[\]\): collect it"):
        CountingEnv(data=replace(data, costs={}))
    for value in (np.nan, -1.0):
        seconds = data.costs["seconds"].copy()
        seconds[3, 1] = value
        with pytest.raises(ValueError, match=r"of query 'q\d+' with adapter 'adapter_1' is"):
            CountingEnv(data=replace(data, costs={"seconds": seconds}))


def test_joined_observations_are_the_same_for_tables_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, state = np.array([3, 1, 3]), np.arange(6.0).reshape(3, 2)
    small = Counting(TABLE.data("train"))
    joined = small.join(rows, state)
    monkeypatch.setattr("routing_gym.envs.scenario._JOIN_BYTES", 0)
    np.testing.assert_array_equal(Counting(TABLE.data("train")).join(rows, state), joined)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined[:, :-2], small.embeddings[rows])
    np.testing.assert_array_equal(joined[:, -2:], state)
    assert small.join(rows, state[:, :1]).shape[1] == joined.shape[1] - 1


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: require_count("slots", 1.0), "slots=1.0 is a float: give a whole number"),
        (lambda: require_count("slots", True), "slots=True is a bool"),
        (lambda: require_count("slots", "2"), "slots='2' is a str"),
        (lambda: require_count("slots", 0), "slots=0 is impossible here: give at least 1"),
        (lambda: require_count("slots", 5, most=4), "slots=5 is impossible here: give 1 to 4"),
        (lambda: require_number("beta", "x"), "beta='x' is a str: give a number"),
        (lambda: require_number("beta", False), "beta=False is a bool"),
        (lambda: require_number("beta", -0.1), "give a number at least 0.0"),
        (lambda: require_number("beta", 2, high=1), "at least 0.0 and at most 1"),
        (lambda: require_number("beta", 0, open_low=True), "give a number above 0.0"),
        (lambda: require_number("beta", float("nan")), "beta=nan is impossible here"),
    ],
)
def test_wrong_options(check: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check()


def test_right_options() -> None:
    assert require_count("slots", np.int64(3), most=3) == 3
    assert require_number("beta", 1) == 1.0
    assert isinstance(require_number("beta", np.float32(0.5)), float)
