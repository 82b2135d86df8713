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
        "Outcomes: generations on train that were paid for, over the N x K that full information "
        "costs; the validation split, on which settings are chosen for all, on which networks and "
        "PPO stop early (streaming bandits keep their last state), and on which the regime's agent "
        "is chosen, comes on top. The highest of many rewards on validation is an optimist: it "
        "favours those that picked a checkpoint there."
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


def answer_section(report: RoutingReport) -> list[str]:
    """Say in words what the intervals allow to say."""
    sentences = []
    for name, meaning in _REGIMES.items():
        entry: Entry | None = getattr(report.regimes, name)
        if entry is None:
            continue
        told: dict[str, list[str]] = {}
        for other in MANDATORY:
            difference = report.figures.get(f"best_{name}_minus_{other}")
            if isinstance(difference, Interval):
                told.setdefault(_told(difference), []).append(other)
        if told:
            verdicts = "; ".join(f"{what} {', '.join(who)}" for what, who in told.items())
            sentences.append(f"- {meaning} (`{entry.row.agent}`): {verdicts}.")
    if not sentences:
        return []
    text = (
        "In reward on test, each regime's best agent (chosen on validation) against the baselines, "
        "by paired 95 % intervals:"
    )
    return ["## The answer", text, "\n".join(sentences)]


def iqm_section(report: RoutingReport) -> list[str]:
    """List interquartile means, which two lucky or unlucky seeds do not move."""
    if not report.entries:
        return []
    rows = []
    for agent in report.agents:
        cells = []
        for name in report.trainings:
            entry = report.entries.get((agent, name))
            found = (
                (None, None) if entry is None else (entry.row.reward_iqm, entry.row.accuracy_iqm)
            )
            cells += [UNDEFINED if one is None else format_interval(one) for one in found]
        rows.append([agent, *cells])
    text = (
        "Over seeds, of the mean over test queries; brackets: 95 % bootstrap over seeds and "
        "queries, stratified by task (Agarwal et al. 2021)."
    )
    header = ["agent"]
    for name in report.trainings:
        header += [
            f"{what}, trained on {name.replace('_', '-')}" for what in ("reward", "accuracy")
        ]
    return ["## Interquartile means", text, markdown_table(header, rows)]


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
        "drawn at random, ties counted half (Agarwal et al. 2021). The intervals are over seeds "
        "alone, for these queries: agents without randomness have none."
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
    first = report.train_cells // len(report.yardstick.adapters)
    rows = [_learning_row(curve, top, report.train_cells, first) for curve in report.curves]
    rows.sort(key=lambda row: -float(row[3]))
    whose = f"`{full.row.agent}`'s" if full is not None else "the best curve's"
    text = (
        "Against *outcomes*: generations paid for, not gradient steps, as a share of the N x K "
        f"= {report.train_cells:,} that full information costs. Reward is the greedy policy's on "
        f"validation, interquartile mean over seeds; levels are shares of {whose} {top:.3f}. Full "
        "information is bought query by query (all adapters at once).\n\nRegret: summed over the "
        f"stream, per outcome, on the first pass over the {first:,} queries and on all. Agents "
        "whose settings do not let them ask the same cell twice (`revisit`) must take adapters "
        "that they have not asked from then on, good or bad: information at the price of regret. "
        "`maskable_ppo`'s regret counts what its random masks forbid, `preference_ppo`'s is in "
        "the preferences that it draws: neither is to be set beside the others'."
    )
    header = ["agent", "feedback", "outcomes", "last reward"]
    header += [f"outcomes to {level:.0%}" for level in LEVELS]
    return [
        "## Learning curves",
        text,
        markdown_table([*header, "regret: first pass", "all"], rows),
        "![reward against outcomes paid for](learning_curves.png)",
        *(["![regret](regret.png)"] if any(c.regret is not None for c in report.curves) else []),
    ]


def trade_off_section(report: RoutingReport) -> list[str]:
    """Set cost against accuracy with the field's metrics."""
    if not report.trade_offs or report.arms is None:
        return []
    references, rows = report.yardstick.references, []
    points = {
        run.agent: len(run.frontier)
        for run in report.records
        if run.finished and run.trained_on == report.reward
    }
    ranked = sorted(report.trade_offs.values(), key=lambda curve: -float(curve.aiq.mean()))
    for curve in ranked:
        entry = report.entries[curve.agent, report.reward]
        saved = curve.saved[np.isfinite(curve.saved)]
        rows.append(
            [
                curve.agent + "*" * entry.row.privileged,
                str(points[curve.agent]),
                f"{curve.aiq.mean():.3f} ± {curve.aiq.std():.3f}",
                *_gains(entry.row.accuracy.value, references),
                f"{saved.mean():.3f}" if len(saved) else UNDEFINED,
            ]
        )
    text = (
        "Cost is completion tokens per answer, quality verified accuracy. AIQ: mean height of the "
        f"agent's hull between the cheapest adapter ({report.arms.costs.min():.1f} tokens) and the "
        f"dearest ({report.arms.costs.max():.1f}), ± the standard deviation over seeds. An agent "
        "that can be told a price of cost, or a preference, has a point for each, any other its "
        "one point, which is no fault of its decisions but costs it AIQ: compare within the column "
        "*points*. All may fall back on the cheapest adapter. CostSave: against the best single "
        "adapter, at no less than its accuracy. Definitions and sources: "
        "`benchmark/routing_metrics.py`."
    )
    header = ["agent", "points", "AIQ", "Gain@B", "V_B", "Gap@O", "CostSave"]
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


def _told(difference: Interval) -> str:
    """Say what an interval of a difference allows to say."""
    if difference.low > 0:
        return "above"
    return "below" if difference.high < 0 else "not to be told from"


def _learning_row(curve: LearningCurve, top: float, cells: int, first: int) -> list[str]:
    """Write one agent's line."""
    reached = [curve.outcomes_to(level * top) / cells for level in LEVELS]
    regret = [UNDEFINED, UNDEFINED]
    if curve.regret is not None:
        within = np.flatnonzero(curve.outcomes <= first)
        ends = [within[-1] if len(within) else None, len(curve.outcomes) - 1]
        regret = [
            UNDEFINED
            if end is None
            else f"{float(curve.regret[:, end].mean()) / curve.outcomes[end]:.3f}"
            for end in ends
        ]
    return [
        curve.agent,
        curve.feedback,
        f"{curve.outcomes[-1] / cells:.2f}",
        f"{float(curve.mean_reward[-1]):.4f}",
        *(UNDEFINED if np.isnan(share) else f"{share:.2f}" for share in reached),
        *regret,
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
