from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents import load_agent, make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.agents.gumbel import GumbelAgent
from tests.agents.problems import FAST, identity


@pytest.fixture
def agent() -> Agent:
    agent = BestSingleAgent()
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    return agent


@pytest.fixture
def folder(agent: Agent, tmp_path: Path) -> Path:
    agent.save(tmp_path / "policy")
    return tmp_path / "policy"


def edit(folder: Path, **entries: object) -> None:
    path = folder / "agent.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_saving_again_replaces_and_leaves_nothing_beside_it(agent: Agent, folder: Path) -> None:
    agent.save(folder, metadata={"round": 2})
    assert load_agent(folder).metadata == {"round": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["policy"]


def test_refuses_to_replace_other_files(agent: Agent, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"):
        agent.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_what_json_cannot_hold_leaves_the_old_policy_whole(agent: Agent, folder: Path) -> None:
    with pytest.raises(TypeError):
        agent.save(folder, metadata={"array": np.zeros(1)})
    assert load_agent(folder).metadata == {}
    assert [path.name for path in folder.parent.iterdir()] == ["policy"]


@pytest.mark.parametrize("name", ["agent.json", "weights.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        load_agent(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="truncated or edited"):
        load_agent(folder)


def test_truncated_description(folder: Path) -> None:
    path = folder / "agent.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(ValueError, match="is not JSON"):
        load_agent(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 99}, "has format 99, this version reads 1"),
        ({"agent": "os:system"}, "'os:system', which is not registered"),
        ({"config": {"depth": 3}}, "unknown option 'depth'"),
    ],
)
def test_edited_description(folder: Path, entries: dict, message: str) -> None:
    edit(folder, **entries)
    with pytest.raises(ValueError, match=message):
        load_agent(folder)


def test_lacking_entry(folder: Path) -> None:
    (folder / "agent.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match="lacks the entry"):
        load_agent(folder)


def test_load_of_another_class(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds agent 'best_single', not 'gumbel'"):
        GumbelAgent.load(folder)


@pytest.mark.parametrize("name", ["ppo", "gumbel"])
def test_weights_of_another_architecture(name: str, tmp_path: Path) -> None:
    agent = make_agent(name, **FAST[name])
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    agent.save(tmp_path / "policy")
    sizes = {"hidden_sizes": [7]} if name == "ppo" else {"hidden_dim": 7}
    config = json.loads((tmp_path / "policy" / "agent.json").read_text())["config"]
    edit(tmp_path / "policy", config={**config, **sizes})
    with pytest.raises(ValueError, match="the weights do not fit"):
        load_agent(tmp_path / "policy")


def test_unknown_agent_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown agent 'pop'.*did you mean 'ppo'"):
        make_agent("pop")
