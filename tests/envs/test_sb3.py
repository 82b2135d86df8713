"""The adapter to Stable-Baselines3 gives the same trajectories, and SB3 learns on it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from routing_gym.envs.routing_vector import RoutingVectorEnv
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize  # noqa: E402

from routing_gym.envs.sb3 import RoutingVecEnv  # noqa: E402

LANES = 5


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=60, k=4, d=8)


def test_trajectories_equal_the_vector_environments(table: OutcomeTable) -> None:
    env, twin = RoutingVecEnv(LANES, table), RoutingVectorEnv(LANES, table)
    env.seed(4)
    np.testing.assert_array_equal(env.reset(), twin.reset(seed=4)[0])
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = rng.integers(4, size=LANES)
        observations, rewards, dones, infos = env.step(actions)
        expected, raw, _, _, info = twin.step(actions)
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_array_equal(rewards, raw.astype(np.float32))
        assert rewards.dtype == np.float32
        assert dones.all()
        final = info["final_info"]
        for lane, each in enumerate(infos):
            np.testing.assert_array_equal(each["terminal_observation"], info["final_obs"][lane])
            assert each["episode"]["r"] == raw[lane]
            assert each["episode"]["l"] == 1
        np.testing.assert_array_equal(env.last_step["action"], actions)
        np.testing.assert_array_equal(env.last_step["regret"], final["regret"])
        np.testing.assert_array_equal(env.last_step["relevance"], final["scores"]["relevance"])
        np.testing.assert_array_equal(env.last_step["accuracy"], final["accuracy"])
        np.testing.assert_array_equal(env.last_step["cost_seconds"], final["cost"]["seconds"])


def test_resets_continue_until_seeded(table: OutcomeTable) -> None:
    env = RoutingVecEnv(LANES, table)
    env.seed(4)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    env.seed(4)
    np.testing.assert_array_equal(env.reset(), first)


def test_vec_env_interface(table: OutcomeTable) -> None:
    env = RoutingVecEnv(data=table.data("train"), num_envs=LANES)
    assert env.num_envs == LANES
    assert env.adapters == table.adapters
    assert env.action_masks().shape == (LANES, 4)
    assert np.array(env.env_method("action_masks")).tolist() == [[True] * 4] * LANES
    assert len(env.env_method("action_masks", indices=[0, 2])) == 2
    assert env.get_attr("adapters", indices=1) == [table.adapters]
    assert env.env_is_wrapped(Monitor) == [True] * LANES
    assert env.env_is_wrapped(VecMonitor) == [False] * LANES
    env.set_attr("note", "x")
    assert env.get_attr("note") == ["x"] * LANES
    with pytest.raises(ValueError, match="the lanes share 'note'"):
        env.set_attr("note", "y", indices=0)
    env.close()


def test_sb3_wrappers_accept_it(table: OutcomeTable) -> None:
    env = VecNormalize(RoutingVecEnv(LANES, table))
    env.reset()
    *_, infos = env.step(np.zeros(LANES, dtype=np.int64))
    assert infos[0]["episode"]["l"] == 1


def test_ppo_learns_the_identity_problem(table: OutcomeTable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = RoutingVecEnv(256, table, reward={"accuracy": 1.0})
        model = sb3.PPO(
            "MlpPolicy", env, n_steps=1, batch_size=128, learning_rate=3e-3, seed=0, device="cpu"
        )
        model.learn(256 * 40)
        test = RoutingVecEnv(200, table, split="test", reward={"accuracy": 1.0})
        rewards, _ = evaluate_policy(model, test, n_eval_episodes=200, return_episode_rewards=True)
    assert np.mean(rewards) > 0.95
