"""The figure of a report of gaps: the weakest regions of each kind, raw and shrunken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from routing_gym.benchmark.gap_records import KINDS, Gap, GapReport
from routing_gym.benchmark.gap_report import from_log, headline_level
from routing_gym.benchmark.plots import STYLE, finish, legend_below

SHOWN = 12
LABEL_LENGTH = 26
COLOURS = {"pool": "#D55E00", "router": "#0072B2", "evaluator": "#009E73"}
RAW = "#8A8A8A"
MEANINGS = {
    "pool": "1 - best answer's accuracy",
    "router": "best answer's - chosen one's accuracy",
    "evaluator": "score - accuracy",
}
OF_LOG = {
    "pool": "highest reward - best adapter's value",
    "router": "best adapter's value - earned",
    "evaluator": "score - truth",
}


def draw_gaps(report: GapReport, path: Path) -> None:
    """Draw the regions of the largest gain, one row of panels per level and a column per kind.

    Parameters
    ----------
    report
        The gaps.
    path
        PNG file to write; the same as SVG comes beside it.
    """
    first = headline_level(report)
    present = {gap.region.level for gap in report.gaps}
    levels = [first, *(name for name in ("cluster",) if name in present and name != first)]
    kinds = [kind for kind in KINDS if report.of_kind(kind)]
    with mpl.rc_context(STYLE):
        lines = [
            max(min(SHOWN, len(report.of_kind(kind, level=level))) for kind in kinds)
            for level in levels
        ]
        size = (5.4 * len(kinds), 1.6 + sum(0.9 + 0.28 * count for count in lines))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(levels), len(kinds), squeeze=False, height_ratios=lines)
        for row, level in zip(panels, levels, strict=True):
            for panel, kind in zip(row, kinds, strict=True):
                gaps = report.of_kind(kind, level=level)[:SHOWN]
                _panel(panel, gaps)
                panel.set_title(f"{kind}, by {level.replace('_', ' and ')}")
                panel.set_xlabel((OF_LOG if from_log(report) else MEANINGS)[kind])
        legend_below(figure, _handles(report))
        finish(figure, path, _caption(report))


def _panel(axes: Axes, gaps: Sequence[Gap]) -> None:
    """Draw some gaps, largest gain on top."""
    for line, gap in enumerate(gaps):
        colour = COLOURS[gap.kind]
        axes.plot([gap.observed.low, gap.observed.high], [line, line], color="#D0D0D0", lw=5)
        axes.plot(gap.observed.value, line, "x", color=RAW, ms=6)
        axes.plot([gap.shrunken.low, gap.shrunken.high], [line, line], color=colour, lw=1.8)
        face = colour if gap.discovered else "white"
        axes.plot(gap.shrunken.value, line, "o", ms=6, mec=colour, mfc=face)
    axes.set_yticks(range(len(gaps)), [_label(gap) for gap in gaps], fontsize=9)
    axes.set_ylim(max(len(gaps), 1) - 0.5, -0.5)
    if not gaps:
        axes.text(0.5, 0.5, "not judged at this level", ha="center", transform=axes.transAxes)
    ends = np.array([[g.observed.low, g.observed.high] for g in gaps]) if gaps else np.zeros((1, 2))
    if ends.min() < 0:
        axes.axvline(0, color="#333333", lw=0.8)
    else:
        axes.set_xlim(0, max(0.05, min(1.02, 1.05 * float(ends.max()))))
    axes.grid(axis="x", alpha=0.3)


def _label(gap: Gap) -> str:
    """Name a region, with the adapter that is misjudged and the number of queries."""
    region = gap.region
    text = region.task if region.level == "task" else region.label
    if region.level == "cluster":
        text = f"{region.cluster}: {region.note.removeprefix('mostly ')}".removesuffix(": ")
    text = text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + "…"
    return text + (f", {gap.adapter}" if gap.kind == "evaluator" else "") + f" ({gap.queries})"


def _handles(report: GapReport) -> list[Line2D]:
    """Explain the marks."""
    rate = report.settings["fdr"]
    line: dict[str, Any] = {"color": "#333333", "lw": 1.8}
    return [
        Line2D([], [], ls="", marker="x", color=RAW, label="raw gap, on its interval"),
        Line2D([], [], marker="o", mfc="#333333", **line, label=f"shrunken, q up to {rate:g}"),
        Line2D([], [], marker="o", mfc="white", **line, label="shrunken, may be chance"),
    ]


def _caption(report: GapReport) -> str:
    """Say what was read, and how to read it."""
    splits = f", splits {', '.join(report.splits)}" if report.splits else ""
    unit = "decisions" if from_log(report) else "queries"
    confidence = f"{float(report.settings['confidence']):.0%}"
    return (
        f"{report.queries} {unit} of {report.source}{splits}; largest gain on top, {unit} in "
        f"brackets, {confidence} intervals"
    )
