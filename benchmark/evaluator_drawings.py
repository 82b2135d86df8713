"""The plots of the self-evaluator's report, each drawn from what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from routing_gym.benchmark import evaluator_plots as draw
from routing_gym.benchmark.evaluator_calibration import BEFORE
from routing_gym.benchmark.evaluator_figures import MAIN, PLAIN, QUALITY, single_metrics
from routing_gym.benchmark.evaluator_probes import Temptation
from routing_gym.benchmark.evaluator_report import EvaluatorReport, RoutingTrial
from routing_gym.benchmark.plots import AGENT_COLOURS
from routing_gym.benchmark.report import format_interval


def evaluator_plots(report: EvaluatorReport) -> dict[str, Callable[[Path], None]]:
    """Plan the plots: file name -> function that draws it to a path."""
    return {
        "ranking.png": lambda path: _draw_ranking(report, path),
        "reliability.png": lambda path: draw.reliability(
            _reliability_panels(report), path=path, caption=f"{report.queries} test queries"
        ),
        "risk_coverage.png": lambda path: _draw_risks(report, path),
        "set_sizes.png": lambda path: _draw_sets(report, path),
        "hacking.png": lambda path: _draw_hacking(report, path),
        "adversarial.png": lambda path: _draw_temptation(report.tempted, path),
        "reward_gap.png": lambda path: _draw_gap(report.routing, path),
        "accuracy_kept.png": lambda path: draw.interval_panels(
            {f"trained on {n.replace('_', '-')}": kept for n, kept in report.routing.kept.items()},
            path=path,
            label="accuracy / the same when trained on it",
            lines={"nothing lost": 1.0, "target": 0.95},
            colours=AGENT_COLOURS,
            caption=f"training seeds: {report.routing.seeds}; bars: paired bootstrap 95 %",
        ),
    }


def _draw_ranking(report: EvaluatorReport, path: Path) -> None:
    """Draw every scorer's AUROC, one panel per domain."""
    draw.interval_panels(
        {
            f"{group} (n={count})": {
                name: cells[group].auroc for name, cells in report.grid.cells.items()
            }
            for group, count in report.grid.counts.items()
        },
        path=path,
        label="AUROC against verified accuracy",
        lines={"chance": 0.5},
        caption=_over_queries(report),
    )


def _draw_risks(report: EvaluatorReport, path: Path) -> None:
    """Draw the risk-coverage curves."""
    methods = report.trust.uncertain
    draw.risk_coverage(
        {name: methods[name].risks for name in methods if not name.endswith("_disagreement")},
        path=path,
        caption=f"judgements of the quality model on {report.queries} test queries",
    )


def _draw_sets(report: EvaluatorReport, path: Path) -> None:
    """Draw the sizes of the headline's sets."""
    sets = next(iter(report.trust.sets.values()))
    caption = f"{100 * sets.level:.0f} % sets; queries on which the adapters differ"
    draw.set_sizes(sets.sizes, path=path, caption=caption)


def _draw_hacking(report: EvaluatorReport, path: Path) -> None:
    """Draw what maximising each scorer reaches."""
    levels = report.routing.levels
    draw.interval_panels(
        {"": {name: probe.accuracy for name, probe in report.routing.probes.items()}},
        path=path,
        label="verified accuracy of picking what the scorer likes best",
        lines={name.replace("_", " "): level.value for name, level in levels.items()},
        caption=_over_queries(report),
        bars=True,
    )


def _draw_temptation(tempted: Temptation, path: Path) -> None:
    """Draw the preferences by rule, quality and the rewards first."""
    draw.share_grid(
        {
            name: {
                f"{rule} ({count})": tempted.shares[name][rule].value
                for rule, count in tempted.counts.items()
            }
            for name in (*MAIN, *single_metrics(list(tempted.shares)))
        },
        path=path,
        label="share of pairs in which the right answer is preferred",
        caption="pairs of a right and a tempting wrong answer, by rule (number of pairs)",
    )


def _draw_gap(routing: RoutingTrial, path: Path) -> None:
    """Draw reward against accuracy of every agent."""
    draw.praise_against_truth(
        {
            reward.replace("_", " "): {
                key: (entry.row.accuracy.value, entry.row.reward.value)
                for key, entry in entries.items()
            }
            for reward, entries in routing.agents.items()
        },
        path=path,
        caption=f"every agent of the comparison; training seeds: {routing.seeds}",
    )


def _over_queries(report: EvaluatorReport) -> str:
    """Say what the bars of a plot are."""
    return f"{report.queries} test queries; bars: bootstrap 95 % over queries"


def _reliability_panels(
    report: EvaluatorReport,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """Panels of the plain sum as it is and of the quality model before and after calibration."""
    chosen = [(PLAIN, BEFORE, "plain sum, as it is")]
    chosen += [(QUALITY, BEFORE, "quality, network")]
    chosen += [(QUALITY, name, f"quality, {name}") for name in ("temperature", "isotonic")]
    panels = {}
    for scorer, name, title in chosen:
        curve, error = (
            getattr(report.trust.calibrated[scorer], f)[name] for f in ("curves", "errors")
        )
        held = curve.count > 0
        parts = (curve.confidence[held], curve.frequency[held], curve.count[held])
        panels[title] = (*parts, f"ECE {format_interval(error)}")
    return panels
