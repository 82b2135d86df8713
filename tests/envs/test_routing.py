"""The scalar environment keeps Gymnasium's contract and reports what the table holds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from routing_gym.envs import ENVS, ROUTING, VECTOR_ENVS, register_envs
from routing_gym.envs.routing import RoutingEnv
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.rewards.reward import RewardFunction
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=60, k=4, d=8)


@pytest.mark.parametrize("name", [ROUTING])
@pytest.mark.parametrize("observation", ["embedding", "index"])
def test_passes_the_checkers_without_warnings(
    table: OutcomeTable, name: str, observation: str
) -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(name, table=table, observation=observation).unwrapped
        check_env(env)
        sb3.check_env(env)


@pytest.mark.parametrize("name", ENVS)
def test_the_page_has_gymnasiums_headings(name: str) -> None:
    page = resolve(ENVS, name, kind="environment").__doc__
    headings = ["Description", "Action Space", "Observation Space", "Rewards", "Starting State"]
    positions = [page.index(f"## {h}\n") for h in [*headings, "Episode End", "Arguments"]]
    assert positions == sorted(positions)
    assert page.index("## Version History") > positions[-1]
    assert f"* v{gym.spec(name).version}:" in page


def test_registration_is_whole_and_idempotent() -> None:
    register_envs()
    assert set(ENVS) == set(VECTOR_ENVS)
    for name in ENVS:
        assert gym.spec(name).entry_point == ENVS[name]
        assert gym.spec(name).vector_entry_point == VECTOR_ENVS[name]


def test_info_is_the_tables_row(table: OutcomeTable) -> None:
    weights = {"factuality": 2.0, "seconds": 1.0}
    env = gym.make(ROUTING, table=table, split="test", reward=weights)
    observation, context = env.reset(seed=5)
    row = table.query_id.tolist().index(context["query_id"])
    assert table.split[row] == "test"
    np.testing.assert_array_equal(observation, table.embeddings[row])
    assert context == {
        "query_id": table.query_id[row],
        "task": table.task[row],
        "domain": table.domain[row],
        "complexity": table.complexity[row],
    }
    last, reward, terminated, truncated, info = env.step(2)
    np.testing.assert_array_equal(last, observation)
    assert (terminated, truncated) == (True, False)
    assert info["action"] == 2
    assert info["adapter"] == "adapter_2"
    assert info["scores"] == {name: float(s[row, 2]) for name, s in table.scores.items()}
    assert info["cost"] == {
        "prompt_tokens": table.prompt_tokens[row, 2],
        "completion_tokens": table.completion_tokens[row, 2],
        "seconds": table.seconds[row, 2],
    }
    assert info["accuracy"] == table.scores["accuracy"][row, 2]
    rewards = (2 * table.scores["factuality"][row] + 1 - table.scores["seconds"][row]) / 3
    assert reward == pytest.approx(rewards[2], rel=1e-6)
    assert info["oracle_reward"] == pytest.approx(rewards.max(), rel=1e-6)
    assert info["regret"] == info["oracle_reward"] - reward
    assert info.items() >= context.items()
    assert all(type(v) in (int, float, str, dict) for v in info.values())


def episode(env: gym.Env[Any, Any], seed: int | None) -> tuple[str, float]:
    """Play one episode with action 1."""
    _, info = env.reset(seed=seed)
    return info["query_id"], float(env.step(1)[1])


def test_the_seed_decides_everything(table: OutcomeTable) -> None:
    one, other = RoutingEnv(table), RoutingEnv(table)
    first = [episode(one, seed) for seed in (7, *[None] * 20)]
    assert [episode(other, seed) for seed in (7, *[None] * 20)] == first
    assert [episode(one, seed) for seed in (7, *[None] * 20)] == first
    assert [episode(one, seed) for seed in (8, *[None] * 20)] != first
    assert [episode(RoutingEnv(table), None) for _ in range(20)] != first[:20]


def test_every_query_comes_up(table: OutcomeTable) -> None:
    env = RoutingEnv(table, split="validation", observation="index")
    seen = {int(env.reset(seed=0 if i == 0 else None)[0]) for i in range(200)}
    assert seen == set(range(9))


def test_data_in_place_of_a_table(table: OutcomeTable) -> None:
    reward = RewardFunction({"accuracy": 1.0})
    priced = RoutingEnv(data=table.data("train", reward))
    assert episode(priced, 3) == episode(RoutingEnv(table, reward=reward), 3)
    with pytest.raises(ValueError, match="already priced"):
        RoutingEnv(table, data=table.data("train"))


def test_a_folder_is_loaded_once_until_it_changes(table: OutcomeTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table")
    first = RoutingEnv(tmp_path / "table")
    assert len(first.dynamics.data) == 36
    table.where(task=("task_0", "task_1")).save(tmp_path / "table", overwrite=True)
    assert len(RoutingEnv(str(tmp_path / "table")).dynamics.data) < 36


def test_rendering(table: OutcomeTable) -> None:
    env = gym.make(ROUTING, table=table, render_mode="ansi")
    _, info = env.reset(seed=0)
    assert env.render() == f"{info['query_id']} ({info['task']}): no adapter chosen yet"
    _, reward, *_ = env.step(3)
    assert f"adapter_3 earns {reward:.3f}" in str(env.render())
    assert RoutingEnv(table).render() is None


def test_action_masks_are_fresh(table: OutcomeTable) -> None:
    env = RoutingEnv(table)
    env.action_masks()[:] = False
    assert env.action_masks().tolist() == [True] * 4
    assert env.adapters == table.adapters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "split='dev'"),
        ({"observation": "text"}, "observation='text'"),
        ({"render_mode": "human"}, "render_mode='human'"),
        ({"reward": {"wit": 1.0}}, "unknown metric 'wit'"),
        ({"reward": {"safety": -1.0}}, "weight -1.0 of 'safety'"),
    ],
)
def test_refuses_arguments(table: OutcomeTable, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoutingEnv(table, **options)


def test_refuses_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an outcome table"):
        gym.make(ROUTING, table=str(tmp_path / "none"))


@pytest.mark.parametrize("action", [-1, 4, 1.0, "adapter_1", None, np.array([1])])
def test_refuses_actions(table: OutcomeTable, action: Any) -> None:
    env = RoutingEnv(table)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="must be an integer from 0 to 3"):
        env.step(action)
    assert env.step(np.int64(0))[2]


def test_a_step_needs_a_query(table: OutcomeTable) -> None:
    env = RoutingEnv(table)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        env.step(0)
    env.reset()
    env.step(0)
    with pytest.raises(ResetNeeded):
        env.step(0)
