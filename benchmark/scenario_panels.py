"""Panels of lines: what the figures of the scenarios are made of, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from routing_gym.benchmark.plots import ARM_COLOURS, MARKERS, STYLE, finish

ROLES: Mapping[str, Mapping[str, Any]] = {
    "ppo": {"color": "#D55E00", "lw": 2.0},
    "second": {"color": "#CC79A7", "lw": 1.6, "ls": "-."},
    "rule": {"color": "#0072B2", "lw": 1.6, "ls": "--"},
    "other": {"color": "#5B5B5B", "lw": 1.3, "ls": (0, (4, 2, 1, 2))},
    "bound": {"color": "#000000", "lw": 1.3, "ls": ":"},
}
"""What a line stands for -> how it is drawn."""


@dataclass(frozen=True)
class Line:
    """A line, with a band where it is the mean of several.

    Parameters
    ----------
    label
        In the legend; lines of one label in several panels look alike.
    x, y
        float (P,); nan leaves a gap.
    role
        One of `ROLES`, or ``"arm<i>"`` for adapter i, with ``"arm<i>/rule"`` for a rule's use.
    low, high
        float (P,), the band; None draws none.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    role: str = "other"
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Panel:
    """Axes with lines.

    Parameters
    ----------
    title, x_label, y_label
        Texts.
    lines
        What is drawn; a line of one point becomes a level across the panel.
    ticks
        Names at x = 0, 1, ... of an axis of categories; empty for a numeric axis.
    floor
        Where the vertical axis begins, if lines come from far below; None shows all.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[str, ...] = ()
    floor: float | None = None


def spread(label: str, x: np.ndarray, runs: Sequence[np.ndarray], *, role: str) -> Line:
    """Join the lines of several seeds: their mean, and the span between lowest and highest."""
    stacked = np.array(runs, dtype=np.float64)  # (S, P)
    known = np.isfinite(stacked).any(axis=0)
    blank = np.full(stacked.shape[1], np.nan)
    mean, low, high = blank.copy(), blank.copy(), blank.copy()
    mean[known] = np.nanmean(stacked[:, known], axis=0)
    low[known], high[known] = np.nanmin(stacked[:, known], 0), np.nanmax(stacked[:, known], 0)
    return Line(label, np.asarray(x, dtype=np.float64), mean, role, low, high)


def binned(x: np.ndarray, y: np.ndarray, edges: np.ndarray, *, least: int = 30) -> np.ndarray:
    """Average y in bins of x.

    Parameters
    ----------
    x, y
        float (N,).
    edges
        float (P + 1,), rising; what lies outside is left out.
    least
        Bins with fewer values are nan.

    Returns
    -------
    np.ndarray
        float64 (P,).
    """
    place = np.digitize(x, edges) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    counts = np.bincount(place[inside], minlength=len(edges) - 1)
    totals = np.bincount(place[inside], weights=y[inside], minlength=len(edges) - 1)
    return np.where(counts >= least, totals / np.maximum(counts, 1), np.nan)


def middles(edges: np.ndarray) -> np.ndarray:
    """Return the middles of bins, float64 (P,)."""
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def draw_panels(panels: Sequence[Panel], *, path: Path, caption: str = "") -> None:
    """Draw panels side by side with one legend.

    Parameters
    ----------
    panels
        At least one.
    path
        PNG file to write; an SVG goes beside it.
    caption
        Written above.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.0 * len(panels) + 0.6, 4.9), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(panels)))
        for at, panel in zip(axes, panels, strict=True):
            _draw(at, panel)
        handles: dict[str, Any] = {}
        for at in axes:
            for handle, label in zip(*at.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(
            handles=list(handles.values()),
            labels=list(handles),
            loc="outside lower center",
            ncols=min(5, len(handles)),
        )
        finish(figure, path, caption)


def _draw(axes: Axes, panel: Panel) -> None:
    """Draw one panel."""
    for line in panel.lines:
        style = _style(line.role)
        if panel.ticks:
            style |= {"ls": "", "ms": 9, "marker": MARKERS[list(ROLES).index(line.role) % 4]}
        if len(line.x) == 1 and not panel.ticks:
            axes.axhline(float(line.y[0]), label=line.label, **style)
            continue
        axes.plot(line.x, line.y, label=line.label, **style)
        if line.low is not None and line.high is not None and not panel.ticks:
            axes.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.15, lw=0)
    if panel.ticks:
        axes.set_xticks(np.arange(len(panel.ticks)), panel.ticks)
        axes.margins(x=0.15)
    if panel.floor is not None:
        axes.set_ylim(bottom=panel.floor)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(alpha=0.3)


def _style(role: str) -> dict[str, Any]:
    """Look up how a line is drawn."""
    if role.startswith("arm"):
        place, _, of_rule = role.removeprefix("arm").partition("/")
        return {"color": ARM_COLOURS[int(place) % len(ARM_COLOURS)], "lw": 1.8} | (
            {"ls": "--"} if of_rule else {}
        )
    return dict(ROLES[role])
