"""Figures of the off-policy study: error against the size of the log, and coverage.

Colours and style are those of `routing_gym.benchmark.plots`; every line has its own marker too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from routing_gym.benchmark.off_policy_study import StudyRow
from routing_gym.benchmark.plots import STYLE, finish

SHOWN = {
    "ips": ("#9A9A9A", "o"),
    "clipped_ips": ("#5B5B5B", "v"),
    "snips": ("#0072B2", "s"),
    "dm": ("#E69F00", "^"),
    "dr": ("#D55E00", "D"),
    "sndr": ("#CC79A7", "P"),
    "switch_dr": ("#56B4E9", "X"),
    "dros": ("#009E73", "*"),
    "recommended": ("#000000", "h"),
}
BOUNDED = {"snips": "--", "dr": ":"}


def error_against_size(rows: Sequence[StudyRow], *, path: Path, caption: str = "") -> None:
    """Draw the RMSE of every estimator over the size of the log, one panel per scenario.

    Parameters
    ----------
    rows
        From `routing_gym.benchmark.off_policy_study.simulate`.
    path
        PNG file to write.
    caption
        Written on top.
    """
    logging = list(dict.fromkeys(row.logging for row in rows))
    targets = list(dict.fromkeys(row.target for row in rows))
    with mpl.rc_context(STYLE):
        size = (1.5 + 3.1 * len(logging), 1.5 + 2.6 * len(targets))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(targets), len(logging), squeeze=False, sharex=True)
        for i, target in enumerate(targets):
            for j, policy in enumerate(logging):
                own = [row for row in rows if (row.logging, row.target) == (policy, target)]
                _error_panel(panels[i, j], own)
                if i == 0:
                    panels[i, j].set_title(f"logged by {policy}")
                if j == 0:
                    panels[i, j].set_ylabel(f"RMSE of {target}")
                if i == len(targets) - 1:
                    panels[i, j].set_xlabel("decisions in the log")
        lines = [
            Line2D([], [], color="black", lw=1.2, ls=dashes, label=f"bound of {name.upper()}")
            for name, dashes in BOUNDED.items()
        ]
        figure.legend(
            handles=[*_handles(rows, skip="recommended"), *lines],
            loc="outside lower center",
            ncols=5,
        )
        finish(figure, path, caption)


def coverage(rows: Sequence[StudyRow], *, path: Path, caption: str = "") -> None:
    """Draw the coverage of the normal intervals over the size of the log, a dot per scenario.

    Parameters
    ----------
    rows
        From `routing_gym.benchmark.off_policy_study.simulate`; hollow dots are scenarios beyond
        the safe overlap limits.
    path, caption
        As in `error_against_size`.
    """
    names = [name for name in ("ips", "snips", "dr", "sndr", "recommended", "dm") if name in SHOWN]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        axes = figure.subplots()
        sizes = sorted({row.size for row in rows})
        axes.axhspan(0.93, 0.97, color="#009E73", alpha=0.12, lw=0)
        axes.axhline(0.95, color="black", lw=1, ls="--")
        for offset, name in enumerate(names):
            for row in rows:
                if row.estimator == name and "all" in row.coverage:
                    colour, marker = SHOWN[name]
                    axes.plot(
                        sizes.index(row.size) + (offset - (len(names) - 1) / 2) * 0.13,
                        max(row.coverage["all"], 0.8),
                        marker=marker,
                        color=colour,
                        mfc=colour if row.safe >= 0.5 else "white",
                        ms=6,
                    )
        axes.set_xticks(np.arange(len(sizes)), [f"{size:,}" for size in sizes])
        axes.set_ylim(0.795, 1.0)
        axes.set_xlabel("decisions in the log")
        axes.set_ylabel("share of 95 % intervals that\nhold the truth (below 0.8 drawn at 0.8)")
        handles = [handle for handle in _handles(rows) if handle.get_label() in names]
        handles.append(
            Line2D([], [], ls="", marker="o", color="#5B5B5B", mfc="white", label="little overlap")
        )
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        finish(figure, path, caption)


def _error_panel(axes: Axes, rows: Sequence[StudyRow]) -> None:
    """Draw one scenario, both axes logarithmic."""
    for name, (colour, marker) in SHOWN.items():
        own = sorted((row for row in rows if row.estimator == name), key=lambda row: row.size)
        if not own or name == "recommended":
            continue
        sizes = [row.size for row in own]
        axes.plot(sizes, [row.rmse for row in own], marker=marker, color=colour, ms=5, lw=1.2)
        if name in BOUNDED:
            bounds = [row.bound for row in own]
            axes.plot(sizes, bounds, color="black", lw=1.2, ls=BOUNDED[name], zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    known = sorted({row.size for row in rows})
    axes.set_xticks(known, [f"{size:,}" for size in known], minor=False)
    axes.set_xticks([], minor=True)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which="both")
    axes.tick_params(labelsize=8, which="both")


def _handles(rows: Sequence[StudyRow], skip: str = "") -> list[Line2D]:
    """Legend entries of the estimators that occur."""
    present = {row.estimator for row in rows} - {skip}
    return [
        Line2D([], [], color=colour, marker=marker, ms=6, lw=1.2, label=name)
        for name, (colour, marker) in SHOWN.items()
        if name in present
    ]
