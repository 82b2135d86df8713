"""The self-evaluator's report: what can be trusted, and what fools what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routing_gym.benchmark import evaluator_sections as sections
from routing_gym.benchmark.evaluator_calibration import BEFORE, Calibrated, SetCoverage, Uncertain
from routing_gym.benchmark.evaluator_figures import (
    ALL,
    PLAIN,
    QUALITY,
    Probe,
    RankingGrid,
)
from routing_gym.benchmark.evaluator_probes import OVERALL, ConsistencyCheck, Temptation
from routing_gym.benchmark.figures import Entry
from routing_gym.benchmark.report import figures_table, format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval

DEFINITIONS = """\
A *scorer* gives an answer a number without seeing the reference: a metric, the learned `quality`,
the `default_reward` (quality less the costs) or the `plain_sum` (single metrics with weights set by
hand). AUROC: probability that a right answer scores above a wrong one; within query: the same among
the adapters' answers to one query, which is what routing needs. ECE: distance between the
probability claimed and the share that is right. Everything is measured on the test split and
nothing is fitted on it. Brackets: 95 % intervals, whole queries resampled."""
TARGETS: tuple[tuple[str, float, float, str], ...] = (
    ("auroc_overall", 0.90, 1.0, "quality ranks right above wrong"),
    ("auroc_domain_min", 0.80, 1.0, "the same in its weakest domain"),
    ("adversarial_right", 0.85, 1.0, "quality prefers the right answer of a pair"),
    ("ece", 0.0, 0.03, "calibration error of quality"),
    ("conformal_coverage", 0.88, 0.92, "coverage of the 90 % sets"),
    ("error_auroc", 0.75, 1.0, "uncertainty predicts errors (the lower of two methods)"),
    ("accuracy_kept", 0.95, float("inf"), "accuracy of PPO that never saw the truth, kept"),
    ("scoring_over_generation", 0.0, 0.10, "time of scoring over time of generating"),
)


@dataclass(frozen=True)
class Trust:
    """Whether scores mean what they say.

    Parameters
    ----------
    calibrated
        Scorer -> its calibration; of the quality model before the one that is shipped with it.
    shipped_error
        Calibration error of the quality metric as it is given out.
    uncertain
        Method -> how well it predicts the quality model's errors.
    error_rate
        Share of answers that the quality model judges wrongly.
    sets
        Method -> its conformal prediction sets; the first is the headline.
    """

    calibrated: Mapping[str, Calibrated]
    shipped_error: Interval
    uncertain: Mapping[str, Uncertain]
    error_rate: Interval
    sets: Mapping[str, SetCoverage]


@dataclass(frozen=True)
class RoutingTrial:
    """What routers reach that trust the scores.

    Parameters
    ----------
    probes, levels
        Scorer -> the policy that picks what it likes best; accuracies to read it against.
    agents
        Reward -> agent and training reward -> its runs, measured by that reward.
    kept
        Training reward -> agent -> share of the accuracy that training on the truth reaches.
    seeds
        Number of training seeds behind `agents`.
    """

    probes: Mapping[str, Probe]
    levels: Mapping[str, Interval]
    agents: Mapping[str, Mapping[tuple[str, str], Entry]]
    kept: Mapping[str, Mapping[str, Interval]]
    seeds: int


@dataclass(frozen=True)
class EvaluatorReport:
    """What was found out about the self-evaluator.

    Parameters
    ----------
    figures
        The headline figures.
    queries, adapters
        The test split's number of queries, and the adapters' names.
    grid
        Ranking of answers by every scorer.
    trust, routing
        What scores claim, and what routers reach that trust them.
    tempted
        Adversarial pairs.
    fairer
        View -> the same where answers that no adapter wrote have no handicap.
    consistency
        Sampled self-consistency; None if no samples were drawn.
    cost
        What was measured of the time of scoring.
    """

    figures: Mapping[str, float | Interval]
    queries: int
    adapters: tuple[str, ...]
    grid: RankingGrid
    trust: Trust
    routing: RoutingTrial
    tempted: Temptation
    fairer: Mapping[str, Temptation]
    consistency: ConsistencyCheck | None
    cost: Mapping[str, float | Interval]


def evaluator_markdown(report: EvaluatorReport) -> str:
    """Write the report for people."""
    parts = [
        "# Can the self-evaluator be trusted?",
        f"{report.queries} test queries x {len(report.adapters)} adapters "
        f"({', '.join(report.adapters)}).",
        DEFINITIONS,
        "## The numbers to reach",
        _targets_table(report.figures),
        "## What can be trusted, and what fools what",
        *_findings(report),
        _overview_table(report),
        *sections.ranking_section(report.grid),
        *sections.calibration_section(report.trust.calibrated, report.trust.shipped_error),
        *sections.uncertainty_section(report.trust.uncertain, report.trust.error_rate),
        *sections.sets_section(report.trust.sets),
        *sections.gap_section(
            report.routing.agents, report.routing.kept, seeds=report.routing.seeds
        ),
        *sections.hacking_section(report.routing.probes, report.routing.levels),
        *sections.temptation_section(report.tempted, report.fairer),
        *sections.consistency_section(report.consistency),
        *sections.cost_section(report.cost),
        "## All figures",
        figures_table(report.figures),
    ]
    return "\n\n".join(parts) + "\n"


def _targets_table(figures: Mapping[str, float | Interval]) -> str:
    """Set the figures against what was asked of them."""
    lines = []
    for name, low, high, text in TARGETS:
        figure = figures.get(name)
        if figure is None:
            lines.append([f"`{name}`", text, _range(low, high), "not measured", "no"])
            continue
        value = figure.value if isinstance(figure, Interval) else figure
        shown = format_interval(figure) if isinstance(figure, Interval) else f"{figure:.3f}"
        reached = "yes" if low <= value <= high else "no"
        lines.append([f"`{name}`", text, _range(low, high), shown, reached])
    return markdown_table(["figure", "what", "target", "found [95 %]", "reached"], lines)


def _range(low: float, high: float) -> str:
    """Write an asked range."""
    if high >= 1:
        return f"≥ {low:.2f}"
    return f"≤ {high:.2f}" if low <= 0 else f"{low:.2f}–{high:.2f}"


def _findings(report: EvaluatorReport) -> list[str]:
    """Say in sentences what the numbers allow to say."""
    grid, quality = report.grid, report.grid.cells[QUALITY]
    weakest = grid.weakest(QUALITY)
    chance = [name for name, cells in grid.cells.items() if cells[ALL].auroc.low <= 0.5]
    idle = [
        name for name, probe in report.routing.probes.items() if probe.over_best_single.low <= 0
    ]
    fooled = {
        name: [rule for rule in report.tempted.counts if shares[rule].value < 0.5]
        for name, shares in report.tempted.shares.items()
    }
    texts = [
        f"`quality` ranks with AUROC {format_interval(quality[ALL].auroc)}, in its weakest domain "
        f"({weakest}) {format_interval(quality[weakest].auroc)}; the plain sum with "
        f"{format_interval(grid.cells[PLAIN][ALL].auroc)}, the best single metric, "
        f"`{grid.best_metric}` (chosen on validation), with "
        f"{format_interval(grid.cells[grid.best_metric][ALL].auroc)}.",
        f"No better than chance overall: {_names(chance)}.",
        f"Picking what they like best is not surely better than one adapter for every query: "
        f"{_names(idle)}.",
        f"`quality` prefers the wrong answer more often than the right one on: "
        f"{_names(fooled[QUALITY])}; `{PLAIN}` on: {_names(fooled[PLAIN])}.",
    ]
    return ["\n".join(f"- {text}" for text in texts)]


def _names(names: list[str]) -> str:
    """List names as code; "none" if there are none."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def _overview_table(report: EvaluatorReport) -> str:
    """Put each scorer's strengths and its weakest spot in one line."""
    lines = []
    for name, cells in sorted(
        report.grid.cells.items(), key=lambda item: -item[1][ALL].auroc.value
    ):
        weakest, rule = report.grid.weakest(name), report.tempted.worst_rule(name)
        shares = report.tempted.shares[name]
        error = report.trust.calibrated[name].errors[BEFORE]
        if name == QUALITY:
            error = report.trust.shipped_error
        lines.append(
            [
                f"`{name}`",
                f"{cells[ALL].auroc.value:.3f}",
                f"{cells[weakest].auroc.value:.3f} ({weakest})",
                f"{cells[ALL].within_query.value:.3f}",
                f"{error.value:.3f}",
                f"{report.routing.probes[name].accuracy.value:.3f}",
                f"{shares[OVERALL].value:.3f}",
                f"{rule} ({shares[rule].value:.2f})",
            ]
        )
    header = ["scorer", "AUROC", "weakest domain", "within query", "ECE as it is",
              "accuracy if maximised", "right answer preferred", "fooled most by"]  # fmt: skip
    return markdown_table(header, lines)
