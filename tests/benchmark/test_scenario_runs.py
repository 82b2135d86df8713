"""Training runs: kept on disk, skipped when finished, failed ones told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents.budget_rules import BudgetResolving
from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.benchmark import scenario_records
from routing_gym.benchmark.scenario_records import (
    FailedRun,
    ScenarioJob,
    ScenarioRun,
    code_hash,
    read_run,
)
from routing_gym.benchmark.scenario_runs import run_scenario_jobs
from tests.benchmark.scenarios import JUDGING, QUICK, problem


def job_in(folder: Path, **more: Any) -> ScenarioJob:
    data = problem("budget").data
    teacher = BudgetResolving(1.0, sample=data.splits.train.observations)
    settings: dict[str, Any] = {
        "data": data,
        "label": "ppo",
        "settings": QUICK,
        "seed": 0,
        "teacher": teacher,
        "judging": JUDGING,
        "folder": folder,
        "identity": {"table": "t"},
    }
    return ScenarioJob(**(settings | more))


def only(jobs: list[ScenarioJob], **more: Any) -> ScenarioRun | FailedRun:
    (run,) = run_scenario_jobs(jobs, **more)
    return run


def test_a_run_is_written_and_found_again(tmp_path: Path) -> None:
    told: list[bool] = []
    first = only([job_in(tmp_path)], on_run=lambda _, skipped: told.append(skipped))
    again = only([job_in(tmp_path)], on_run=lambda _, skipped: told.append(skipped))
    assert told == [False, True]
    assert isinstance(first, ScenarioRun)
    assert isinstance(again, ScenarioRun)
    for name in ("returns", "lengths", "actions"):
        np.testing.assert_array_equal(getattr(first.test, name), getattr(again.test, name))
    assert first.test.quantities.keys() == again.test.quantities.keys()
    np.testing.assert_array_equal(first.pools, again.pools)
    assert first.pools.shape == (3, 4)
    assert first.validation_return == again.validation_return
    policy = ScenarioPPO.load(tmp_path / "policy")
    played = JUDGING.play(policy, problem("budget").data, "test")
    np.testing.assert_array_equal(played.returns, first.test.returns)
    assert (tmp_path / "tensorboard" / "curves.csv").is_file()


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        jobs = [job_in(folder / str(seed), seed=seed) for seed in (0, 1)]
        found.append(run_scenario_jobs(jobs, workers=workers))
    for alone, beside in zip(*found, strict=True):
        assert isinstance(alone, ScenarioRun)
        assert isinstance(beside, ScenarioRun)
        np.testing.assert_array_equal(alone.test.returns, beside.test.returns)
    assert not np.array_equal(found[0][0].pools, found[0][1].pools)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"settings": QUICK | {"epochs": 2}},
        {"teacher": None},
        {"judging": replace(JUDGING, pool_episodes=5)},
        {"identity": {"table": "u"}},
    ],
)
def test_a_run_of_other_settings_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    run_scenario_jobs([job_in(tmp_path)])
    assert read_run(job_in(tmp_path)) is not None
    assert read_run(job_in(tmp_path, **change)) is None


@pytest.mark.parametrize("name", ["record.json", "test.npz"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04", None])
def test_a_broken_run_is_made_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    run_scenario_jobs([job_in(tmp_path)])
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    assert read_run(job_in(tmp_path)) is None
    assert isinstance(only([job_in(tmp_path)]), ScenarioRun)
    assert read_run(job_in(tmp_path)) is not None
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 1


def test_a_failed_run_stops_no_other_one(tmp_path: Path) -> None:
    jobs = [
        job_in(tmp_path / "bad", settings=QUICK | {"epochs": 0}, label="bad"),
        job_in(tmp_path / "good"),
    ]
    bad, good = run_scenario_jobs(jobs)
    assert isinstance(good, ScenarioRun)
    assert bad == FailedRun("budget", "bad", 0, "epochs=0 is too small: give at least 1.")
    assert "Traceback" in (tmp_path / "bad" / "error.txt").read_text()
    assert read_run(jobs[0]) is None


def test_finished_runs_are_overwritten_on_demand(tmp_path: Path) -> None:
    run_scenario_jobs([job_in(tmp_path)])
    before = (tmp_path / "record.json").stat().st_mtime_ns
    run_scenario_jobs([job_in(tmp_path)])
    assert (tmp_path / "record.json").stat().st_mtime_ns == before
    run_scenario_jobs([job_in(tmp_path)], overwrite=True)
    assert (tmp_path / "record.json").stat().st_mtime_ns > before


def test_the_record_says_what_was_run(tmp_path: Path) -> None:
    run_scenario_jobs([job_in(tmp_path)])
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["teacher"] == ["resolving", {"factor": 1.0}]
    assert record["settings"]["total_steps"] == 64
    assert {"return", "refused", "unspent"} <= record["test"].keys()


def test_every_source_that_is_hashed_exists() -> None:
    for pattern in scenario_records._SOURCES:
        assert list(scenario_records.REPOSITORY.glob(pattern)), pattern
    assert code_hash() == code_hash()
