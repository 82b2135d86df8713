from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from routing_gym.agents.maskable_ppo import MaskablePPOAgent, MaskedRoutingVecEnv
from routing_gym.agents.ppo import PPOAgent
from routing_gym.envs.data import RoutingData
from tests.agents.problems import FAST, identity

LANES = 200


def environment(mask_share: float, *, seed: int = 0) -> MaskedRoutingVecEnv:
    return MaskedRoutingVecEnv(
        LANES, data=identity("train"), mask_share=mask_share, rng=np.random.default_rng(seed)
    )


@lru_cache
def graded(split: str) -> RoutingData:
    """Arm a's neighbours are worth less the farther they are, so a second choice matters."""
    data = identity(split)
    right = data.accuracy.argmax(axis=1)
    distance = (np.arange(4) - right[:, None]) % 4
    return replace(data, rewards=(1 - 0.3 * distance).astype(np.float32))


def regret_under_masks(agent: PPOAgent, *, repeats: int = 10) -> float:
    """Mean regret against the best allowed adapter, with half of all adapters missing."""
    data, regrets = graded("test"), []
    rows = np.arange(len(data))
    for rng in np.random.default_rng(0).spawn(repeats):
        mask = rng.random(data.rewards.shape) < 0.5
        mask[rows, rng.integers(4, size=len(data))] = True
        best = np.where(mask, data.rewards, -np.inf).max(axis=1)
        regrets.append(best - data.rewards[rows, agent.decide_on(data, mask=mask).actions])
    return float(np.mean(regrets))


@pytest.fixture(scope="module")
def agent() -> MaskablePPOAgent:
    agent = MaskablePPOAgent(**FAST["maskable_ppo"])
    agent.train(graded("train"), validation=graded("validation"), seed=0)
    return agent


def test_masks_have_the_share_and_leave_one_adapter() -> None:
    for share in (0.0, 0.3, 0.95):
        env = environment(share)
        env.reset()
        allowed = np.concatenate([env.action_masks(), *_masks_of_steps(env, 20)])
        empty = share**4  # rows that are given one adapter back
        assert (~allowed).mean() == pytest.approx(share - empty / 4, abs=0.02)
        assert allowed.any(axis=1).all()


def _masks_of_steps(env: MaskedRoutingVecEnv, steps: int) -> list[np.ndarray]:
    masks = []
    for _ in range(steps):
        env.step(env.action_masks().argmax(axis=1))
        masks.append(env.action_masks())
    return masks


def test_sb3_contrib_sees_the_masks_of_the_waiting_queries() -> None:
    env = environment(0.5)
    env.reset()
    assert is_masking_supported(env)
    np.testing.assert_array_equal(get_action_masks(env), env.action_masks())
    np.testing.assert_array_equal(get_action_masks(env), get_action_masks(env))
    before = env.action_masks()
    env.step(before.argmax(axis=1))
    assert (env.action_masks() != before).any()
    assert len(env.env_method("action_masks", indices=[3, 5])) == 2


def test_environment_refuses_a_forbidden_action() -> None:
    env = environment(0.5)
    env.reset()
    with pytest.raises(ValueError, match=r"action=\d of lane \d+ is forbidden"):
        env.step(env.action_masks().argmin(axis=1))


def test_probabilities_are_the_softmax_over_the_allowed_logits(agent: MaskablePPOAgent) -> None:
    agent = copy.deepcopy(agent)
    with torch.no_grad():
        agent.policy.action_net.weight.zero_()
        agent.policy.action_net.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 1000.0]))
    mask = np.array([[True, True, True, False], [False, True, True, False]])
    found = agent.probabilities(identity("test").observations[:2], mask=mask)
    e = np.exp(1)
    first = np.array([1, e, e * e, 0]) / (1 + e + e * e)
    np.testing.assert_allclose(found, [first, [0, 1 / (1 + e), e / (1 + e), 0]], rtol=1e-6)


def test_forbidden_adapters_get_no_probability(agent: MaskablePPOAgent) -> None:
    data = identity("test")
    mask = np.random.default_rng(0).random((len(data), 4)) < 0.5
    mask[:, 2] |= ~mask.any(axis=1)
    probabilities = agent.probabilities(data.observations, mask=mask)
    assert (probabilities[~mask] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    drawn = agent.decide_on(data, rng=np.random.default_rng(1), mask=mask).actions
    assert mask[np.arange(len(data)), drawn].all()


def test_learns_what_to_take_instead(agent: MaskablePPOAgent) -> None:
    data = graded("test")
    unmasked = data.rewards[np.arange(len(data)), agent.decide_on(data).actions]
    assert unmasked.mean() > 0.98
    plain = PPOAgent(**FAST["ppo"])
    plain.train(graded("train"), validation=graded("validation"), seed=0)
    assert regret_under_masks(agent) < 0.5 * regret_under_masks(plain)


def test_without_masks_it_is_ppo() -> None:
    short = {**FAST["ppo"], "total_steps": 512}
    agents = [PPOAgent(**short), MaskablePPOAgent(**short, mask_share=0.0)]
    for each in agents:
        each.train(identity("train"), validation=identity("validation"), seed=0)
    plain, masked = (each._state()[1] for each in agents)
    assert plain.keys() == masked.keys()
    for name, values in plain.items():
        np.testing.assert_allclose(values, masked[name], atol=1e-5)


def test_logs_what_ppo_logs(tmp_path: Path) -> None:
    short = {**FAST["ppo"], "total_steps": 512}
    tags, rows = [], []
    for each in (PPOAgent(**short), MaskablePPOAgent(**short)):
        folder = tmp_path / each.name
        each.train(identity("train"), validation=identity("validation"), seed=0, log_dir=folder)
        board = EventAccumulator(str(folder)).Reload()
        tags.append(set(board.Tags()["scalars"]))
        rows.append([(row["step"], row["split"], row["quantity"]) for row in each.curves])
        assert (folder / "curves.csv").is_file()
    assert "routing_train/regret" in tags[0]
    assert tags[0] == tags[1]
    assert rows[0] == rows[1]


def test_saves_and_loads_with_masks(agent: MaskablePPOAgent, tmp_path: Path) -> None:
    agent.save(tmp_path / "policy")
    loaded = MaskablePPOAgent.load(tmp_path / "policy")
    observations, mask = identity("test").observations, np.array([True, False, True, True])
    np.testing.assert_array_equal(
        loaded.probabilities(observations, mask=mask), agent.probabilities(observations, mask=mask)
    )
    assert loaded.config.mask_share == agent.config.mask_share


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_refuses_a_mask_share(share: float) -> None:
    with pytest.raises(ValueError, match=rf"mask_share={share} is outside \[0, 1\)"):
        MaskablePPOAgent(mask_share=share)


def test_refuses_a_mask_of_another_shape(agent: MaskablePPOAgent) -> None:
    with pytest.raises(ValueError, match="mask is bool"):
        agent.probabilities(identity("test").observations, mask=np.ones(3, dtype=bool))
