"""Preference-v0: weights that come with the query, one number or a vector of metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from routing_gym.envs import PREFERENCE
from routing_gym.envs.data import RoutingData
from routing_gym.envs.preference import PreferenceEnv, PreferenceVectorEnv
from routing_gym.envs.preference_metrics import CEILINGS, draw_weights, metric_values
from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table

LANES = 5


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=80, k=4, d=8)


@pytest.fixture
def data() -> RoutingData:
    """Two queries, two adapters: the first is good and dear, the second poor and free."""
    return RoutingData(
        adapters=("good", "cheap"),
        observations=np.eye(2, 3, dtype=np.float32),
        rewards=np.zeros((2, 2), dtype=np.float32),
        accuracy=np.array([[1, 0], [1, 0]], dtype=np.float32),
        query_ids=np.array(["a", "b"]),
        tasks=np.array(["t", "t"]),
        domains=np.array(["d", "d"]),
        complexity=np.ones(2, dtype=np.int64),
        scores={
            "quality": np.array([[0.75, 0.25], [1.0, 0.5]], dtype=np.float32),
            "tokens": np.array([[0.25, 0.125], [1.0, 0.0]], dtype=np.float32),
        },
        costs={"completion_tokens": np.array([[20, 5], [40, 0]], dtype=np.float32)},
    )


def test_metrics_by_hand(data: RoutingData) -> None:
    values = metric_values(data, ("quality", "tokens"))
    assert CEILINGS["tokens"] == 0.5
    assert values[0].tolist() == [[0.75, 0.5], [0.25, 0.75]]
    assert values[1].tolist() == [[1.0, 0.0], [0.5, 1.0]]  # cut at the ceiling
    plain = metric_values(data, ("quality", "tokens"), ceilings={"tokens": 1})
    assert plain[0, :, 1].tolist() == [0.75, 0.875]
    measured = metric_values(
        data, ("accuracy", "completion_tokens"), ceilings={"completion_tokens": 40}
    )
    assert measured[0].tolist() == [[1.0, 0.5], [0.0, 0.875]]
    turned = metric_values(data, ("quality", "tokens"), directions={"tokens": "higher"})
    assert turned[0, :, 1].tolist() == [0.25, 0.125]


@pytest.mark.parametrize("weights", [(3, 1), {"quality": 0.75, "tokens": 0.25}])
def test_the_reward_is_the_weighted_sum(data: RoutingData, weights: Any) -> None:
    env = PreferenceEnv(data=data, metrics=("quality", "tokens"), weights=weights)
    observation, info = env.reset(seed=0)
    row = ["a", "b"].index(info["query_id"])
    assert observation.tolist() == [*np.eye(2, 3)[row], 0.75, 0.25]
    assert info["weights"] == {"quality": 0.75, "tokens": 0.25}
    assert env.scenario.state_names == ("weight_quality", "weight_tokens")
    values = metric_values(data, ("quality", "tokens"))[row]
    worth = values @ [0.75, 0.25]
    last, reward, terminated, truncated, info = env.step(1)
    assert reward == info["scalar_reward"] == worth[1]
    assert info["oracle_reward"] == worth.max()
    assert info["regret"] == worth.max() - worth[1]
    assert info["metrics"] == dict(zip(("quality", "tokens"), values[1].tolist(), strict=True))
    assert (terminated, truncated) == (True, False)
    assert last.tolist() == observation.tolist()
    with pytest.raises(ResetNeeded):
        env.step(1)


def test_the_vector_reward_is_the_metrics(data: RoutingData) -> None:
    options: dict[str, Any] = {"data": data, "metrics": ("quality", "tokens")}
    env = gym.make(PREFERENCE, reward_kind="vector", disable_env_checker=True, **options)
    plain = PreferenceEnv(**options)
    space = env.unwrapped.reward_space
    assert isinstance(space, gym.spaces.Box)
    assert space.shape == (2,) == (env.unwrapped.reward_dim,)
    assert plain.reward_space.shape == ()
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        assert plain.reset(seed=seed)[0].tolist() == observation.tolist()
        _, reward, *_, info = env.step(seed % 2)
        scalar = plain.step(seed % 2)[1]
        assert isinstance(reward, np.ndarray)
        assert space.contains(reward)
        assert reward.tolist() == list(info["metrics"].values())
        assert reward @ observation[-2:].astype(float) == pytest.approx(scalar, abs=1e-12)
        assert info["scalar_reward"] == scalar


def test_vector_rewards_of_many_lanes(table: OutcomeTable) -> None:
    options: dict[str, Any] = {"table": table, "reward_kind": "vector"}
    lanes = gym.make_vec(PREFERENCE, LANES, **options).unwrapped
    assert isinstance(lanes, PreferenceVectorEnv)
    assert (lanes.reward_space.shape, lanes.reward_dim) == ((3,), 3)
    alone = [PreferenceEnv(**options) for _ in range(LANES)]
    observations, _ = lanes.reset(seed=3)
    rows = [env.reset(seed=3 + i)[0] for i, env in enumerate(alone)]
    rng = np.random.default_rng(0)
    for _ in range(8):
        np.testing.assert_array_equal(observations, rows)
        actions = rng.integers(4, size=LANES)
        observations, rewards, *_ = lanes.step(actions)
        own = np.array([env.step(a)[1] for env, a in zip(alone, actions, strict=True)])
        assert rewards.shape == (LANES, 3)
        assert rewards.tolist() == own.tolist()
        rows = [env.reset()[0] for env in alone]
        rewards[:] = -1  # the caller's own
    assert (lanes.scenario.values >= 0).all()


def test_lanes_equal_gymnasiums(table: OutcomeTable) -> None:
    native = gym.make_vec(PREFERENCE, LANES, table=table, concentration=0.5)
    looped = SyncVectorEnv(
        [lambda: PreferenceEnv(table, concentration=0.5)] * LANES,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    rng = np.random.default_rng(1)
    np.testing.assert_array_equal(native.reset(seed=5)[0], looped.reset(seed=5)[0])
    for _ in range(10):
        actions = rng.integers(4, size=LANES)
        ours, theirs = native.step(actions), looped.step(actions)
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(one, other)
        for name in ("regret", "scalar_reward", "query_id"):
            left, right = (final["final_info"][name].tolist() for final in (ours[4], theirs[4]))
            assert left == right


def test_both_checkers_take_the_scalar_reward(table: OutcomeTable) -> None:
    env = gym.make(PREFERENCE, table=table)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_for_sb3(env.unwrapped)


@pytest.mark.parametrize("concentration", [0.02, 0.5, 1.0, 4.0, [0.3, 1.0, 6.0]])
def test_weights_follow_the_dirichlet(concentration: Any) -> None:
    count = 20_000
    streams = LaneStreams(count)
    streams.seed(0)
    parameters = np.broadcast_to(concentration, 3).astype(float)
    weights = draw_weights(np.arange(count), streams, parameters)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    total = parameters.sum()
    mean = parameters / total
    np.testing.assert_allclose(weights.mean(axis=0), mean, atol=0.015)
    np.testing.assert_allclose(
        weights.var(axis=0), mean * (1 - mean) / (total + 1), atol=0.01, rtol=0.05
    )


def test_new_weights_with_every_query_and_the_same_with_the_same_seed(table: OutcomeTable) -> None:
    env = PreferenceEnv(table)
    first = [env.reset(seed=4)[0][-3:].tolist()] + [env.reset()[0][-3:].tolist() for _ in range(5)]
    again = [env.reset(seed=4)[0][-3:].tolist()] + [env.reset()[0][-3:].tolist() for _ in range(5)]
    assert first == again
    assert len({tuple(weights) for weights in first}) == 6


def test_mo_gymnasiums_wrappers_take_it(table: OutcomeTable) -> None:
    wrappers = pytest.importorskip("mo_gymnasium.wrappers")
    env: Any = PreferenceEnv(table, reward_kind="vector")
    recorded = wrappers.MORecordEpisodeStatistics(env, gamma=0.9)
    recorded.reset(seed=0)
    _, reward, *_, info = recorded.step(0)
    np.testing.assert_allclose(info["episode"]["r"], reward, rtol=1e-6)
    linear = wrappers.LinearReward(env, weight=np.array([0.5, 0.25, 0.25]))
    linear.reset(seed=0)
    assert linear.step(0)[1] == pytest.approx(reward @ [0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "quality"}, "metrics='quality' must be a sequence of at least two"),
        ({"metrics": ("quality",)}, "at least two names"),
        ({"metrics": 3}, "metrics=3 must be a sequence"),
        ({"metrics": ("quality", "quality")}, "must be different"),
        ({"metrics": ("quality", "speed")}, "metric 'speed' is not in the data.*quality"),
        ({"metrics": ("quality", "completion_tokens")}, "measured cost: set its ceiling, e.g."),
        ({"ceilings": {"quality": 1}}, "'quality', which is no metric of costs"),
        ({"ceilings": {"token": 1}}, "'token', which is no metric of costs"),
        ({"ceilings": {"tokens": 0}}, r"ceilings\['tokens'\]=0.*above 0"),
        ({"ceilings": {"tokens": "1"}}, r"ceilings\['tokens'\]='1' is a str"),
        ({"ceilings": 2.0}, "ceilings=2.0 is a float"),
        ({"directions": {"tokens": "up"}}, "directions.*'up' must be in"),
        ({"concentration": 0}, "concentration=0 is impossible.*above 0"),
        ({"concentration": "even"}, "concentration='even' is a str"),
        ({"concentration": (1, 2)}, "must be 3 numbers, one per metric"),
        ({"concentration": (1, 2, -1)}, "must be positive throughout"),
        ({"concentration": (1, 2, np.inf)}, "must be finite"),
        ({"weights": (1, 2)}, "must be 3 numbers, one per metric"),
        ({"weights": (1, 2, -1)}, "must not be negative"),
        ({"weights": (0, 0, 0)}, "one must be above 0"),
        ({"weights": (1, np.nan, 0)}, "must be finite"),
        ({"weights": {"speed": 1}}, "weights names 'speed'"),
        ({"weights": (1, 1, 1), "concentration": 2}, "give one of the two"),
        ({"reward_kind": "both"}, "reward_kind='both' must be one of"),
        ({"metric": ("quality", "tokens")}, "unknown option 'metric'.*did you mean 'metrics'"),
    ],
)
def test_wrong_options(table: OutcomeTable, options: dict[str, Any], message: str) -> None:
    for make in (PreferenceEnv, lambda **own: PreferenceVectorEnv(2, **own)):
        with pytest.raises(ValueError, match=message):
            make(table=table, **options)


def test_wrong_columns(data: RoutingData) -> None:
    broken = replace(data, scores={**data.scores, "quality": data.scores["quality"] * 3})
    with pytest.raises(ValueError, match="metric 'quality' holds impossible values"):
        metric_values(broken, ("quality", "tokens"))
    unknown = replace(data, scores={**data.scores, "wit": data.scores["quality"]})
    with pytest.raises(ValueError, match=r"say directions=.*'wit'"):
        metric_values(unknown, ("wit", "tokens"))
    said = metric_values(unknown, ("wit", "tokens"), directions={"wit": "higher"})
    np.testing.assert_array_equal(said, metric_values(data, ("quality", "tokens")))


def test_wrong_actions(table: OutcomeTable) -> None:
    env = PreferenceEnv(table)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action=4 must be an integer from 0 to 3"):
        env.step(4)
