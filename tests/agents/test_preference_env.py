from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.preference_env import PreferenceVecEnv, with_preference
from routing_gym.agents.trade_off import TradeOff, preference_rewards
from routing_gym.envs.sb3 import RoutingVecEnv
from tests.agents.problems import identity

LANES = 50


def environment(*, concentration: float = 1.0, lanes: int = LANES) -> PreferenceVecEnv:
    data = identity("train")
    env = PreferenceVecEnv(
        lanes,
        data=data,
        trade_off=TradeOff.fit(data, quality="", costs=(), quantile=0.9),
        concentration=concentration,
        rng=np.random.default_rng(0),
    )
    env.seed(3)
    return env


def test_observes_the_queries_of_the_plain_environment_and_a_preference() -> None:
    env, plain = environment(), RoutingVecEnv(LANES, data=identity("train"))
    plain.seed(3)
    seen, expected = env.reset(), plain.reset()
    for _ in range(3):
        assert seen.shape == (LANES, 17)
        assert seen.dtype == np.float32
        assert all(env.observation_space.contains(row) for row in seen)
        np.testing.assert_array_equal(seen[:, :-1], expected)
        actions = np.arange(LANES) % 4
        seen, expected = env.step(actions)[0], plain.step(actions)[0]


def test_pays_by_the_preference_that_was_seen() -> None:
    env, data = environment(), identity("train")
    seen = env.reset()
    actions = np.random.default_rng(1).integers(4, size=LANES)
    _, rewards, dones, infos = env.step(actions)
    rows = [int(np.flatnonzero((data.observations == o[:-1]).all(axis=1))[0]) for o in seen]
    quality, cost = TradeOff.fit(data, quality="", costs=(), quantile=0.9).columns(data)
    worth = preference_rewards(quality[rows], cost[rows], preference=seen[:, -1])
    np.testing.assert_allclose(rewards, worth[np.arange(LANES), actions], atol=1e-6)
    np.testing.assert_allclose(env.last_step["oracle_reward"], worth.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(env.last_step["regret"], worth.max(axis=1) - rewards, atol=1e-6)
    np.testing.assert_array_equal(env.last_step["preference"].astype(np.float32), seen[:, -1])
    np.testing.assert_array_equal(env.last_step["accuracy"], data.accuracy[rows, actions])
    assert dones.all()
    for lane, info in enumerate(infos):
        np.testing.assert_array_equal(info["terminal_observation"], seen[lane])
        assert info["episode"]["r"] == pytest.approx(rewards[lane], abs=1e-6)


@pytest.mark.parametrize(("concentration", "variance"), [(1.0, 1 / 12), (0.2, 0.25 / 1.4)])
def test_preferences_follow_their_distribution(concentration: float, variance: float) -> None:
    drawn = environment(concentration=concentration, lanes=20_000).reset()[:, -1]
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.var() == pytest.approx(variance, rel=0.05)


def test_appends_preferences() -> None:
    observations = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    np.testing.assert_array_equal(with_preference(observations, 0.5), [[1, 2, 0.5], [3, 4, 0.5]])
    each = with_preference(observations, np.array([0.0, 1.0]))
    np.testing.assert_array_equal(each, [[1, 2, 0], [3, 4, 1]])
    assert each.dtype == np.float32
    with pytest.raises(ValueError, match=r"preference=2.0 is outside \[0, 1\]"):
        with_preference(observations, 2.0)
