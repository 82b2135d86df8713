"""Figures of the contests of environments, PPO and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from routing_gym.benchmark.plots import ARM_COLOURS, MARKERS, STYLE, finish
from routing_gym.benchmark.speed import SpeedRow, median_interval, rows_of
from routing_gym.benchmark.speed_plots import OTHER, OWN
from routing_gym.benchmark.statistics import Interval

LINES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")


def step_rates(
    rows: Sequence[SpeedRow],
    *,
    path: Path,
    labels: Mapping[str, str],
    own: Sequence[str],
    cases: Sequence[str],
    cost: str,
    caption: str = "",
) -> None:
    """Draw steps per CPU second of every competitor, and the cost of a step over the queries.

    Parameters
    ----------
    rows
        Measurements of the contest of environments.
    path
        PNG file to write; the same as SVG comes beside it.
    labels
        Competitor -> its text, from top to bottom.
    own
        Competitors that are ours: another colour and marker.
    cases
        Those with a panel of rates.
    cost
        What the names of the cases of growing splits begin with; their sizes follow.
    caption
        Written on top.
    """
    shown = [name for name in labels if any(row.competitor == name for row in rows)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14, 1.6 + 0.27 * len(shown)), layout="constrained")
        panels = figure.subplots(1, len(cases) + 1, width_ratios=[1.0] * len(cases) + [0.9])
        for index, (panel, case) in enumerate(zip(panels, cases, strict=False)):
            for line, name in enumerate(shown):
                measured = rows_of(rows, case=case, competitor=name)
                if measured:
                    rate = median_interval([row.rate for row in measured])
                    colour, marker = OWN if name in own else OTHER
                    panel.plot([rate.low, rate.high], [line, line], color=colour, linewidth=2)
                    panel.plot(rate.value, line, marker, color=colour, markersize=6)
            panel.set_xscale("log")
            panel.set_title(f"{case}: steps per CPU second")
            panel.set_yticks(
                range(len(shown)), [labels[name] for name in shown] if index == 0 else []
            )
            panel.set_ylim(len(shown) - 0.5, -0.5)
            panel.grid(axis="both", color="#DDDDDD")
        _costs(panels[-1], rows, cost)
        finish(figure, path, caption)


def gap_over_time(
    curves: Mapping[str, Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]],
    *,
    path: Path,
    labels: Mapping[str, str],
    shares: Mapping[str, float],
    caption: str = "",
) -> None:
    """Draw the share of the oracle gap that is closed over the CPU seconds of training.

    Parameters
    ----------
    curves
        Case -> competitor -> one pair per seed: CPU seconds (P,) and shares (P,).
    path
        PNG file to write; the same as SVG comes beside it.
    labels
        Competitor -> its text.
    shares
        Case -> the share to reach, drawn as a line.
    caption
        Written on top.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.2 * len(curves), 4.8), layout="constrained")
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        for panel, (case, learners) in zip(panels, curves.items(), strict=True):
            for index, (name, text) in enumerate(labels.items()):
                for seed, (seconds, gap) in enumerate(learners.get(name, ())):
                    panel.plot(
                        seconds,
                        gap,
                        color=LINES[index % len(LINES)],
                        marker=MARKERS[index % len(MARKERS)],
                        markersize=4,
                        linewidth=1.3,
                        alpha=0.8,
                        label=text if seed == 0 else None,
                    )
            panel.axhline(shares[case], color="black", linestyle=":", linewidth=1)
            panel.annotate(
                f"{shares[case]:.0%}", (0.01, shares[case]), xycoords=("axes fraction", "data")
            )
            panel.set_xscale("log")
            panel.set_ylim(0.6, 1.01)
            panel.set_title(f"{case}: validation reward of the greedy policy")
            panel.set_xlabel("CPU seconds of training")
            panel.grid(color="#DDDDDD")
        panels[0].set_ylabel("share of the gap from best single to oracle")
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=2)
        finish(figure, path, caption)


def table_costs(
    seconds: Mapping[str, Mapping[int, Interval]],
    megabytes: Mapping[str, Mapping[int, float]],
    *,
    path: Path,
    caption: str = "",
) -> None:
    """Draw seconds to open and memory over the number of queries.

    Parameters
    ----------
    seconds
        Kind of table -> queries -> seconds to open it.
    megabytes
        What was measured -> queries -> megabytes.
    path
        PNG file to write; the same as SVG comes beside it.
    caption
        Written on top.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(15, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, (name, found) in enumerate(seconds.items()):
            style = {"color": LINES[index], "marker": MARKERS[index], "label": name}
            middle = [interval.value for interval in found.values()]
            left.plot(list(found), middle, **style)
            for size, interval in found.items():
                left.plot([size, size], [interval.low, interval.high], color=LINES[index])
        for index, (name, used) in enumerate(megabytes.items()):
            colour, marker = ARM_COLOURS[(index + 1) % len(ARM_COLOURS)], MARKERS[index % 4]
            right.plot(list(used), list(used.values()), color=colour, marker=marker, label=name)
        left.set_title("seconds to open")
        right.set_title("memory of the process, MB")
        for panel in (left, right):
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xlabel("queries")
            panel.grid(color="#DDDDDD")
        left.legend()
        handles, texts = right.get_legend_handles_labels()
        figure.legend(handles, texts, title="memory", loc="outside right upper")
        finish(figure, path, caption)


def _costs(panel: Axes, rows: Sequence[SpeedRow], cost: str) -> None:
    """Draw nanoseconds per step over the number of queries."""
    names = list(dict.fromkeys(row.competitor for row in rows if row.case.startswith(cost)))
    sizes = sorted({int(row.case[len(cost) :]) for row in rows if row.case.startswith(cost)})
    for index, name in enumerate(names):
        found = [
            median_interval(
                [
                    1e9 * row.cpu_seconds / row.count
                    for row in rows_of(rows, case=f"{cost}{size}", competitor=name)
                ]
            )
            for size in sizes
        ]
        panel.plot(
            sizes,
            [interval.value for interval in found],
            color=LINES[index],
            marker=MARKERS[index % 4],
            label=name.replace("_", ", ") + " info",
        )
        for size, interval in zip(sizes, found, strict=True):
            panel.plot([size, size], [interval.low, interval.high], color=LINES[index])
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("queries")
    panel.set_title("CPU nanoseconds per step")
    panel.grid(color="#DDDDDD")
    if names:
        panel.legend()
