"""Figures of the self-evaluator's report: ranking, reliability, risk and coverage, sets, probes.

Colours are those of `routing_gym.benchmark.plots`; names, markers or dashes always say the same,
so that no figure depends on colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from routing_gym.benchmark.plots import (
    ARM_COLOURS,
    MARKERS,
    STYLE,
    agent_colour,
    finish,
    legend_below,
    training_handles,
)
from routing_gym.benchmark.statistics import Interval

SCORER_COLOURS = {"quality": "#D55E00", "default_reward": "#0072B2", "plain_sum": "#009E73"}
METRIC_COLOUR = "#7A7A7A"
LINE_STYLES = ("-", "--", ":", "-.")


def interval_panels(
    panels: Mapping[str, Mapping[str, Interval]],
    *,
    path: Path,
    label: str,
    caption: str = "",
    lines: Mapping[str, float] | None = None,
    colours: Mapping[str, str] | None = None,
    bars: bool = False,
) -> None:
    """Draw values with their intervals, one line per name and one panel per group.

    Parameters
    ----------
    panels
        Title -> name -> interval; all panels name the same things, the first sets their order
        (best on top). Undefined intervals are left out.
    path
        PNG file to write.
    label
        Of the value axis.
    caption
        Written above.
    lines
        Legend -> value of a vertical reference line.
    colours
        Name -> colour; others are those of scorers.
    bars
        Whether bars from 0 are drawn under the intervals.
    """
    first = next(iter(panels.values()))
    names = sorted(first, key=lambda name: -np.nan_to_num(first[name].value, nan=-1.0))
    chosen = {name: METRIC_COLOUR for name in names} | SCORER_COLOURS | dict(colours or {})
    with mpl.rc_context(STYLE):
        size = (3.6 + 2.6 * len(panels) + 2.4 * (len(panels) == 1), 1.7 + 0.34 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        grid = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
        for axes, (title, values) in zip(grid, panels.items(), strict=True):
            for position, name in enumerate(names):
                _draw_value(axes, position, values.get(name), colour=chosen[name], bar=bars)
            for style, level in zip(LINE_STYLES[1:], (lines or {}).values(), strict=False):
                axes.axvline(level, color="black", lw=1.2, ls=style, alpha=0.75)
            axes.set_title(title)
            axes.grid(axis="x", alpha=0.3)
        grid[0].set_yticks(np.arange(len(names)), names)
        grid[0].set_ylim(len(names) - 0.4, -0.6)
        for axes in grid if len(grid) < 3 else grid[len(grid) // 2 : len(grid) // 2 + 1]:
            axes.set_xlabel(label)
        handles = [
            Line2D([], [], color="black", lw=1.2, ls=style, label=name)
            for style, name in zip(LINE_STYLES[1:], lines or {}, strict=False)
        ]
        if handles:
            legend_below(figure, handles)
        finish(figure, path, caption)


def reliability(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, str]],
    *,
    path: Path,
    caption: str = "",
) -> None:
    """Draw the share of right answers over the probability that was claimed.

    Parameters
    ----------
    panels
        Title -> (mean claimed probability, share right, number of answers, note); arrays (bins,)
        without empty bins, the note (the ECE) is written inside.
    path, caption
        As in `interval_panels`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.3 * len(panels), 4.9), layout="constrained")
        grid = figure.subplots(
            2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(4, 1)
        )
        for column, (title, (claimed, right, counts, note)) in enumerate(panels.items()):
            upper, lower = grid[0, column], grid[1, column]
            upper.plot([0, 1], [0, 1], color="black", ls="--", lw=1, alpha=0.7)
            upper.vlines(claimed, claimed, right, color=ARM_COLOURS[2], lw=3, alpha=0.8)
            upper.plot(claimed, right, "o-", color=ARM_COLOURS[1], ms=6, lw=1.6)
            upper.text(0.04, 0.96, note, transform=upper.transAxes, va="top", fontsize=10)
            upper.set_title(title)
            upper.set_xlim(0, 1)
            upper.set_ylim(0, 1)
            upper.grid(alpha=0.3)
            lower.bar(claimed, counts, width=0.035, color=METRIC_COLOUR)
            lower.grid(axis="y", alpha=0.3)
        grid[0, 0].set_ylabel("share of right answers")
        grid[1, 0].set_ylabel("answers")
        figure.supxlabel("claimed probability of being right", fontsize=11)
        finish(figure, path, caption)


def risk_coverage(curves: Mapping[str, np.ndarray], *, path: Path, caption: str = "") -> None:
    """Draw the error rate among the answers that are kept when the uncertain ones are refused.

    Parameters
    ----------
    curves
        Name -> float (M,), the error rate among the 1, 2, ..., M most certain answers.
    path, caption
        As in `interval_panels`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        axes = figure.subplots()
        for position, (name, risks) in enumerate(curves.items()):
            share = np.arange(1, len(risks) + 1) / len(risks)
            kept = share >= 0.02  # the first few answers are noise
            axes.plot(
                share[kept],
                risks[kept],
                color=ARM_COLOURS[(position + 1) % len(ARM_COLOURS)],
                ls=LINE_STYLES[position % len(LINE_STYLES)],
                lw=2,
                label=name,
            )
        axes.axhline(
            next(iter(curves.values()))[-1], color="black", ls=":", lw=1.1, label="no refusal"
        )
        axes.set_xlabel("coverage: share of answers that are judged, most certain first")
        axes.set_ylabel("share of wrong judgements")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
        finish(figure, path, caption)


def set_sizes(shares: Mapping[str, np.ndarray], *, path: Path, caption: str = "") -> None:
    """Draw how many adapters the prediction sets hold.

    Parameters
    ----------
    shares
        Group of queries -> float (K + 1,), share of its sets with 0, 1, ..., K adapters.
    path, caption
        As in `interval_panels`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.2), layout="constrained")
        axes = figure.subplots()
        width = 0.84 / len(shares)
        for position, (name, bars) in enumerate(shares.items()):
            offset = (position - (len(shares) - 1) / 2) * width
            axes.bar(
                np.arange(len(bars)) + offset,
                bars,
                width=width,
                label=name,
                color=("#000000", *ARM_COLOURS[1:])[position % len(ARM_COLOURS)],
                edgecolor="white",
                hatch=("", "//", "..", "\\\\", "xx", "--", "oo")[position % 7],
            )
        axes.set_xlabel("adapters in the prediction set")
        axes.set_ylabel("share of queries")
        axes.set_xticks(np.arange(len(next(iter(shares.values())))))
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper")
        finish(figure, path, caption)


def share_grid(
    shares: Mapping[str, Mapping[str, float]], *, path: Path, caption: str = "", label: str = ""
) -> None:
    """Draw shares as a coloured grid, one row per outer and one column per inner name.

    Parameters
    ----------
    shares
        Row -> column -> share in [0, 1]; every row has the same columns.
    path, caption
        As in `interval_panels`.
    label
        Of the colour bar.
    """
    columns = list(next(iter(shares.values())))
    values = np.array([[row[name] for name in columns] for row in shares.values()])
    with mpl.rc_context(STYLE):
        size = (3.4 + 0.72 * len(columns), 2.6 + 0.4 * len(shares))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (i, j), share in np.ndenumerate(values):
            colour = "white" if share < 0.5 else "black"
            axes.text(j, i, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=10)
        axes.set_xticks(np.arange(len(columns)), columns, rotation=40, ha="right")
        axes.set_yticks(np.arange(len(shares)), list(shares))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, label=label, shrink=0.9)
        finish(figure, path, caption)


def praise_against_truth(
    panels: Mapping[str, Mapping[tuple[str, str], tuple[float, float]]],
    *,
    path: Path,
    caption: str = "",
) -> None:
    """Draw every agent's mean reward over the accuracy that it reaches, one panel per reward.

    Parameters
    ----------
    panels
        Reward -> (agent, training reward) -> (accuracy, reward).
    path, caption
        As in `interval_panels`.
    """
    keys = list(next(iter(panels.values())))
    agents, trainings = (list(dict.fromkeys(key[i] for key in keys)) for i in (0, 1))
    values = np.array([point for points in panels.values() for point in points.values()])
    limits = (max(values.min() - 0.05, 0.0), min(values.max() + 0.05, 1.0))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4 * len(panels) + 2.6, 4.9), layout="constrained")
        grid = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
        for axes, (title, points) in zip(grid, panels.items(), strict=True):
            axes.plot([0, 1], [0, 1], color="black", ls="--", lw=1, alpha=0.7)
            for (agent, trained_on), (accuracy, reward) in points.items():
                position, colour = trainings.index(trained_on), agent_colour(agent, agents)
                axes.plot(
                    accuracy,
                    reward,
                    ls="",
                    marker=MARKERS[position % len(MARKERS)],
                    ms=9,
                    mew=1.7,
                    color=colour,
                    mfc=colour if position == 0 else "none",
                )
            axes.set_xlim(limits)
            axes.set_ylim(limits)
            axes.set_xlabel("verified accuracy")
            axes.set_ylabel(f"mean {title}")
            axes.grid(alpha=0.3)
        names = [
            Line2D([], [], marker="o", ls="", ms=8, color=agent_colour(name, agents), label=name)
            for name in agents
        ]
        equal = Line2D([], [], color="black", ls="--", lw=1, label="reward = accuracy")
        figure.legend(
            handles=[*names, *training_handles(trainings), equal], loc="outside right upper"
        )
        finish(figure, path, caption)


def _draw_value(
    axes: Axes, position: int, value: Interval | None, *, colour: str, bar: bool
) -> None:
    """Draw one interval on its line."""
    if value is None or not value.defined:
        return
    if bar:
        axes.barh(position, value.value, height=0.7, color=colour, alpha=0.75)
    axes.errorbar(
        value.value,
        position,
        xerr=[[max(0.0, value.value - value.low)], [max(0.0, value.high - value.value)]],
        fmt="o",
        color="black" if bar else colour,
        ms=4 if bar else 7,
        lw=2,
        capsize=3,
    )
