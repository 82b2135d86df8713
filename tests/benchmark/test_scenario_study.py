"""The study of a scenario: rules tuned on validation, PPO beside them, everything paired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.scenario_problems import PROBLEMS
from routing_gym.benchmark.scenario_study import (
    ScenarioPlan,
    best_of,
    scenario_jobs,
    study_scenario,
    tune,
)
from tests.benchmark.scenarios import JUDGING, QUICK, problem

SETTINGS = {"ppo": QUICK, "other": QUICK | {"imitation_steps": 0, "algorithm": "ppo"}}


def plan_in(folder: Path, **more: Any) -> ScenarioPlan:
    values: dict[str, Any] = {"settings": SETTINGS, "seeds": [0, 1], "judging": JUDGING}
    return ScenarioPlan(folder=folder, **(values | more))


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_scenario_is_studied(name: str, tmp_path: Path) -> None:
    told: list[str] = []
    result = study_scenario(
        problem(name), plan_in(tmp_path), on_run=lambda run, _: told.append(run.label)
    )
    assert told == ["ppo", "ppo", "other", "other"]
    assert (result.name, result.failures) == (name, ())
    assert {label: len(runs) for label, runs in result.runs.items()} == {"ppo": 2, "other": 2}
    assert result.returns().shape == (2, 12)
    assert result.pools("other").shape == result.best_rule_pools.shape == (3, 4)
    assert not result.best_rule.family.privileged
    assert result.bound is not None
    assert result.bound_pools is not None
    assert (result.returns() <= result.bound + 1e-9).all()
    assert (result.pools() <= result.bound_pools + 1e-9).all()
    assert (tmp_path / name / "other" / "1" / "record.json").is_file()


def test_rules_are_tuned_on_validation_alone() -> None:
    data = problem("budget").data
    swapped = replace(data.splits, test=data.splits.train)
    other = replace(problem("budget"), data=replace(data, splits=swapped))
    first, second = tune(problem("budget"), "static", JUDGING), tune(other, "static", JUDGING)
    assert first.validation == second.validation
    assert first.parameter == second.parameter
    assert first.best == max(first.validation)
    assert first.validation[first.family.grid.index(first.parameter)] == first.best  # type: ignore[arg-type]
    assert not np.array_equal(first.test.returns, second.test.returns)


def test_the_best_rule_reads_no_outcomes() -> None:
    rules = [tune(problem("cascade"), label, JUDGING) for label in ("oracle", "greedy", "pandora")]
    assert rules[0].best >= max(rule.best for rule in rules[1:])
    assert best_of(rules).label in ("greedy", "pandora")


def test_teachers_are_given_to_those_that_imitate(tmp_path: Path) -> None:
    teacher = tune(problem("budget"), "scarcity", JUDGING)
    jobs = scenario_jobs(problem("budget"), plan_in(tmp_path), teacher)
    assert [job.label for job in jobs] == ["ppo", "ppo", "other", "other"]
    assert [job.teacher is None for job in jobs] == [False, False, True, True]
    assert jobs[0].teacher is not jobs[1].teacher
    (alone,) = scenario_jobs(
        problem("budget"), plan_in(tmp_path, layout="", settings={"ppo": {}}, seeds=[3]), teacher
    )
    assert alone.folder == tmp_path


def test_failures_are_kept_apart(tmp_path: Path) -> None:
    settings = SETTINGS | {"bad": {"epochs": 0}}
    result = study_scenario(problem("cascade"), plan_in(tmp_path, settings=settings, seeds=[0]))
    assert set(result.runs) == {"ppo", "other"}
    assert [failure.label for failure in result.failures] == ["bad"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"drift": {}}}, r"settings=\['drift'\] must have a label 'ppo'"),
        ({"settings": {}}, "must have a label 'ppo'"),
        ({"seeds": []}, "seeds=.. must be different, at least one"),
        ({"seeds": [1, 1]}, "must be different"),
    ],
)
def test_refuses_bad_plans(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        plan_in(tmp_path, **values)
