from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents import AGENTS
from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.benchmark.protocol import (
    AgentSpec,
    RunRecord,
    Splits,
    evaluate,
    read_record,
    run_comparison,
    run_key,
    write_record,
)
from tests.synthetic import identity_table

SETTINGS: dict[str, Any] = {"table": "t", "rewards": {"r": {"relevance": 1.0}}}


class BrokenAgent(BestSingleAgent):
    """An agent whose training fails."""

    name = "broken"

    def _fit(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("the reward\nwent away")


@pytest.fixture(scope="module")
def splits() -> Splits:
    table = identity_table(n=120)
    return Splits(*(table.data(name) for name in ("train", "validation", "test")))


def compare(splits: Splits, folder: Path, *names: str, **options: Any) -> list[RunRecord]:
    return run_comparison(
        [AgentSpec(name) for name in names],
        {"r": splits},
        seeds=options.pop("seeds", [0]),
        folder=folder,
        settings=options.pop("settings", SETTINGS),
        **options,
    )


def test_evaluate_knows_the_identity_problem(splits: Splits) -> None:
    agent = AgentSpec("oracle").build()
    agent.train(splits.train, validation=splits.validation, seed=0)
    row = evaluate(agent, splits.test, train=splits.train)
    assert row.agent == "oracle"
    assert row.privileged
    assert row.accuracy.value == 1.0
    assert row.reward_gap_closed.value == pytest.approx(1.0)
    assert row.tie_set_differ.value == 1.0


def test_best_single_closes_nothing(splits: Splits) -> None:
    agent = AgentSpec("best_single").build()
    agent.train(splits.train, validation=splits.validation, seed=0)
    row = evaluate(agent, splits.test, train=splits.train)
    assert row.reward_gap_closed.value == pytest.approx(0.0)
    assert row.entropy == 0.0


def test_one_record_per_agent_reward_and_seed(splits: Splits, tmp_path: Path) -> None:
    records = compare(splits, tmp_path, "knn", "random", seeds=[0, 1])
    assert [(run.agent, run.seed) for run in records] == [
        ("knn", 0),
        ("knn", 1),
        ("random", 0),
        ("random", 1),
    ]
    assert all(run.finished and len(run.test_actions) == len(splits.test) for run in records)
    assert records[2].test_actions != records[3].test_actions
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "knn-r-0.json"


def test_finished_runs_are_skipped(splits: Splits, tmp_path: Path) -> None:
    seen: list[bool] = []
    first = compare(splits, tmp_path, "knn", on_record=lambda _, kept: seen.append(kept))
    again = compare(splits, tmp_path, "knn", on_record=lambda _, kept: seen.append(kept))
    assert seen == [False, True]
    assert again == first


@pytest.mark.parametrize("change", ["table", "weights", "overwrite", "broken file"])
def test_runs_of_other_settings_are_run_again(splits: Splits, tmp_path: Path, change: str) -> None:
    compare(splits, tmp_path, "knn")
    options: dict[str, Any] = {"settings": dict(SETTINGS)}
    if change == "table":
        options["settings"]["table"] = "another"
    elif change == "weights":
        options["settings"]["rewards"] = {"r": {"relevance": 2.0}}
    elif change == "overwrite":
        options["overwrite"] = True
    else:
        (tmp_path / "knn-r-0.json").write_text('{"agent": "knn"')
    seen: list[bool] = []
    compare(splits, tmp_path, "knn", on_record=lambda _, kept: seen.append(kept), **options)
    assert seen == [False]


def test_a_failed_run_is_recorded_and_tried_again(splits: Splits, tmp_path: Path) -> None:
    name = f"{__name__}:BrokenAgent"
    failed, finished = compare(splits, tmp_path, name, "best_single")
    assert not failed.finished
    assert failed.error == "RuntimeError: the reward went away"
    assert "Traceback" in failed.details
    assert finished.finished
    seen: list[bool] = []
    compare(splits, tmp_path, name, on_record=lambda _, kept: seen.append(kept))
    assert seen == [False]


def test_validation_and_test_are_measured_apart(splits: Splits, tmp_path: Path) -> None:
    (record,) = compare(splits, tmp_path, "oracle")
    assert record.validation_accuracy == 1.0
    expected = splits.validation.rewards.max(axis=1).mean()
    assert record.validation_reward == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(record.test_actions, splits.test.rewards.argmax(axis=1))


def test_a_key_does_not_depend_on_other_rewards() -> None:
    spec, more = AgentSpec("knn"), {**SETTINGS, "rewards": {**SETTINGS["rewards"], "s": {"a": 1}}}
    key = run_key(spec, reward="r", seed=0, settings=SETTINGS)
    assert run_key(spec, reward="r", seed=0, settings=more) == key
    assert run_key(spec, reward="r", seed=1, settings=SETTINGS) != key
    assert run_key(AgentSpec("knn", {"a": 1}), reward="r", seed=0, settings=SETTINGS) != key


def test_records_survive_the_disk(tmp_path: Path) -> None:
    record = RunRecord("knn", "r", 0, "k", "finished", "full", test_actions=(1, 0))
    write_record(record, tmp_path / "runs" / "a.json")
    assert read_record(tmp_path / "runs" / "a.json", key="k") == record
    assert read_record(tmp_path / "runs" / "a.json", key="other") is None
    assert read_record(tmp_path / "none.json", key="k") is None
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "runs" / "a.json").read_text())["test_actions"] == [1, 0]


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_every_registered_agent_can_be_built(name: str) -> None:
    assert AgentSpec(name).build().name == name


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda s, f: compare(s, f, "knnn"), "unknown agent 'knnn'.*did you mean 'knn'"),
        (lambda s, f: compare(s, f, "knn", "knn"), "'knn' occurs twice"),
        (lambda s, f: compare(s, f), "agents is empty"),
        (lambda s, f: compare(s, f, "knn", seeds=[]), "give at least one each"),
        (lambda s, f: AgentSpec("knn", label="a/b"), "label 'a/b'"),
        (lambda s, f: AgentSpec("knn", {"neighbors": 3}).build(), "unknown option 'neighbors'"),
    ],
)
def test_invalid_input(call, match: str, splits: Splits, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call(splits, tmp_path)
    assert not list(tmp_path.iterdir())
