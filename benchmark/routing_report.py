"""The routing report on disk: summary, Markdown, tidy rows, plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from routing_gym.benchmark import learning_plots, metrics, plots, trade_off
from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.improvement import normalised_scores
from routing_gym.benchmark.learning import curve_rows
from routing_gym.benchmark.report import csv_text, write_report
from routing_gym.benchmark.routing_markdown import routing_markdown
from routing_gym.benchmark.routing_study import RoutingReport
from routing_gym.benchmark.runs import RunRecord

Drawing = Callable[[Path], None]


def write_routing_report(report: RoutingReport, folder: Path, *, command: str) -> None:
    """Write ``summary.json``, ``report.md``, tidy CSV files, plots and ``command.txt``.

    Parameters
    ----------
    report
        From `routing_gym.benchmark.routing_study.build_routing_report`; with no finished run
        there are no plots.
    folder
        ``results/routing``.
    command
        From `routing_gym.benchmark.provenance.provenance`.
    """
    texts = {"runs.csv": csv_text(run_rows(report.records, report.yardstick))}
    if report.curves:
        texts["curves.csv"] = csv_text(curve_rows(report.curves))
    if report.trade_offs:
        texts["trade_offs.csv"] = csv_text(trade_off.rows(report.trade_offs))
    write_report(
        folder,
        figures=report.figures,
        markdown=routing_markdown(report),
        command=command,
        plots=_drawings(report) if report.entries else {},
        texts=texts,
    )


def _drawings(report: RoutingReport) -> dict[str, Drawing]:
    """Name the plots for which there is something to draw."""
    rows = [entry.row for entry in report.entries.values()]
    references, yardstick = report.yardstick.references, report.yardstick
    seeds = f"{report.num_seeds} seeds, {len(yardstick.tasks)} test queries"
    drawings: dict[str, Drawing] = {
        "comparison.png": partial(_comparison, report),
        "reward_against_truth.png": lambda path: plots.reward_against_truth(
            rows, references, path=path, caption=f"mean over {seeds}; arrows join the trainings"
        ),
        "arm_usage.png": lambda path: plots.arm_usage(
            rows, yardstick.adapters, path=path, caption=seeds
        ),
    }
    if report.learned:
        drawings["profiles.png"] = partial(_profiles, report)
    if report.curves:
        drawings["learning_curves.png"] = partial(_learning, report)
    if any(curve.regret is not None for curve in report.curves):
        drawings["regret.png"] = lambda path: learning_plots.regret_curves(
            report.curves,
            path=path,
            caption=f"mean over {report.num_seeds} seeds",
            first_pass=report.train_cells // len(yardstick.adapters),
        )
    if report.trade_offs and report.arms is not None:
        arms = report.arms
        drawings["trade_offs.png"] = lambda path: learning_plots.cost_accuracy(
            report.trade_offs, arms, path=path, caption=f"mean hull over {seeds}"
        )
    return drawings


def _comparison(report: RoutingReport, path: Path) -> None:
    """Draw reward and accuracy of all agents."""
    plots.comparison(
        [entry.row for entry in report.entries.values()],
        report.yardstick.references,
        path=path,
        caption=f"Interquartile mean over {report.num_seeds} seeds, "
        f"{len(report.yardstick.tasks)} test queries; bands: 95 % bootstrap over seeds and "
        f"queries, stratified by task ({len(report.bootstrap.weights):,} resamples)",
    )


def _profiles(report: RoutingReport, path: Path) -> None:
    """Draw the performance profiles under the first reward."""
    yardstick = report.yardstick
    scores = {
        agent: normalised_scores(
            metrics.chosen(yardstick.reward, entry.actions), yardstick.tasks, table=yardstick.reward
        )
        for (agent, trained_on), entry in report.entries.items()
        if trained_on == report.reward and entry.learned
    }
    learning_plots.profiles(
        scores,
        rng=np.random.default_rng(0),
        path=path,
        caption=f"{report.num_seeds} seeds x tasks; 0: a random adapter, 1: the oracle",
    )


def _learning(report: RoutingReport, path: Path) -> None:
    """Draw the learning curves with the validation split's reference lines."""
    levels = {
        name: report.entries[name, report.reward].validation_reward
        for name in ("oracle", "task_lookup", "best_single")
        if (name, report.reward) in report.entries
    }
    learning_plots.learning_curves(
        report.curves,
        levels,
        cells=report.train_cells,
        path=path,
        caption=f"interquartile mean over {report.num_seeds} seeds, bands: least to greatest seed",
    )


def run_rows(records: Sequence[RunRecord], yardstick: Yardstick) -> list[dict[str, object]]:
    """Turn runs into tidy rows: one per agent, training reward and seed."""
    return [_run_row(record, yardstick) for record in records]


def _run_row(record: RunRecord, yardstick: Yardstick) -> dict[str, object]:
    """Measure one run without intervals."""
    row: dict[str, object] = {
        "agent": record.agent,
        "trained_on": record.trained_on,
        "seed": record.seed,
        "status": record.status,
        "feedback": record.feedback,
        "privileged": record.privileged,
        "error": record.error,
    }
    if not record.finished:
        return row
    actions = np.array(record.test_actions)
    reward = metrics.value(yardstick.reward, actions)
    accuracy = metrics.value(yardstick.accuracy, actions)
    hits = metrics.tie_set_accuracy(actions, yardstick.accuracy)
    numbers = {
        "outcomes": record.outcomes,
        "train_seconds": record.train_seconds,
        "validation_reward": record.validation_reward,
        "validation_accuracy": record.validation_accuracy,
        "reward": reward,
        "accuracy": accuracy,
        "gap_closed": metrics.gap_closed(
            reward,
            best_single=yardstick.references["best_single_reward"],
            oracle=yardstick.references["oracle_reward"],
        ),
        "regret": float(metrics.regret(yardstick.reward, actions).mean()),
        "entropy": metrics.arm_usage_entropy(actions, len(yardstick.adapters))[1],
        "tie_set_differ": hits.differ,
        "tie_set_all": hits.all,
        "reward_gap": metrics.reward_gap(reward, accuracy),
    }
    for name in ("quality", "seconds"):
        table = getattr(yardstick, name)
        if table is not None:
            numbers[name] = metrics.value(table, actions)
    return row | {name: f"{number:.6g}" for name, number in numbers.items()}
