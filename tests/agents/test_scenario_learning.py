"""What PPO needs beside itself: returns by hand, a common scale, imitation, the best weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from routing_gym.agents.cascade_rules import CascadeGreedy
from routing_gym.agents.curves import CurveLog
from routing_gym.agents.ppo_network import actor_probabilities
from routing_gym.agents.scenario_learning import (
    KeepBest,
    Play,
    ScaledRewards,
    Standardised,
    imitate,
    returns_to_go,
)
from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.agents.seeding import isolated_seed
from routing_gym.envs.scenario_sb3 import ScenarioVecEnv
from tests.agents.scenarios import budget_lanes, cascade_lanes

SETTINGS = {"num_envs": 8, "steps_per_update": 8, "batch_size": 32, "total_steps": 64}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated_seed(0):
        yield


def test_returns_to_go_by_hand() -> None:
    rewards = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    ended = np.array([[False, False], [True, False], [False, True]])
    found = returns_to_go(rewards, ended, discount=0.5)
    np.testing.assert_allclose(found[:, 1], [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4])
    np.testing.assert_allclose(found[:2, 0], [2.0, 2.0])
    assert np.isnan(found[2, 0])  # that episode has not ended


def test_rewards_are_scaled_and_nothing_else() -> None:
    plain, scaled = ScenarioVecEnv(budget_lanes(4)), ScenarioVecEnv(budget_lanes(4))
    wrapped = ScaledRewards(scaled, scale=0.25)
    plain.seed(3)
    scaled.seed(3)
    np.testing.assert_array_equal(plain.reset(), wrapped.reset())
    actions, earned = np.zeros(4, dtype=np.int64), 0.0
    for _ in range(3):
        seen, rewards, dones, _ = plain.step(actions)
        also, less, ends, _ = wrapped.step(actions)
        np.testing.assert_array_equal(seen, also)
        np.testing.assert_allclose(less, rewards * 0.25)
        np.testing.assert_array_equal(dones, ends)
        earned += float(rewards.sum())
    assert earned > 0


def test_observations_are_standardised_and_clipped() -> None:
    extractor = Standardised(spaces.Box(-10, 10, (3,), np.float32))
    seen = np.array([[0.0, 2.0, 5.0], [2.0, 6.0, 5.0]], dtype=np.float32)
    extractor.settle(seen)
    np.testing.assert_allclose(
        extractor(torch.as_tensor(seen)).numpy(), [[-1, -1, 0], [1, 1, 0]], atol=1e-6
    )
    far = extractor(torch.tensor([[1000.0, -1000.0, 5.0]]))
    assert far.tolist() == [[5.0, -5.0, 0.0]]


def test_a_play_is_what_the_teacher_did() -> None:
    env = ScenarioVecEnv(cascade_lanes(6))
    env.seed(0)
    rng = np.random.default_rng(0)
    play = Play(env, steps=7, rng=rng, teacher=CascadeGreedy())
    lanes = np.arange(6)
    assert play.masks[np.arange(7)[:, None], lanes, play.actions].all()
    # greedy takes one adapter, then accepts
    assert (play.actions[1::2] == 4).all()
    assert (play.actions[::2] < 4).all()
    paid = play.returns[1::2] - play.returns[:-1:2]  # what accepting brings, less the episode's
    assert (paid > 0).all()
    assert (paid < 0.1).all()
    assert np.isnan(play.returns[-1]).all()


def test_a_play_without_a_teacher_takes_what_is_allowed() -> None:
    env = ScenarioVecEnv(cascade_lanes(6))
    play = Play(env, steps=40, rng=np.random.default_rng(0))
    taken = np.take_along_axis(play.masks, play.actions[:, :, None], axis=2)
    assert taken.all()
    assert len(np.unique(play.actions)) == 5


def test_imitation_does_what_the_teacher_does() -> None:
    agent = ScenarioPPO(num_envs=32, steps_per_update=8, batch_size=64, total_steps=256)
    env = ScenarioVecEnv(cascade_lanes(32))
    policy = agent._model(ScaledRewards(env, scale=1.0)).policy
    env.seed(0)
    play = Play(env, steps=40, rng=np.random.default_rng(0), teacher=CascadeGreedy())
    flat = play.observations.reshape(-1, play.observations.shape[-1])
    masks = play.masks.reshape(-1, play.masks.shape[-1])

    def agreement() -> float:
        chosen = actor_probabilities(policy, flat, mask=masks).argmax(axis=1)
        return float((chosen == play.actions.ravel()).mean())

    before = agreement()
    imitate(policy, play, steps=300, batch_size=256, learning_rate=3e-3, scale=1.0)
    assert before < 0.9
    assert agreement() > 0.97
    # other actions are left some probability
    smallest = np.where(masks, actor_probabilities(policy, flat, mask=masks), 1.0).min()
    assert smallest > 1e-4
    known = np.isfinite(play.returns)
    with torch.no_grad():
        values = policy.predict_values(torch.as_tensor(play.observations[known])).numpy().ravel()
    assert np.corrcoef(values, play.returns[known])[0, 1] > 0.5


def test_the_best_weights_are_kept() -> None:
    """Measured before the first update and after every second; the third time is the best."""
    agent = ScenarioPPO(**SETTINGS)
    env = ScenarioVecEnv(budget_lanes(8))
    model: Any = agent._model(ScaledRewards(env, scale=1.0))
    returns = iter([0.1, 0.3, 0.7, 0.2])
    seen: list[dict[str, torch.Tensor]] = []

    def measure() -> dict[str, float]:
        seen.append({k: v.clone() for k, v in model.policy.state_dict().items()})
        return {"return": next(returns), "refused": 0.5}

    curves = CurveLog(None)
    best = KeepBest(env, measure=measure, curves=curves, total_steps=384, every=2, progress=False)
    model.learn(384, callback=best)
    assert len(seen) == 4
    assert best.best == 0.7
    for name, weights in best.weights.items():
        assert torch.equal(weights, seen[2][name])
    assert any(not torch.equal(best.weights[k], seen[3][k]) for k in best.weights)
    points = [(r["step"], r["value"]) for r in curves.rows if r["quantity"] == "return"]
    assert points == [(0, 0.1), (128, 0.3), (256, 0.7), (384, 0.2)]
    train = {row["quantity"] for row in curves.rows if row["split"] == "train"}
    assert {"reward", "refused", "budget_left", "unspent"} <= train
    assert "action" not in train


def test_what_counts_at_the_end_is_recorded_at_the_end() -> None:
    """`unspent` is 0 before an episode's end, which must not thin it out."""
    agent = ScenarioPPO(**SETTINGS)
    env = ScenarioVecEnv(budget_lanes(8))
    model: Any = agent._model(ScaledRewards(env, scale=1.0))
    curves, inner = CurveLog(None), env.step_wait
    ends: list[float] = []

    def step_and_note() -> Any:
        result = inner()
        if env.ended.any():
            ends.append(float(env.last_step["unspent"][env.ended].mean()))
        return result

    env.step_wait = step_and_note  # type: ignore[method-assign]
    best = KeepBest(
        env,
        measure=lambda: {"return": 0.0},
        curves=curves,
        total_steps=64,
        every=1,
        progress=False,
    )
    model.learn(64, callback=best)
    (unspent,) = [r["value"] for r in curves.rows if r["quantity"] == "unspent"]
    assert len(ends) == 2
    assert unspent == pytest.approx(np.mean(ends))
    assert unspent > 0
