"""Tidy rows of the scenarios' study: what every rule and run reached, and how runs learned."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from routing_gym.agents.curves import CURVES_FILE
from routing_gym.benchmark.report import csv_text
from routing_gym.benchmark.scenario_judging import means
from routing_gym.benchmark.scenario_records import TENSORBOARD_FOLDER, ScenarioRun
from routing_gym.benchmark.scenario_study import ScenarioResult

_POINTS = 60  # at most so many points of a curve are kept


def read_curves(run: ScenarioRun) -> list[dict[str, Any]]:
    """Read a run's points on validation: step, quantity and value."""
    with (run.folder / TENSORBOARD_FOLDER / CURVES_FILE).open(newline="", encoding="utf-8") as file:
        return [
            {"step": int(r["step"]), "quantity": r["quantity"], "value": float(r["value"])}
            for r in csv.DictReader(file)
            if r["split"] == "validation"
        ]


def runs_csv(results: Sequence[ScenarioResult]) -> str:
    """Write one row per rule and run: what it reached, and the scenario's quantities on test."""
    rows: list[dict[str, object]] = []
    for result in results:
        for rule in result.rules:
            kind = "yardstick" if rule.family.privileged else "rule"
            parameter = "" if rule.parameter is None else rule.parameter
            found = {"parameter": parameter, "validation_return": rule.best}
            rows += _tidy(result.name, kind, rule.label, "", found, means(rule.test))
        if result.problem.bound is not None and result.bound is not None:
            test = {"return": float(result.bound.mean())}
            rows += _tidy(result.name, "yardstick", "hindsight_bound", "", {}, test)
        for label, runs in result.runs.items():
            for run in runs:
                found = {"validation_return": run.validation_return, "seconds": run.train_seconds}
                rows += _tidy(result.name, "learned", label, run.seed, found, means(run.test))
    return csv_text(rows)


def _tidy(
    scenario: str,
    kind: str,
    label: str,
    seed: object,
    found: Mapping[str, Any],
    test: Mapping[str, float],
) -> list[dict[str, object]]:
    """Make one row per quantity."""
    named = dict(found) | {f"test_{name}": value for name, value in test.items()}
    start = {"scenario": scenario, "kind": kind, "label": label, "seed": seed}
    return [
        {**start, "quantity": name, "value": f"{value:.6g}" if value != "" else ""}
        for name, value in named.items()
    ]


def curves_csv(results: Sequence[ScenarioResult]) -> str:
    """Write the runs' quantities on validation, thinned to some points per run."""
    rows: list[dict[str, object]] = []
    for result in results:
        for runs in result.runs.values():
            for run in runs:
                points = read_curves(run)
                steps = sorted({point["step"] for point in points})
                kept = set(steps[:: -(-len(steps) // _POINTS)]) | {steps[-1]}
                start = {"scenario": run.scenario, "label": run.label, "seed": run.seed}
                rows += [
                    {**start, **point, "value": f"{point['value']:.5g}"}
                    for point in points
                    if point["step"] in kept
                ]
    return csv_text(rows)
