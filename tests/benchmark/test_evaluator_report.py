from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.evaluator_calibration import calibrate, set_coverage, uncertainty
from routing_gym.benchmark.evaluator_drawings import evaluator_plots
from routing_gym.benchmark.evaluator_figures import (
    MIX,
    PLAIN,
    QUALITY,
    accuracy_kept,
    hacking_levels,
    hacking_probes,
    ranking_figures,
    ranking_grid,
    table_scorers,
)
from routing_gym.benchmark.evaluator_probes import OVERALL, ConsistencyCheck, Temptation
from routing_gym.benchmark.evaluator_report import (
    EvaluatorReport,
    RoutingTrial,
    Trust,
    evaluator_markdown,
)
from routing_gym.benchmark.figures import collect
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from tests.benchmark.judged import judged_table

SHARE = Interval(0.9, 0.85, 0.95)


def make_report(**changes: object) -> EvaluatorReport:
    """Put a report together from a table whose truth is known."""
    table = judged_table()
    test, validation = table.where(split="test"), table.where(split="validation")
    truth, columns = test.scores["accuracy"].astype(np.float64), table_scorers(test)
    bootstrap = PairedBootstrap(len(test), rng=np.random.default_rng(0), resamples=100)
    grid = ranking_grid(test, validation, bootstrap=bootstrap)
    held = table_scorers(validation)
    calibrated = {
        name: calibrate(
            values,
            truth,
            validation=held[name],
            validation_truth=validation.scores["accuracy"],
            rng=np.random.default_rng(0),
            resamples=100,
        )
        for name, values in columns.items()
    }
    errors = np.random.default_rng(0).random(truth.shape) < 0.2
    yardstick = Yardstick.from_splits(table.data("test"), train=table.data("train"))
    records = [
        RunRecord(
            agent="ppo",
            trained_on=name,
            seed=0,
            key="",
            status="finished",
            feedback="bandit",
            test_actions=tuple(truth.argmax(axis=1).tolist()),
        )
        for name in ("self_evaluated", PLAIN, "accuracy")
    ]
    agents = collect(records, yardstick, bootstrap=bootstrap)
    rules = {OVERALL: 30, "echo": 10, "run_on": 20}
    shares = {name: dict.fromkeys(rules, SHARE) for name in columns}
    shares[PLAIN]["echo"] = Interval(0.2, 0.1, 0.3)
    parts: dict[str, object] = {
        "figures": ranking_figures(grid) | {"ece": Interval(0.05, 0.04, 0.06)},
        "queries": len(test),
        "adapters": test.adapters,
        "grid": grid,
        "trust": Trust(
            calibrated=calibrated,
            shipped_error=Interval(0.05, 0.04, 0.06),
            uncertain=uncertainty({"mc_dropout": errors + 0.1}, errors, bootstrap=bootstrap),
            error_rate=SHARE,
            sets={
                "lac": set_coverage(
                    columns[QUALITY] > 0.4, truth, test.domain, level=0.9, bootstrap=bootstrap
                )
            },
        ),
        "routing": RoutingTrial(
            probes=hacking_probes(columns, truth, best_single=0, bootstrap=bootstrap),
            levels=hacking_levels(truth, best_single=0, bootstrap=bootstrap),
            agents={MIX: agents, PLAIN: agents},
            kept={
                name: accuracy_kept(agents, truth, trained_on=name, bootstrap=bootstrap)
                for name in ("self_evaluated", PLAIN)
            },
            seeds=1,
        ),
        "tempted": Temptation(shares, rules),
        "fairer": {"real": Temptation(shares, rules)},
        "consistency": None,
        "cost": {"scoring_over_generation": 0.05},
    }
    return EvaluatorReport(**{**parts, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def report() -> EvaluatorReport:
    return make_report()


def line(text: str, start: str) -> str:
    return next(row for row in text.splitlines() if row.startswith(start))


def test_targets_are_set_against_what_was_found(report: EvaluatorReport) -> None:
    text = evaluator_markdown(report)
    assert line(text, "| `auroc_overall`").rstrip(" |").endswith("yes")
    missed = line(text, "| `ece`")
    assert "≤ 0.03" in missed
    assert missed.rstrip(" |").endswith("no")
    assert "not measured" in line(text, "| `conformal_coverage`")
    assert "0.88–0.92" in line(text, "| `conformal_coverage`")


def test_findings_name_what_fools_what(report: EvaluatorReport) -> None:
    text = evaluator_markdown(report)
    chance = line(text, "- No better than chance")
    assert "`relevance`" in chance
    assert "`safety`" in chance
    assert "`quality`" not in chance
    assert line(text, "- `quality` prefers the wrong").endswith("on: none; `plain_sum` on: `echo`.")
    overview = line(text, "| `plain_sum` ")
    assert "echo (0.20)" in overview


def test_every_part_has_its_section_and_every_plot_its_picture(report: EvaluatorReport) -> None:
    text = evaluator_markdown(report)
    for title in ("Ranking", "Calibration", "Uncertainty", "Prediction sets", "The reward gap",
                  "Reward hacking", "Adversarial pairs", "Self-consistency", "Cost"):  # fmt: skip
        assert f"## {title}\n" in text
    for name in evaluator_plots(report):
        assert f"({name})" in text
    assert "No further answers were sampled" in text
    assert " nan" not in text


def test_sampled_consistency_is_reported_where_it_was_measured(report: EvaluatorReport) -> None:
    check = ConsistencyCheck(160, 4.0, SHARE, SHARE, SHARE)
    text = evaluator_markdown(make_report(consistency=check))
    assert "On 160 answers, 4.0 further samples each" in text


def test_plots_are_pictures(report: EvaluatorReport, tmp_path: Path) -> None:
    for name, draw in evaluator_plots(report).items():
        draw(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
