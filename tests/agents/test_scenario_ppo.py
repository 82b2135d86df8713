"""PPO on the scenarios: it learns, repeats itself, is saved, and refuses what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.agents.budget_rules import BudgetGreedy
from routing_gym.agents.cascade_rules import CascadeGreedy
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.agents.scenario_settings import ScenarioPPOConfig
from routing_gym.benchmark.scenario_judging import means
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.envs.scenario_sb3 import ScenarioVecEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from tests.agents.scenarios import budget_lanes, cascade_lanes

SMALL = {"num_envs": 16, "steps_per_update": 16, "batch_size": 64, "total_steps": 512}
ALGORITHMS = ("ppo", "maskable_ppo", "recurrent_ppo")


def settings(algorithm: str, **more: Any) -> dict[str, Any]:
    imitation = 0 if algorithm == "recurrent_ppo" else 10
    return SMALL | {"algorithm": algorithm, "imitation_steps": imitation, "epochs": 2} | more


def value(policy: ScenarioPolicy, env: ScenarioVectorEnv, episodes: int = 256) -> float:
    return float(rollout(policy, env, episodes=episodes, seed=9).returns.mean())


def trained(
    env: ScenarioVectorEnv, *, seed: int = 0, teacher: ScenarioPolicy | None = None, **more: Any
) -> ScenarioPPO:
    agent = ScenarioPPO(**more)
    judge = type(env)(32, data=env.scenario.data, lean=True)

    def measure(policy: ScenarioPolicy) -> dict[str, float]:
        return means(rollout(policy, judge, episodes=32, seed=5))

    agent.train(ScenarioVecEnv(env), measure=measure, seed=seed, teacher=teacher)
    return agent


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_the_cascade(algorithm: str) -> None:
    """The predictions say which adapter is right (.9 against .3): take it, and accept."""
    long = settings(
        algorithm,
        total_steps=8192,
        num_envs=64,
        batch_size=256,
        epochs=5,
        learning_rate=5e-3,
        reward_scale=1.0,
        imitation_steps=0,
        lstm_size=16,
    )
    env = cascade_lanes(64)
    best = value(CascadeGreedy(), env)
    learned = value(trained(cascade_lanes(64), **long), env)
    assert best > 0.8
    assert learned > 0.85 * best


def test_a_teacher_is_a_head_start() -> None:
    env = cascade_lanes(16)
    few = settings("maskable_ppo", imitation_steps=150, learning_rate=3e-3, total_steps=256)
    best = value(CascadeGreedy(), env)
    taught = value(trained(cascade_lanes(16), teacher=CascadeGreedy(), **few), env)
    alone = value(trained(cascade_lanes(16), **few), env)
    assert taught > 0.95 * best
    assert taught > alone + 0.1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_gives_the_same_policy(algorithm: str) -> None:
    first, second, other = (
        trained(cascade_lanes(16), seed=seed, **settings(algorithm)).policy.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_leaves_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state()
    trained(cascade_lanes(16), **settings("ppo"))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_saved_policy_decides_the_same(algorithm: str, tmp_path: Path) -> None:
    agent = trained(budget_lanes(16), **settings(algorithm))
    agent.save(tmp_path / "policy", metadata={"seed": 0})
    read = ScenarioPPO.load(tmp_path / "policy")
    assert read.config == agent.config
    env = budget_lanes(8)
    first, second = (rollout(p, env, episodes=16, seed=0) for p in (agent, read))
    np.testing.assert_array_equal(first.returns, second.returns)
    np.testing.assert_array_equal(first.actions, second.actions)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_forbidden_actions_are_never_taken(algorithm: str) -> None:
    """The lanes refuse a forbidden action; without masks PPO learns from the one in its place."""
    agent = trained(cascade_lanes(16), **settings(algorithm))
    masks = np.zeros((3, 5), dtype=np.bool_)
    masks[[0, 1, 2], [4, 0, 2]] = True
    agent.begin(3)
    seen = np.zeros((3, cascade_lanes(1).single_observation_space.shape[0]), dtype=np.float32)  # type: ignore[index]
    assert agent.act(seen, masks).tolist() == [4, 0, 2]


def test_memory_lasts_for_an_episode() -> None:
    agent = trained(budget_lanes(16), **settings("recurrent_ppo"))
    masks = np.ones((2, 5), dtype=np.bool_)
    seen = np.random.default_rng(0).random((2, agent.policy.observation_space.shape[0]))
    seen = seen.astype(np.float32)
    agent.begin(2)
    agent.act(seen, masks)
    fresh = agent._memory[0].clone()
    agent.learn(seen, np.zeros(2), np.zeros(2), np.array([True, False]), {})
    agent.act(seen, masks)
    assert torch.allclose(agent._memory[0][:, 0], fresh[:, 0])  # begins anew
    assert not torch.allclose(agent._memory[0][:, 1], fresh[:, 1])
    agent.begin(2)
    agent.act(seen, masks)
    assert torch.allclose(agent._memory[0], fresh)


def test_curves_show_the_scenarios_own_quantities(tmp_path: Path) -> None:
    agent = ScenarioPPO(**settings("maskable_ppo"))
    agent.train(
        ScenarioVecEnv(budget_lanes(16)),
        measure=lambda policy: means(rollout(policy, budget_lanes(4), episodes=4, seed=0)),
        seed=0,
        teacher=BudgetGreedy(),
        log_dir=tmp_path,
    )
    for split in ("train", "validation"):
        shown = {row["quantity"] for row in agent.curves if row["split"] == split}
        assert {"refused", "lost", "spent", "budget_left", "unspent", "accuracy"} <= shown
    assert (tmp_path / "curves.csv").is_file()
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_the_policy_that_was_best_on_validation_is_kept() -> None:
    agent = trained(budget_lanes(16), **settings("maskable_ppo", evaluate_every=1))
    reached = [
        r["value"] for r in agent.curves if (r["split"], r["quantity"]) == ("validation", "return")
    ]
    env = budget_lanes(1).scenario.data
    judge = type(budget_lanes(1))(32, data=env, lean=True)
    found = float(rollout(agent, judge, episodes=32, seed=5).returns.mean())
    assert found == pytest.approx(max(reached))


def test_options_replace_those_of_a_configuration() -> None:
    config = ScenarioPPOConfig(epochs=3, hidden_sizes=(8,))
    agent = ScenarioPPO(config, hidden_sizes=[16], learning_rate=1)
    assert (agent.config.epochs, agent.config.hidden_sizes) == (3, (16,))
    assert agent.config.learning_rate == 1.0


def test_refuses_another_number_of_lanes() -> None:
    agent = ScenarioPPO(**settings("ppo"))
    with pytest.raises(ValueError, match="env has 3 lanes, not num_envs=16"):
        agent.train(ScenarioVecEnv(budget_lanes(3)), measure=lambda _: {"return": 0.0}, seed=0)


def test_refuses_to_save_what_is_not_trained(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not trained"):
        ScenarioPPO().save(tmp_path / "policy")


def test_refuses_to_load_another_agent(tmp_path: Path) -> None:
    from routing_gym.agents.artefact import Artefact, write_artefact

    write_artefact(tmp_path / "other", Artefact("gumbel", ("a",), 1, {}))
    with pytest.raises(ValueError, match="holds agent 'gumbel', not a scenario's policy"):
        ScenarioPPO.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        ScenarioPPO.load(tmp_path / "nothing")
