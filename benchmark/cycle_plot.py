"""The picture of a cycle: every region before and after, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from routing_gym.benchmark.cycle_gate import RegionRow
from routing_gym.benchmark.plots import STYLE, finish, legend_below
from routing_gym.benchmark.statistics import Interval

BEFORE, AFTER, GAIN = "#5B5B5B", "#0072B2", "#D55E00"
_OFFSET = 0.14


def draw_regions(regions: Mapping[RegionRow, str], *, path: Path, confidence: float = 0.95) -> None:
    """Draw the verified accuracy of each region before and after, and beside it the paired gain.

    Parameters
    ----------
    regions
        Row of `routing_gym.benchmark.cycle_gate.compare_sides` -> its name, from the top.
    path
        PNG file to write.
    confidence
        Coverage of the intervals.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 1.9 + 0.5 * len(regions)), layout="constrained")
        levels, gains = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = np.arange(len(regions))[::-1]
        for place, row in zip(places, regions, strict=True):
            _draw(levels, place + _OFFSET, row.accuracy.before, colour=BEFORE, marker="o")
            _draw(levels, place - _OFFSET, row.accuracy.after, colour=AFTER, marker="s")
            _draw(gains, place, row.accuracy.gain, colour=GAIN, marker="D")
        labels = [f"{name}\n({row.queries} queries)" for row, name in regions.items()]
        levels.set_yticks(places, labels, fontsize=9)
        levels.set_xlim(0, 1)
        levels.set_xlabel("verified accuracy of pool and router")
        gains.axvline(0, color="black", linewidth=0.8)
        gains.set_xlabel("paired gain")
        for panel in (levels, gains):
            panel.grid(axis="x", alpha=0.3)
        handles = [
            mpl.lines.Line2D([], [], color=colour, marker=marker, linestyle="", label=label)
            for colour, marker, label in (
                (BEFORE, "o", "before"),
                (AFTER, "s", "after"),
                (GAIN, "D", "after less before"),
            )
        ]
        legend_below(figure, handles)
        percent = f"{100 * confidence:g} %"
        finish(
            figure, path, f"test split; paired bootstrap {percent} intervals over queries and seeds"
        )


def _draw(panel: Axes, place: float, interval: Interval, *, colour: str, marker: str) -> None:
    """Draw one value with its interval."""
    panel.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2, alpha=0.6)
    panel.plot([interval.value], [place], color=colour, marker=marker, markersize=6)
