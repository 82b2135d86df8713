"""Drift-v0: what happens to the pool, when, what is told of it, and how the mix shifts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.envs.data import RoutingData
from routing_gym.envs.drift import DriftEnv, DriftVectorEnv
from routing_gym.envs.drift_options import changes_of
from tests.synthetic import identity_table

TABLE = identity_table(n=60, k=4, d=8)
VALUES = [[0.9, 0.5, 0.2]]
NOON = (0.5, 0.5)


def by_hand(**more: Any) -> RoutingData:
    """One query, whose answers are worth .9, .5 and .2."""
    made = RoutingData(
        adapters=("a", "b", "c"),
        observations=np.array([[0.75, 0.5, 0.25]], dtype=np.float32),
        rewards=np.array(VALUES, dtype=np.float32),
        accuracy=np.array([[1, 0, 0]], dtype=np.float32),
        query_ids=np.array(["q"]),
        tasks=np.array(["t"]),
        domains=np.array(["d"]),
        complexity=np.array([1]),
    )
    return replace(made, **more)


def env_of(**options: Any) -> DriftEnv:
    return DriftEnv(**({"data": by_hand(), "length": 4, "window": NOON} | options))


def lanes_of(lanes: int = 600, **options: Any) -> DriftVectorEnv:
    return DriftVectorEnv(lanes, **({"data": by_hand(), "length": 4, "window": NOON} | options))


def state_of(env: DriftEnv, observation: np.ndarray) -> dict[str, float]:
    width = env.scenario.embeddings.shape[1]
    return dict(zip(env.scenario.state_names, observation[width:].tolist(), strict=True))


def shown(**entries: float) -> dict[str, float]:
    names = [f"{group}_{name}" for group in ("residual", "heard") for name in "abc"]
    present = {f"available_{name}": 1.0 for name in "abc"}
    return dict.fromkeys(names, 0.0) | present | entries


def test_feedback_by_hand() -> None:
    env = env_of(events=["none"], smoothing=0.5)
    observation, info = env.reset(seed=0)
    assert info == {"query_id": "q", "task": "t", "domain": "d", "complexity": 1}
    assert state_of(env, observation) == shown(left=1)
    observation, reward, *_, info = env.step(1)
    assert reward == pytest.approx(0.5)
    assert (info["oracle_reward"], info["regret"]) == pytest.approx((0.9, 0.4))
    assert (info["accuracy"], info["drifted"], info["chose_changed"]) == (0, 0, 0)
    assert state_of(env, observation) == pytest.approx(
        shown(residual_b=0.25, heard_b=0.25, left=0.75)
    )
    observation, *_ = env.step(1)
    expected = shown(residual_b=0.375, heard_b=0.5, left=0.5)
    assert state_of(env, observation) == pytest.approx(expected)
    observation, *_ = env.step(0)
    expected |= {"residual_a": 0.45, "heard_a": 0.25, "left": 0.25}
    assert state_of(env, observation) == pytest.approx(expected)
    *_, terminated, truncated, _ = env.step(2)
    assert (terminated, truncated) == (True, False)
    assert state_of(env, env.reset()[0]) == shown(left=1)


def test_feedback_can_come_late() -> None:
    env = env_of(events=["none"], smoothing=1.0, delay=2)
    env.reset(seed=0)
    for action in (0, 1):
        observation, *_ = env.step(action)
        assert state_of(env, observation)["heard_a"] == 0
    observation, *_ = env.step(1)
    state = state_of(env, observation)
    assert (state["residual_a"], state["heard_a"]) == pytest.approx((0.9, 0.25))
    assert state["heard_b"] == 0
    observation, *_ = env.step(1)
    assert state_of(env, observation)["residual_b"] == pytest.approx(0.5)
    observation, _ = env.reset()
    observation, *_ = env.step(2)  # nothing of the last episode arrives in this one
    assert state_of(env, observation) == pytest.approx(shown(left=0.75))


@pytest.mark.parametrize("expected", ["observations", np.array([[0.75, 0.5, 0.25]])])
def test_feedback_less_what_was_expected(expected: Any) -> None:
    env = env_of(events=["none"], smoothing=1.0, expected=expected)
    env.reset(seed=0)
    observation, *_ = env.step(0)
    assert state_of(env, observation)["residual_a"] == pytest.approx(0.15)
    observation, *_ = env.step(2)
    assert state_of(env, observation)["residual_c"] == pytest.approx(-0.05)


def test_an_adapter_degrades() -> None:
    env = lanes_of(events=["degrade"])
    env.reset(seed=0)
    scenario = env.scenario
    assert (scenario.event_time == 2).all()
    pairs = {tuple(pair) for pair in scenario.event_pair.tolist()}
    assert pairs == {(0, 1), (0, 2)}  # the others are best on no query
    for step in range(4):
        before = scenario.columns.copy()
        worse = np.array(VALUES[0])[scenario.event_pair[:, 1]]
        _, rewards, _, _, info = env.step(np.zeros(600, dtype=np.int64))
        np.testing.assert_allclose(rewards, worse if step >= 2 else 0.9, rtol=1e-6)
        if step < 3:
            assert (info["drifted"] == (step >= 2)).all()
            assert (info["chose_changed"] == (step >= 2)).all()
        assert (before[:, 1:] == [1, 2]).all()


def test_two_adapters_are_exchanged() -> None:
    env = lanes_of(events=["exchange"], data=by_hand(rewards=np.float32([[0.9, 0.5, 0.2]])))
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros(600, dtype=np.int64))
    found = {tuple(row) for row in env.scenario.columns.tolist()}
    assert found == {(1, 0, 2), (2, 1, 0), (0, 2, 1)}
    best = env.scenario.columns.argmin(axis=1)  # where the answers of "a" have gone
    _, rewards, _, _, info = env.step(best)
    np.testing.assert_allclose(rewards, 0.9, rtol=1e-6)
    assert (info["regret"] == 0).all()
    assert (info["accuracy"] == 1).all()


def test_a_new_adapter_appears() -> None:
    env = lanes_of(events=["appear"])
    observations, _ = env.reset(seed=0)
    missing = env.scenario.event_pair[:, 0]
    assert set(missing.tolist()) == {0, 1, 2}
    lanes = np.arange(600)
    for step in range(4):
        masks = env.action_masks()
        expected = np.ones((600, 3), dtype=bool)
        expected[lanes, missing] = step >= 2
        np.testing.assert_array_equal(masks, expected)
        np.testing.assert_array_equal(observations[:, 9:12], expected)
        if step == 0:
            with pytest.raises(ValueError, match="not allowed now: choose among"):
                env.step(missing)
        observations, *_, info = env.step(masks.argmax(axis=1))
        if step < 2:  # the oracle does not know of it either
            best = np.where(expected, VALUES, 0).max(axis=1)
            np.testing.assert_allclose(info["oracle_reward"], best, rtol=1e-6)


def test_events_and_times_are_drawn() -> None:
    env = lanes_of(lanes=3000, length=100, window=(0.2, 0.6))
    env.reset(seed=0)
    shares = np.bincount(env.scenario.event_kind) / 3000
    assert env.scenario.events == ("exchange", "exchange", "degrade", "appear")
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    times = env.scenario.event_time
    assert 20 <= times.min() <= 22
    assert 58 <= times.max() <= 60
    assert times.mean() == pytest.approx(40.5, abs=1)


def test_nothing_is_told_of_the_change() -> None:
    """Until feedback arrives, a lane with the event looks like one without."""
    options = {"data": TABLE.data("train"), "length": 20, "window": (0.0, 0.0), "delay": 20}
    quiet = DriftVectorEnv(32, events=["none"], **options)
    drifted = DriftVectorEnv(32, events=["exchange"], **options)
    np.testing.assert_array_equal(quiet.reset(seed=4)[0], drifted.reset(seed=4)[0])
    differ = False
    for step in range(20):
        actions = np.arange(32) % 4
        one, other = quiet.step(actions), drifted.step(actions)
        differ |= bool((one[1] != other[1]).any())
        if step < 19:
            np.testing.assert_array_equal(one[0], other[0])
    assert differ


@pytest.mark.parametrize("mix", ["piecewise", "continuous"])
def test_the_mix_shifts(mix: str) -> None:
    env = DriftVectorEnv(1500, TABLE, mix=mix, phases=3, length=40)
    scenario, lanes = env.scenario, np.arange(1500)
    env.reset(seed=0)
    path = []
    for _ in range(40):
        path.append(scenario.mix_now(lanes))
        env.step(scenario.masks().argmax(axis=1))
    mixes = np.array(path)  # (T, L, C)
    np.testing.assert_allclose(mixes.sum(axis=2), 1)
    np.testing.assert_allclose(mixes.mean(axis=(0, 1)), 0.25, atol=0.02)
    steps = np.abs(np.diff(mixes, axis=0)).sum(axis=2)
    if mix == "piecewise":
        assert set((steps > 0).sum(axis=0).tolist()) <= {0, 1, 2}
        # One uniform component of a 4-simplex has variance 3/80.
        assert mixes[0, :, 0].var() == pytest.approx(3 / 80, abs=0.005)
    else:
        assert (steps > 0).all()
        assert steps.max() < 2 * 2 / 40 + 1e-9


def test_queries_follow_the_mix() -> None:
    data = TABLE.data("train")
    env = DriftVectorEnv(500, data=data, phases=1, length=50, events=["none"])
    env.reset(seed=0)
    shares = env.scenario.mixes[:, 0].copy()
    seen = np.zeros_like(shares)
    for _ in range(50):
        seen[np.arange(500), env.scenario.topics.of_query[env.scenario.rows]] += 1 / 50
        env.step(np.zeros(500, dtype=np.int64))
    assert np.abs(seen - shares).mean() < 0.06
    assert np.abs((seen - shares).mean(axis=0)).max() < 0.01


def test_whom_a_change_can_hit() -> None:
    values = np.array([[0.9, 0.5, 0.5], [0.1, 0.7, 0.7]])
    assert changes_of(values, "degrade").tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]
    assert changes_of(values, "exchange").tolist() == [[0, 1], [0, 2]]
    assert changes_of(values, "appear").tolist() == [[0, 0], [1, 1], [2, 2]]
    for event in ("degrade", "exchange"):
        with pytest.raises(ValueError, match=f"event '{event}' changes nothing here"):
            changes_of(np.ones((2, 3)), event)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 0}, "length=0 is impossible"),
        ({"length": "4"}, "length='4' is a str: give a whole number"),
        ({"mix": "smooth"}, "mix='smooth' must be one of piecewise, continuous"),
        ({"phases": 0}, "phases=0 is impossible here: give 1 to 4"),
        ({"phases": 5}, "phases=5 is impossible here: give 1 to 4"),
        ({"events": []}, "must be a list out of degrade, exchange"),
        ({"events": "degrade"}, "must be a list out of"),
        ({"events": ["break"]}, "holds 'break'"),
        ({"window": (0.6, 0.2)}, "ends before it begins"),
        ({"window": (0.0, 1.1)}, r"window\[1\]=1.1 is impossible"),
        ({"window": 0.5}, "must be two shares"),
        ({"window": ("0", 1)}, r"window\[0\]='0' is a str"),
        ({"delay": -1}, "delay=-1 is impossible here: give at least 0"),
        ({"delay": 1.0}, "delay=1.0 is a float"),
        ({"smoothing": 0}, "smoothing=0 is impossible here: give a number above 0.0"),
        ({"smoothing": 1.5}, "smoothing=1.5 is impossible"),
        ({"expected": "rewards"}, "expected='rewards' must be 'observations'"),
        ({"expected": np.ones((2, 3))}, r"expected has shape \(2, 3\)"),
        ({"expected": np.full((1, 3), np.nan)}, "give finite numbers"),
        ({"event": ["none"]}, "unknown option 'event': .* did you mean 'events'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        env_of(**options)


def test_observations_too_narrow_for_predictions() -> None:
    narrow = by_hand(observations=np.ones((1, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="first K = 3 observation entries are predictions"):
        env_of(data=narrow, expected="observations")
