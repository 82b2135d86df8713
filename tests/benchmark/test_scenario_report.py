"""The report: tables of rules and runs, tidy rows, learning curves, figures, failures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.benchmark.scenario_problems import PROBLEMS
from routing_gym.benchmark.scenario_records import FailedRun
from routing_gym.benchmark.scenario_report import (
    READING,
    SHOWN,
    curve,
    learning_panels,
    report_text,
    scenario_plots,
    verdict,
)
from routing_gym.benchmark.scenario_rows import curves_csv, read_curves, runs_csv
from routing_gym.benchmark.scenario_study import ScenarioPlan, ScenarioResult, study_scenario
from routing_gym.benchmark.statistics import Interval
from tests.benchmark.scenarios import JUDGING, QUICK, problem


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[ScenarioResult]:
    folder = tmp_path_factory.mktemp("runs")
    recurrent = QUICK | {"algorithm": "recurrent_ppo", "imitation_steps": 0, "lstm_size": 4}
    labels = {"budget": {"ppo": QUICK, "recurrent": recurrent}, "cascade": {"ppo": QUICK}}
    return [
        study_scenario(
            problem(name),
            ScenarioPlan(settings=settings, seeds=[0, 1], judging=JUDGING, folder=folder),
        )
        for name, settings in labels.items()
    ]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_report_names_every_rule_and_run(results: list[ScenarioResult]) -> None:
    text = report_text(results, resamples=100, seed=0)
    for result in results:
        assert f"## {result.name}" in text
        for rule in result.rules:
            assert f"| {rule.label}{'*' * rule.family.privileged} " in text
        assert f"]({result.name}_curves.png)" in text
        assert f"]({result.name}_policy.png)" in text
        assert READING[result.name] in text
    assert "| hindsight bound* " in text
    assert "| recurrent " in text
    refused = [run.test.quantities["refused"].mean() for run in results[0].runs["recurrent"]]
    assert any(
        line.startswith("| refused ") and f" {np.mean(refused):.4g} |" in line
        for line in text.splitlines()
    )
    assert "2 seeds" in text
    assert "Failed runs" not in text


def test_failures_are_reported(results: list[ScenarioResult]) -> None:
    failed = FailedRun("budget", "ppo", 7, "out of memory")
    broken = ScenarioResult(**{**vars(results[0]), "failures": (failed,)})
    assert "- budget / ppo / seed 7: out of memory" in report_text([broken], resamples=100, seed=0)
    nothing = ScenarioResult(**{**vars(results[0]), "runs": {}, "failures": (failed,)})
    text = report_text([nothing], resamples=100, seed=0)
    assert "## Failed runs" in text
    assert "## budget" not in text


def test_rows_hold_what_was_reached(results: list[ScenarioResult]) -> None:
    rows = rows_of(runs_csv(results))
    found = [
        float(row["value"])
        for row in rows
        if (row["scenario"], row["label"], row["quantity"]) == ("budget", "ppo", "test_return")
    ]
    np.testing.assert_allclose(found, results[0].returns().mean(axis=1), rtol=1e-5)
    assert {row["kind"] for row in rows} == {"rule", "yardstick", "learned"}
    bounds = [row["label"] for row in rows if row["label"] == "hindsight_bound"]
    assert bounds == ["hindsight_bound"]  # the budget's; the cascade's is its oracle


def test_curves_are_those_of_the_runs(results: list[ScenarioResult]) -> None:
    run = results[0].runs["ppo"][0]
    points = [point for point in read_curves(run) if point["quantity"] == "return"]
    found = curve(results[0].runs["ppo"], "return")
    assert found.steps.tolist() == [point["step"] for point in points]
    assert found.values.shape == (2, len(points))
    assert found.values[0].max() == pytest.approx(run.validation_return)
    rows = rows_of(curves_csv(results))
    assert {"return", "refused", "tries"} <= {row["quantity"] for row in rows}
    assert {row["label"] for row in rows} == {"ppo", "recurrent"}


def test_long_curves_are_thinned(
    results: list[ScenarioResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    from routing_gym.benchmark import scenario_rows

    steps = {point["step"] for point in read_curves(results[0].runs["ppo"][0])}
    monkeypatch.setattr(scenario_rows, "_POINTS", 1)
    rows = [r for r in rows_of(curves_csv(results[:1])) if r["label"] == "ppo"]
    assert len({row["step"] for row in rows}) == 2  # the first and the last
    assert len(steps) > 1


def test_learning_is_shown_beside_the_best_rule(results: list[ScenarioResult]) -> None:
    panels = learning_panels(results[0])
    assert len(panels) == 3
    labels = [line.label for line in panels[0].lines]
    best = f"best rule: {results[0].best_rule.label}"
    assert labels == ["PPO", "PPO, recurrent", best, "hindsight bound"]
    level = panels[0].lines[2].y[0]
    assert level == pytest.approx(results[0].best_rule.best)
    assert panels[0].floor is not None
    assert panels[0].floor < level


def test_every_scenario_shows_quantities_that_it_has() -> None:
    assert set(SHOWN) == set(READING) == set(PROBLEMS)
    for name, shown in SHOWN.items():
        known = problem(name).data.lanes("test", 1).scenario.quantities
        assert {quantity for quantity, _ in shown} <= set(known)


def test_figures_are_drawn(results: list[ScenarioResult], tmp_path: Path) -> None:
    plots = scenario_plots(results, ScenarioPPO.load)
    names = [f"{n}_{kind}.png" for n in ("budget", "cascade") for kind in ("curves", "policy")]
    assert list(plots) == names
    for name, draw in plots.items():
        draw(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
        assert (tmp_path / name).with_suffix(".svg").is_file()


def test_verdicts() -> None:
    assert verdict(Interval(1.0, 0.5, 2.0)) == "above"
    assert verdict(Interval(1.0, -0.5, 2.0)) == "no difference"
    assert verdict(Interval(-1.0, -2.0, -0.5)) == "below"
