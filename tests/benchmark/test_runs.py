from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routing_gym.agents import AGENTS
from routing_gym.benchmark.runs import (
    AgentSpec,
    CurvePoint,
    OperatingPoint,
    RunRecord,
    check_specs,
    read_record,
    run_key,
    write_record,
)

SETTINGS: dict[str, Any] = {"table": "t", "rewards": {"r": {"relevance": 1.0}}}
RECORD = RunRecord(
    "knn",
    "r",
    0,
    "k",
    "finished",
    "full",
    options={"neighbours": [3]},
    share=0.5,
    test_actions=(1, 0),
    outcomes=8,
    curve=(CurvePoint(0, 0.5, 0.0), CurvePoint(8, 0.75)),
    frontier=(OperatingPoint(0.0, 12.5, 0.75),),
)


def key(spec: AgentSpec | None = None, **changes: Any) -> str:
    fields: dict[str, Any] = {"reward": "r", "seed": 0, "settings": SETTINGS} | changes
    return run_key(spec or AgentSpec("knn"), **fields)


def test_a_key_depends_on_what_the_outcome_depends_on() -> None:
    others = {
        key(AgentSpec("random")),
        key(AgentSpec("knn", {"neighbours": [3]})),
        key(seed=1),
        key(share=0.5),
        key(settings={**SETTINGS, "table": "another"}),
        key(settings={**SETTINGS, "code": "c"}),
        key(settings={**SETTINGS, "rewards": {"r": {"relevance": 2.0}}}),
    }
    assert len(others | {key()}) == 8


def test_a_key_does_not_depend_on_other_rewards_and_names() -> None:
    more = {**SETTINGS, "rewards": {**SETTINGS["rewards"], "s": {"a": 1}}}
    assert key(settings=more) == key()
    assert key(AgentSpec("knn", label="mine")) == key()
    assert key(reward="s", settings={"table": "t", "rewards": {"s": {"relevance": 1.0}}}) == key()


def test_records_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a.json"
    write_record(RECORD, path)
    assert read_record(path, key="k") == RECORD
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]
    assert json.loads(path.read_text())["test_actions"] == [1, 0]


@pytest.mark.parametrize(
    "content",
    [
        b'{"agent": "knn"',
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"test_actions": [], "curve": [[1]], "frontier": []}',
        b'{"test_actions": [], "curve": [], "frontier": [], "unheard": 1}',
    ],
)
def test_a_broken_file_is_no_record(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert read_record(tmp_path / "a.json", key="k") is None


def test_missing_failed_and_foreign_files_are_no_records(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path / "a.json")
    write_record(RunRecord("knn", "r", 0, "k", "failed", error="x"), tmp_path / "b.json")
    assert read_record(tmp_path / "a.json", key="other") is None
    assert read_record(tmp_path / "b.json", key="k") is None
    assert read_record(tmp_path / "none.json", key="k") is None


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_every_registered_agent_can_be_built(name: str) -> None:
    assert AgentSpec(name).build().name == name


def test_labels() -> None:
    assert AgentSpec("knn").label == "knn"
    assert AgentSpec("knn", label="knn_3").label == "knn_3"
    assert AgentSpec("routing_gym.agents.knn:KNNAgent").label == "KNNAgent"


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: AgentSpec("knn", label="a/b"), "label 'a/b' may hold only"),
        (lambda: AgentSpec("knnn").build(), "unknown agent 'knnn'.*did you mean 'knn'"),
        (lambda: AgentSpec("no.such:Agent").build(), "cannot be imported from 'no.such:Agent'"),
        (lambda: AgentSpec("knn", {"neighbors": 3}).build(), "did you mean 'neighbours'"),
        (lambda: AgentSpec("builtins:int", {"a": 1}).build(), "do not fit agent 'builtins:int'"),
        (lambda: check_specs([]), "agents is empty"),
        (lambda: check_specs([AgentSpec("knn"), AgentSpec("knn")]), "'knn' occurs twice"),
    ],
)
def test_invalid_input(call: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
