"""Sections of the routing report: regimes, improvement, learning, cost, tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.figures import Entry
from routing_gym.benchmark.improvement import probability_of_improvement, task_scores
from routing_gym.benchmark.learning import LearningCurve
from routing_gym.benchmark.regimes import MANDATORY, SHARE
from routing_gym.benchmark.report import UNDEFINED, format_interval, markdown_table
from routing_gym.benchmark.routing_metrics import gain_over_best, gap_to_oracle, value_over_best
from routing_gym.benchmark.routing_study import RoutingReport
from routing_gym.benchmark.statistics import Interval

LEVELS = (0.95, 0.99)  # of the best full-information agent's reward on validation


def regimes_section(report: RoutingReport) -> list[str]:
    """Name each regime's best agent and set it against the mandatory baselines."""
    rows = []
    for name, meaning in _REGIMES.items():
        entry: Entry | None = getattr(report.regimes, name)
        if entry is None:
            continue
        cells = [_difference(report, f"best_{name}_minus_{other}") for other in MANDATORY]
        gap = format_interval(entry.row.reward_gap_closed)
        paid = f"{entry.outcomes / report.train_cells:.2f}"
        rows.append([meaning, f"`{entry.row.agent}`", paid, gap, *cells])
    if not rows:
        return []
    text = (
        f"Trained on {report.reward.replace('_', '-')}. Each regime is represented by the agent "
        "with the highest reward on *validation*; differences are in reward on test, paired. "
        "Outcomes: generations paid for, over the N x K that full information costs."
    )
    header = ["regime", "agent", "outcomes", "gap closed [95 %]"]
    header += [f"minus {name} [95 %]" for name in MANDATORY]
    ratio = report.figures.get("best_bandit_over_full")
    tail = (
        f"The best bandit within {SHARE:.0%} of the outcomes has {format_interval(ratio)} of the "
        "best full-information agent's reward."
        if isinstance(ratio, Interval)
        else ""
    )
    return [part for part in ("## Regimes", text, markdown_table(header, rows), tail) if part]


def improvement_section(report: RoutingReport) -> list[str]:
    """Tell how probably each agent's run beats those of the baselines, task by task."""
    scores = {
        agent: task_scores(
            metrics.chosen(report.yardstick.reward, entry.actions), report.yardstick.tasks
        )[0]
        for (agent, trained_on), entry in report.entries.items()
        if trained_on == report.reward and not entry.row.privileged
    }
    others = [name for name in _opponents(report) if name in scores]
    if not others:
        return []
    rng, rows = np.random.default_rng(0), []
    ranked = sorted(scores, key=lambda agent: -float(scores[agent].mean()))
    for agent in ranked:
        cells = [
            UNDEFINED
            if agent == other
            else format_interval(
                probability_of_improvement(scores[agent], scores[other], rng=rng), digits=2
            )
            for other in others
        ]
        rows.append([agent, *cells])
    text = (
        "Probability that a run of the agent has a higher reward than a run of the other on a task "
        "drawn at random, ties counted half (Agarwal et al. 2021); intervals over seeds."
    )
    header = ["agent", *(f"beats {name} [95 %]" for name in others)]
    return ["## Probability of improvement", text, markdown_table(header, rows)]


def learning_section(report: RoutingReport) -> list[str]:
    """Tell after how many outcomes each agent comes near the best."""
    if not report.curves:
        return []
    full = report.regimes.full
    best = max(float(curve.mean_reward.max()) for curve in report.curves)
    top = full.validation_reward if full is not None else best
    rows = [_learning_row(curve, top, report.train_cells) for curve in report.curves]
    rows.sort(key=lambda row: -float(row[3]))
    whose = f"`{full.row.agent}`'s" if full is not None else "the best curve's"
    text = (
        "Against *outcomes*: generations paid for, not gradient steps, as a share of the N x K "
        f"= {report.train_cells:,} that full information costs. Reward is the greedy policy's on "
        f"validation, interquartile mean over seeds; levels are shares of {whose} {top:.3f}. Full "
        "information is bought query by query (all adapters at once). Regret: summed over the "
        "stream, per outcome."
    )
    header = ["agent", "feedback", "outcomes", "last reward"]
    header += [f"outcomes to {level:.0%}" for level in LEVELS]
    return [
        "## Learning curves",
        text,
        markdown_table([*header, "regret per outcome"], rows),
        "![reward against outcomes paid for](learning_curves.png)",
        *(["![regret](regret.png)"] if any(c.regret is not None for c in report.curves) else []),
    ]


def trade_off_section(report: RoutingReport) -> list[str]:
    """Set cost against accuracy with the field's metrics."""
    if not report.trade_offs or report.arms is None:
        return []
    references, rows = report.yardstick.references, []
    ranked = sorted(report.trade_offs.values(), key=lambda curve: -float(curve.aiq.mean()))
    for curve in ranked:
        entry = report.entries[curve.agent, report.reward]
        saved = curve.saved[np.isfinite(curve.saved)]
        rows.append(
            [
                curve.agent + "*" * entry.row.privileged,
                f"{curve.aiq.mean():.3f} ± {curve.aiq.std():.3f}",
                *_gains(entry.row.accuracy.value, references),
                f"{saved.mean():.3f}" if len(saved) else UNDEFINED,
            ]
        )
    text = (
        "Cost is completion tokens per answer, quality verified accuracy. AIQ: mean height of the "
        f"agent's hull between the cheapest adapter ({report.arms.costs.min():.1f} tokens) and the "
        f"dearest ({report.arms.costs.max():.1f}), ± the standard deviation over seeds; an agent "
        "that predicts rewards has a point per price of cost, any other one point, and all may "
        "fall back on the cheapest adapter. CostSave: against the best single adapter, at no less "
        "than its accuracy. Definitions and sources: `benchmark/routing_metrics.py`."
    )
    header = ["agent", "AIQ", "Gain@B", "V_B", "Gap@O", "CostSave"]
    picture = "![cost against accuracy](trade_offs.png)"
    return ["## Cost against accuracy", text, markdown_table(header, rows), picture]


def tuning_section(report: RoutingReport) -> list[str]:
    """Show what tuning chose, and what it was worth on validation."""
    if not report.tuned:
        return []
    rows = []
    for (agent, reward), found in report.tuned.items():
        rows.append(
            [
                agent,
                reward.replace("_", "-"),
                str(found.trials),
                f"{found.seconds:.0f}",
                f"{found.default_reward:.4f}",
                f"{found.chosen_reward:.4f}",
                _options(found.spec.options),
            ]
        )
    text = (
        "Every agent that has settings was tried with the same number of them, its defaults among "
        "them, on training seeds that no judged run uses; the highest reward on validation won. "
        "The search spaces are in `configs/compare.yaml`. Agents that are absent here have nothing "
        "to tune."
    )
    header = ["agent", "trained on", "trials", "seconds", "defaults", "chosen", "settings"]
    return ["## Tuning", text, markdown_table(header, rows)]


_REGIMES = {
    "full": "full information",
    "bandit": "bandit feedback",
    "frugal": f"bandit, at most {SHARE:.0%} of the outcomes",
}


def _opponents(report: RoutingReport) -> list[str]:
    """Name whom everyone is set against: kNN and the regimes' best."""
    best = [report.regimes.full, report.regimes.frugal]
    return ["knn", *dict.fromkeys(entry.row.agent for entry in best if entry is not None)]


def _difference(report: RoutingReport, figure: str) -> str:
    """Write a signed figure, or a dash."""
    value = report.figures.get(figure)
    return format_interval(value, signed=True) if isinstance(value, Interval) else UNDEFINED


def _learning_row(curve: LearningCurve, top: float, cells: int) -> list[str]:
    """Write one agent's line."""
    reached = [curve.outcomes_to(level * top) / cells for level in LEVELS]
    regret = UNDEFINED
    if curve.regret is not None:
        regret = f"{float(curve.regret[:, -1].mean()) / curve.outcomes[-1]:.3f}"
    return [
        curve.agent,
        curve.feedback,
        f"{curve.outcomes[-1] / cells:.2f}",
        f"{float(curve.mean_reward[-1]):.4f}",
        *(UNDEFINED if np.isnan(share) else f"{share:.2f}" for share in reached),
        regret,
    ]


def _gains(accuracy: float, references: Mapping[str, float]) -> list[str]:
    """Write Gain@B, V_B and Gap@O; dashes where there is nothing to divide by."""
    best, oracle = references["best_single_accuracy"], references["oracle_accuracy"]
    over = [UNDEFINED, UNDEFINED]
    if best > 0:
        over = [
            f"{gain_over_best(accuracy, best_single=best):+.3f}",
            f"{value_over_best(accuracy, best_single=best):.3f}",
        ]
    return [*over, f"{gap_to_oracle(accuracy, oracle=oracle):.3f}" if oracle > 0 else UNDEFINED]


def _options(options: Mapping[str, Any]) -> str:
    """Write settings as text."""
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "defaults"
