"""The report of the scenarios: tables, learning curves and pictures of the policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.report import UNDEFINED, format_interval, markdown_table
from routing_gym.benchmark.scenario_explained import Subject, explain
from routing_gym.benchmark.scenario_figures import Comparison, ScenarioBootstrap
from routing_gym.benchmark.scenario_judging import means
from routing_gym.benchmark.scenario_panels import Line, Panel, draw_panels, spread
from routing_gym.benchmark.scenario_records import POLICY_FOLDER, ScenarioRun
from routing_gym.benchmark.scenario_rows import read_curves
from routing_gym.benchmark.scenario_study import PPO, ScenarioResult, TunedRule
from routing_gym.benchmark.statistics import Interval

SHOWN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "budget": (("refused", "refused queries, share"), ("budget_left", "budget left, mean share")),
    "adapter_cache": (("swap", "swaps per query"), ("hit", "cache hits per query")),
    "cascade": (("tries", "tries per query"), ("cost", "paid per query, in units of value")),
    "drift": (("regret", "regret per query"), ("chose_changed", "changed adapter chosen, share")),
    "preference": (("regret", "regret per query"), ("accuracy", "verified accuracy")),
}
"""Scenario -> the quantities of its own that are drawn over training, with their labels."""
READING: Mapping[str, str] = {
    "budget": (
        "Left: how the money goes in time, against the optimum in hindsight, which knows every "
        "query to come. Right: what is spent on a query, by what is left for it."
    ),
    "adapter_cache": (
        "Left: how much better the best adapter outside the memory must be predicted to be than "
        "the best one inside before it is loaded; hysteresis is a step, smeared by adapters that "
        "take different seconds. Right: swaps over the episode, which begins with empty slots; "
        "towards its end there is little left that a swap could serve."
    ),
    "cascade": (
        "Left: the score of the first answer below which another adapter is tried. Right: how many "
        "tries that makes."
    ),
    "drift": (
        "Left: how regret jumps when the pool changes, and how fast it falls again. `informed "
        "greedy` is told of the change and believes the predictions of what the adapters have "
        "become. Right: regret after the change, by what happened."
    ),
    "preference": (
        "Left: which adapter answers as the weight of the first metric rises, PPO against the rule "
        "(dashed). Right: the regret at each weight."
    ),
}
"""Scenario -> how to read its picture."""


@dataclass(frozen=True)
class Curve:
    """A quantity on validation over training.

    Parameters
    ----------
    steps
        int64 (P,), decisions.
    values
        float64 (S, P), one row per seed.
    """

    steps: np.ndarray
    values: np.ndarray


def curve(runs: Sequence[ScenarioRun], quantity: str) -> Curve:
    """Join the seeds' curves of a quantity; they were measured at the same steps."""
    found = [[p for p in read_curves(run) if p["quantity"] == quantity] for run in runs]
    points = min(len(rows) for rows in found)
    steps = np.array([p["step"] for p in found[0][:points]], dtype=np.int64)
    return Curve(steps, np.array([[p["value"] for p in rows[:points]] for rows in found]))


def learning_panels(result: ScenarioResult) -> tuple[Panel, ...]:
    """Draw up the return on validation and two of the scenario's own quantities over training."""
    rule = result.best_rule
    levels = means(result.judging.play(rule.build(), result.problem.data, "validation"))
    bounds = result.judging.bounds(result.problem, "validation")
    panels = []
    for name, label in (("return", "return on validation"), *SHOWN[result.name]):
        lines = []
        for place, (of, runs) in enumerate(result.runs.items()):
            found = curve(runs, name)
            role = "ppo" if of == PPO else "second" if place == 1 else "other"
            shown = "PPO" if of == PPO else f"PPO, {of}"
            lines.append(spread(shown, found.steps / 1e3, list(found.values), role=role))
        lines.append(_level(f"best rule: {rule.label}", levels[name], "rule"))
        if name == "return" and bounds is not None:
            lines.append(_level("hindsight bound", float(bounds.mean()), "bound"))
        floor = _floor(lines) if name == "return" else None
        panels.append(Panel("", "thousand decisions", label, tuple(lines), floor=floor))
    return tuple(panels)


def _floor(lines: Sequence[Line]) -> float:
    """Leave out most of the climb from nothing: show what the ends of the curves lie between."""
    ends = [float(line.y[-1]) for line in lines]
    return min(ends) - 0.15 * (max(ends) - min(ends))


def _level(label: str, value: float, role: str) -> Line:
    """Make a line across the panel."""
    return Line(label, np.zeros(1), np.array([value]), role)


def scenario_plots(
    results: Sequence[ScenarioResult], load: Callable[[Path], ScenarioPolicy]
) -> dict[str, Callable[[Path], None]]:
    """Name each figure's file and what draws it.

    Parameters
    ----------
    results
        Of the scenarios with finished runs.
    load
        Reads a policy from its folder.
    """
    plots: dict[str, Callable[[Path], None]] = {}
    for result in results:
        seeds = len(result.runs[PPO])
        title = result.name.replace("_", " ")
        plots[f"{result.name}_curves.png"] = partial(
            _draw_later,
            partial(learning_panels, result),
            f"{title}: mean and span of {seeds} seeds",
        )
        plots[f"{result.name}_policy.png"] = partial(
            _draw_later,
            partial(_explained, result, load),
            f"{title}: what PPO does on test queries; mean and span of {seeds} seeds",
        )
    return plots


def _draw_later(make: Callable[[], tuple[Panel, ...]], caption: str, path: Path) -> None:
    """Make panels and draw them."""
    draw_panels(make(), path=path, caption=caption)


def _explained(result: ScenarioResult, load: Callable[[Path], ScenarioPolicy]) -> tuple[Panel, ...]:
    """Load the learned policies and explain them."""
    policies = [load(run.folder / POLICY_FOLDER) for run in result.runs[PPO]]
    rule = result.best_rule
    return explain(
        Subject(result.problem, policies, rule.build(), rule.label, result.judging.test_seed)
    )


def verdict(difference: Interval) -> str:
    """Say whether PPO is above the best rule, below it, or neither."""
    if difference.low > 0:
        return "above"
    return "below" if difference.high < 0 else "no difference"


def report_text(results: Sequence[ScenarioResult], *, resamples: int, seed: int) -> str:
    """Write the report in Markdown.

    Parameters
    ----------
    results
        Of the scenarios.
    resamples, seed
        Of the bootstrap.
    """
    found = {
        r.name: (r, ScenarioBootstrap(r, resamples=resamples, seed=seed))
        for r in results
        if PPO in r.runs
    }
    compared = {name: bootstrap.compare() for name, (_, bootstrap) in found.items()}
    parts = ["# Scenarios", _introduction(results)]
    if found:
        parts.append(_overview([found[n][0] for n in found], compared))
    for name, (result, bootstrap) in found.items():
        parts.append(f"## {name}")
        parts.append(_rules_table(result))
        parts.append(_runs_table(result, bootstrap))
        parts.append(_quantities_table(result))
        parts.append(f"![learning curves]({name}_curves.png)")
        parts.append(f"![what the policy does]({name}_policy.png)")
        parts.append(READING[name])
    failures = [run for result in results for run in result.failures]
    if failures:
        lines = [f"- {f.scenario} / {f.label} / seed {f.seed}: {f.error}" for f in failures]
        parts.append("## Failed runs\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _introduction(results: Sequence[ScenarioResult]) -> str:
    """Say how it was done."""
    made = [run for result in results for runs in result.runs.values() for run in runs]
    minutes = sum(run.train_seconds for run in made) / 60
    seeds = {run.seed for run in made}
    return (
        "Made by `scripts/study_scenarios.py`. In every scenario the rules and PPO see the same: "
        "predicted values (and costs) of each adapter's answer by a ridge regression, out of fold "
        "on the train split, and the scenario's state. Each rule's parameter is the best of its "
        "grid on validation; PPO's weights are those that were best on the same validation "
        "episodes during training, and its settings were chosen with train and validation alone. "
        f"Each of {len(seeds)} seeds is judged once, on the same test episodes as the rules. "
        f"The {len(made)} trainings took {minutes:.0f} minutes in sum, on one thread each.\n\n"
        "Intervals are 95 %. They resample seeds and test episodes, and add what a resample of the "
        "test split's *queries* moves the figure by (all policies play again on bootstrap "
        "resamples of the split, and the noise of their episodes is taken off by an analysis of "
        "variance): episodes draw the same queries again and again, so that more episodes alone "
        "would make any difference look certain. Training and tuning are not repeated on other "
        "queries. The *hindsight bound* knows every outcome beforehand; nothing that plays by the "
        "rules can reach it. `*` marks yardsticks that read outcomes."
    )


def _overview(results: Sequence[ScenarioResult], compared: Mapping[str, Comparison]) -> str:
    """Tabulate PPO against the best rule, a line per scenario."""
    lines = []
    for result in results:
        found, rule = compared[result.name], result.best_rule
        base = rule.test.returns.mean()
        gain = found.minus_rule
        lines.append(
            [
                result.name,
                rule.label,
                f"{base:.4g}",
                f"{found.iqm.value:.4g}",
                format_interval(gain, digits=4, signed=True),
                f"{100 * gain.value / base:+.2f} %",
                _share(found.rule_share),
                _share(found.share),
                verdict(gain),
            ]
        )
    header = ["scenario", "best rule", "rule", "PPO IQM", "PPO - rule [95 %]", "relative"]
    return markdown_table([*header, "rule / bound", "PPO / bound", "PPO is"], lines)


def _share(share: Interval | None) -> str:
    """Write a share of the bound."""
    return UNDEFINED if share is None else f"{100 * share.value:.1f} %"


def _rules_table(result: ScenarioResult) -> str:
    """Tabulate every rule."""
    ranked = sorted(result.rules, key=lambda rule: (rule.family.privileged, -rule.best))
    lines = [_rule_line(result, rule) for rule in ranked]
    if result.problem.bound is not None and result.bound is not None:
        bound = float(result.bound.mean())
        less = f"{result.returns().mean() - bound:+.4f}"
        lines.append(["hindsight bound*", "", UNDEFINED, f"{bound:.4g}", "100.0 %", less])
    header = ["rule", "parameter", "validation", "test", "share of bound", "PPO - rule"]
    return markdown_table(header, lines)


def _rule_line(result: ScenarioResult, rule: TunedRule) -> list[str]:
    """Write a rule's line."""
    test = float(rule.test.returns.mean())
    share = UNDEFINED if result.bound is None else f"{100 * test / result.bound.mean():.1f} %"
    parameter = "" if rule.parameter is None else f"{rule.parameter:g}"
    label = rule.label + "*" * rule.family.privileged
    more = f"{result.returns().mean() - test:+.4f}"
    return [label, parameter, f"{rule.best:.4g}", f"{test:.4g}", share, more]


def _runs_table(result: ScenarioResult, bootstrap: ScenarioBootstrap) -> str:
    """Tabulate PPO's labels."""
    lines = []
    for label, runs in result.runs.items():
        found = bootstrap.compare(label)
        share = UNDEFINED if found.share is None else format_interval(found.share)
        lines.append(
            [
                label,
                str(len(runs)),
                f"{np.mean([run.validation_return for run in runs]):.4g}",
                format_interval(found.iqm),
                format_interval(found.minus_rule, digits=4, signed=True),
                share,
                f"{np.mean([run.train_seconds for run in runs]):.0f}",
            ]
        )
    header = ["PPO", "seeds", "validation", "test IQM [95 %]", "minus best rule [95 %]"]
    return markdown_table([*header, "share of bound [95 %]", "seconds"], lines)


def _quantities_table(result: ScenarioResult) -> str:
    """Tabulate the scenario's own quantities on test: the best rule's, and PPO's over the seeds."""
    rule = means(result.best_rule.test)
    found = {label: [means(run.test) for run in runs] for label, runs in result.runs.items()}
    lines = [
        [name, f"{value:.4g}"]
        + [f"{np.mean([run[name] for run in runs]):.4g}" for runs in found.values()]
        for name, value in rule.items()
        if name != "return"
    ]
    return markdown_table(["mean on test", result.best_rule.label, *found], lines)
