"""Supervised fine-tuning against GRPO from one start: gains, forgetting, what each spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from routing_gym.benchmark.evaluator_plots import interval_panels
from routing_gym.benchmark.plots import ARM_COLOURS, STYLE, finish, legend_below
from routing_gym.benchmark.report import UNDEFINED, format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval, PairedBootstrap, wilson_interval

START = "start"
GROUPS = ("validation", "made", "others")
COLOURS = dict(zip((START, "sft", "grpo", "sft_then_grpo"), ARM_COLOURS, strict=False))
READING = """\
Every arm goes on from the same adapter over the same made queries, in the same order, for the same
CPU seconds: as many updates as a pilot's median says that the budget buys. *Target*: the task that
is trained, on the table's validation queries and on made queries that are neither trained on nor in
the table. *Others*: the validation queries of the domain's other tasks, where a loss is forgetting.
Gains are paired differences to the start on the same queries, greedy answers, verified, with
bootstrap 95 % intervals over queries; there is one training seed, so that they say nothing about
another. GRPO sees no right answer, supervised fine-tuning sees one for every query. *Informative*:
the share of groups of answers that do not all earn the same, the only ones that GRPO learns from.
"""


@dataclass(frozen=True)
class Arm:
    """One adapter of a comparison: how it was trained and what it gets right.

    Parameters
    ----------
    adapter
        The adapter that it started from.
    task
        The task that it was trained on.
    name
        ``"start"``, ``"sft"``, ``"grpo"`` or ``"sft_then_grpo"``.
    right
        Group of queries, one of `GROUPS` -> verified accuracy of each; all arms of a task answer
        the same queries in the same order.
    measures
        What the training spent and saw; empty for the start.
    rewards
        Mean reward of each of GRPO's updates.
    """

    adapter: str
    task: str
    name: str
    right: Mapping[str, Sequence[float]]
    measures: Mapping[str, float] = field(default_factory=dict)
    rewards: Sequence[float] = ()

    def __post_init__(self) -> None:
        if tuple(self.right) != GROUPS or not (self.right["validation"] or self.right["made"]):
            raise ValueError(
                f"right of arm {self.name!r} on {self.task!r} has the groups {list(self.right)}: "
                f"give {', '.join(GROUPS)}, and queries of the task that is trained."
            )

    @property
    def target(self) -> np.ndarray:
        """Verified accuracy on the trained task, float64: validation queries, then made ones."""
        return np.array([*self.right["validation"], *self.right["made"]], dtype=np.float64)

    def group(self, name: str) -> np.ndarray:
        """Return verified accuracies on one of `GROUPS` or on ``"target"``, float64."""
        return self.target if name == "target" else np.asarray(self.right[name], dtype=np.float64)

    def share(self, group: str) -> Interval:
        """Return a group's verified share with Wilson's interval; undefined where it is empty."""
        values = self.group(group)
        if not len(values):
            return Interval(np.nan, np.nan, np.nan)
        return wilson_interval(float(values.sum()), len(values))


def tasks_in(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Gather the arms of each task, the start first.

    Raises
    ------
    ValueError
        If a task has no start, or its arms answered different numbers of queries.
    """
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.task, []).append(arm)
    for task, own in found.items():
        if [arm.name for arm in own].count(START) != 1:
            raise ValueError(f"the arms of task {task!r} need one named {START!r}.")
        own.sort(key=lambda arm: arm.name != START)
        sizes = {tuple(len(arm.right[group]) for group in GROUPS) for arm in own}
        if len(sizes) > 1:
            raise ValueError(f"the arms of task {task!r} answered {sizes}: ask all the same.")
    return found


def paired_gain(
    first: Arm, second: Arm, *, group: str, seed: int = 0, resamples: int = 2000
) -> Interval:
    """Paired difference of verified accuracy, `first` less `second`, on one group of queries.

    The same seed resamples the same queries, whatever arms are compared.
    """
    values = first.group(group)
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    strata = None
    if group == "target":
        strata = np.repeat([0, 1], [len(first.right["validation"]), len(first.right["made"])])
    bootstrap = PairedBootstrap(
        len(values), rng=np.random.default_rng(seed), resamples=resamples, strata=strata
    )
    return bootstrap.difference(values, second.group(group))


def comparison_figures(
    arms: Sequence[Arm], *, seed: int = 0, resamples: int = 2000
) -> dict[str, float | Interval]:
    """Name every figure of the comparison.

    Returns
    -------
    dict[str, float | Interval]
        For each task and arm ``<task>_<arm>_target``, ``_validation``, ``_made`` and ``_others``
        (accuracies); for each trained arm ``_gain``, ``_gain_validation``, ``_gain_made`` and
        ``_gain_others`` (paired differences to the start) and what was spent; and
        ``<task>_grpo_minus_sft`` where both are there.
    """
    figures: dict[str, float | Interval] = {}
    for task, own in tasks_in(arms).items():
        for arm in own:
            name = f"{task}_{arm.name}"
            figures |= {f"{name}_{group}": arm.share(group) for group in ("target", *GROUPS)}
            if arm.name == START:
                continue
            for group in ("target", *GROUPS):
                suffix = "" if group == "target" else f"_{group}"
                figures[f"{name}_gain{suffix}"] = paired_gain(
                    arm, own[0], group=group, seed=seed, resamples=resamples
                )
            figures |= {f"{name}_{key}": value for key, value in arm.measures.items()}
        named = {arm.name: arm for arm in own}
        if {"sft", "grpo"} <= set(named):
            figures[f"{task}_grpo_minus_sft"] = paired_gain(
                named["grpo"], named["sft"], group="target", seed=seed, resamples=resamples
            )
    return figures


def comparison_markdown(arms: Sequence[Arm], figures: Mapping[str, float | Interval]) -> str:
    """Write the report: how to read it, then a table of results and one of costs per task."""
    parts = ["# Supervised fine-tuning and GRPO", READING]
    for task, own in tasks_in(arms).items():
        counts = ", ".join(f"{len(own[0].right[group])} {group}" for group in GROUPS)
        parts.append(f"## {task}, from the adapter *{own[0].adapter}*\n\nQueries: {counts}.\n")
        parts.append(_accuracy_table(task, own, figures) + "\n")
        parts.append(_cost_table(own) + "\n")
        versus = figures.get(f"{task}_grpo_minus_sft")
        if isinstance(versus, Interval):
            text = format_interval(versus, digits=2, signed=True)
            parts.append(f"GRPO less supervised fine-tuning on the target: {text}.\n")
    return "\n".join(
        [
            *parts,
            "![accuracy](accuracy.png)\n",
            "![others](others.png)\n",
            "![rewards](rewards.png)",
        ]
    )


def draw_shares(arms: Sequence[Arm], *, group: str, path: Path) -> None:
    """Draw each arm's accuracy on one group of queries, one panel per task."""
    tasks = tasks_in(arms)
    names = list(dict.fromkeys(arm.name for own in tasks.values() for arm in own))
    undefined = Interval(np.nan, np.nan, np.nan)
    panels = {
        task: {
            name: next((a.share(group) for a in own if a.name == name), undefined) for name in names
        }
        for task, own in tasks.items()
    }
    what = "the trained task" if group == "target" else "the domain's other tasks"
    interval_panels(
        panels,
        path=path,
        label=f"verified accuracy on {what}, Wilson 95 %",
        colours=COLOURS,
        bars=True,
    )


def draw_rewards(arms: Sequence[Arm], *, path: Path, window: int = 5) -> None:
    """Draw the mean reward of GRPO's updates, and its running mean, one panel per task."""
    tasks = tasks_in(arms)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 3.3 * len(tasks), 3.6), layout="constrained")
        grid = np.atleast_1d(figure.subplots(1, len(tasks), sharey=True))
        for axes, (task, own) in zip(grid, tasks.items(), strict=True):
            for arm in own:
                values = np.asarray(arm.rewards, dtype=np.float64)
                if not len(values):
                    continue
                updates = np.arange(1, len(values) + 1)
                colour = COLOURS.get(arm.name, "black")
                axes.plot(updates, values, "o", ms=3, alpha=0.35, color=colour)
                axes.plot(
                    updates,
                    _running_mean(values, window),
                    color=colour,
                    label=arm.name.replace("_", " "),
                )
            axes.set_title(task)
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel("update")
            axes.grid(alpha=0.3)
        grid[0].set_ylabel("mean reward of the answers drawn")
        handles = {
            h.get_label(): h for axes in grid for h in axes.lines if h.get_marker() == "None"
        }
        if handles:
            legend_below(figure, list(handles.values()))
        finish(figure, path, "")


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Average each value with those before it, `window` at most."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _accuracy_table(task: str, own: Sequence[Arm], figures: Mapping[str, float | Interval]) -> str:
    """Tabulate accuracies and gains of a task's arms."""
    rows = []
    for arm in own:
        gains = [figures.get(f"{task}_{arm.name}_gain{suffix}") for suffix in ("", "_others")]
        rows.append(
            [
                arm.name.replace("_", " "),
                *(f"{arm.share(group).value:.2f}" for group in GROUPS),
                *(
                    format_interval(gain, digits=2, signed=True)
                    if isinstance(gain, Interval)
                    else UNDEFINED
                    for gain in gains
                ),
            ]
        )
    header = ["arm", "validation", "made", "others", "gain on the target", "gain on others"]
    return markdown_table(header, [[UNDEFINED if c == "nan" else c for c in row] for row in rows])


def _cost_table(own: Sequence[Arm]) -> str:
    """Tabulate what a task's trained arms spent and saw."""
    columns = {
        "updates": ("updates", 0),
        "queries": ("queries", 0),
        "CPU s": ("cpu_seconds", 0),
        "seconds": ("seconds", 0),
        "tokens read": ("trained_tokens", 0),
        "tokens written": ("generated_tokens", 0),
        "informative": ("informative_share", 2),
    }
    rows = [
        [arm.name.replace("_", " ")]
        + [
            f"{arm.measures[key]:,.{digits}f}" if key in arm.measures else UNDEFINED
            for key, digits in columns.values()
        ]
        for arm in own
        if arm.name != START
    ]
    return markdown_table(["arm", *columns], rows)
