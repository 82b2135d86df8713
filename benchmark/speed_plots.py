"""Figures of the speed contests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from routing_gym.benchmark.plots import STYLE, finish
from routing_gym.benchmark.speed import SpeedRow, mean_interval, median_interval, rows_of
from routing_gym.benchmark.statistics import Interval

OWN, OTHER = ("#D55E00", "o"), ("#0072B2", "s")


def rate_against_quality(
    rows: Sequence[SpeedRow],
    *,
    path: Path,
    labels: Mapping[str, str],
    own: Sequence[str],
    unit: str,
    quality: str,
    caption: str = "",
) -> None:
    """Draw every competitor's rate and quality side by side, one line each and one row per case.

    Parameters
    ----------
    rows
        Measurements of one contest.
    path
        PNG file to write.
    labels
        Competitor -> its text, from top to bottom.
    own
        Competitors that are ours: another colour and marker.
    unit
        What is counted.
    quality
        Name of the quality's axis.
    caption
        Written on top.
    """
    cases = list(dict.fromkeys(row.case for row in rows))
    shown = [name for name in labels if any(row.competitor == name for row in rows)]
    with mpl.rc_context(STYLE):
        size = (11, 1.1 + len(cases) * (0.9 + 0.29 * len(shown)))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(cases), 2, squeeze=False, sharey=True)
        for (left, right), case in zip(panels, cases, strict=True):
            measured = [rows_of(rows, case=case, competitor=name) for name in shown]
            rates = [median_interval([row.rate for row in one]) for one in measured]
            found = [mean_interval([row.quality for row in one]) for one in measured]
            _dots(left, rates, shown, own=own)
            _dots(right, found, shown, own=own)
            left.set_xscale("log")
            left.set_title(f"{case}: {unit} per CPU second (right is better)")
            right.set_title(f"{case}: {quality} (left is better)")
            right.set_xlim(left=0)
            left.set_yticks(range(len(shown)), [labels[name] for name in shown])
        panels[0, 0].invert_yaxis()  # all panels share it
        finish(figure, path, caption)


def _dots(
    panel: Axes, intervals: Sequence[Interval], names: Sequence[str], *, own: Sequence[str]
) -> None:
    """Draw one interval per line."""
    for line, (interval, name) in enumerate(zip(intervals, names, strict=True)):
        colour, marker = OWN if name in own else OTHER
        panel.plot([interval.low, interval.high], [line, line], color=colour, linewidth=2)
        panel.plot(interval.value, line, marker, color=colour, markersize=6)
    panel.grid(axis="x", color="#DDDDDD")
