"""Figures: comparison of agents, reward against truth, arm usage, heat map of the pool.

Colours are those of Okabe & Ito (2008), distinguishable with every common colour blindness; the
agent's name is always written beside, so that no figure depends on colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from routing_gym.benchmark.evaluation import EvaluationRow
from routing_gym.benchmark.statistics import Interval

AGENT_COLOURS = {
    "ppo": "#D55E00",
    "gumbel": "#0072B2",
    "softmax": "#56B4E9",
    "regression": "#009E73",
    "knn": "#CC79A7",
    "task_lookup": "#E69F00",
    "best_single": "#5B5B5B",
    "random": "#9A9A9A",
    "oracle": "#000000",
}
ARM_COLOURS = ("#9A9A9A", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "ooo")
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
MARKERS = ("o", "s", "D", "^")


def comparison(
    rows: Sequence[EvaluationRow],
    references: Mapping[str, float],
    *,
    path: Path,
    caption: str = "",
) -> None:
    """Draw every agent's reward and accuracy with the best single adapter's and the oracle's.

    Parameters
    ----------
    rows
        The measured policies; those of one agent under several training rewards share a line.
    references
        From `routing_gym.benchmark.evaluation.Yardstick.references`.
    path
        PNG file to write.
    caption
        Written below: seeds, kind of interval.
    """
    agents = _ranked_agents(rows)
    trainings = list(dict.fromkeys(row.trained_on for row in rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 1.9 + 0.46 * len(agents)), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        _agent_axis(panels[0], agents, rows)
        for panel, quantity, title in zip(
            panels,
            ("reward", "accuracy"),
            ("self-evaluated reward", "verified accuracy"),
            strict=True,
        ):
            for row in rows:
                _draw_interval(panel, row, agents, trainings, getattr(row, f"{quantity}_iqm"))
            _reference_lines(panel.axvline, references, quantity)
            panel.set_xlabel(title)
            panel.grid(axis="x", alpha=0.3)
        legend_below(figure, training_handles(trainings) + _reference_handles())
        finish(figure, path, caption)


def reward_against_truth(
    rows: Sequence[EvaluationRow],
    references: Mapping[str, float],
    *,
    path: Path,
    caption: str = "",
) -> None:
    """Draw accuracy over reward; an arrow leads from each agent's one training to its other.

    Parameters are those of `comparison`; arrows follow the order of the training rewards. The
    right panel enlarges the deployable policies that learn from rewards.
    """
    agents = _ranked_agents(rows)
    trainings = list(dict.fromkeys(row.trained_on for row in rows))
    close = [row for row in rows if not row.privileged and row.feedback != "none"]
    close = [row for row in close if row.entropy > 0] or list(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, shown in ((left, rows), (right, close)):
            for row in shown:
                _draw_point(axes, row, agents, trainings)
            for agent in agents:
                _draw_arrow(axes, [row for row in shown if row.agent == agent], agents)
            axes.margins(0.12)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_xlabel("self-evaluated reward")
            axes.grid(alpha=0.3)
        left.set_ylabel("verified accuracy")
        left.set_title("all policies")
        right.set_title("deployable learned routers, enlarged")
        _reference_lines(left.axvline, references, "reward")
        _reference_lines(left.axhline, references, "accuracy")
        names = [
            Line2D([], [], marker="o", ls="", ms=8, color=agent_colour(name, agents), label=name)
            for name in agents
        ]
        figure.legend(
            handles=names + training_handles(trainings) + _reference_handles(),
            loc="outside right upper",
        )
        finish(figure, path, caption)


def arm_usage(
    rows: Sequence[EvaluationRow], adapters: Sequence[str], *, path: Path, caption: str = ""
) -> None:
    """Draw the share of queries that each policy sends to each adapter, one bar per policy.

    Parameters
    ----------
    rows
        The measured policies.
    adapters
        Adapter names, length K.
    path, caption
        As in `comparison`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 1.6 + 0.36 * len(rows)), layout="constrained")
        axes = figure.subplots()
        shares = np.array([row.usage for row in rows])  # (rows, K)
        left = np.zeros(len(rows))
        for index, name in enumerate(adapters):
            axes.barh(
                np.arange(len(rows)),
                shares[:, index],
                left=left,
                height=0.78,
                label=name,
                color=ARM_COLOURS[index % len(ARM_COLOURS)],
                edgecolor="white",
                hatch=HATCHES[index // len(ARM_COLOURS) % len(HATCHES)],
            )
            for line, share in enumerate(shares[:, index]):
                if share >= 0.05:
                    axes.text(
                        left[line] + share / 2,
                        line,
                        f"{share:.0%}",
                        ha="center",
                        va="center",
                        fontsize=9,
                        color="white" if index in (1, 3) else "black",
                    )
            left += shares[:, index]
        axes.set_yticks(np.arange(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of test queries")
        legend_below(figure, axes.get_legend_handles_labels()[0], columns=len(adapters))
        finish(figure, path, caption)


def heat_map(
    cells: Sequence[Sequence[Interval]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
    caption: str = "",
    outlined: Sequence[tuple[int, int]] = (),
) -> None:
    """Draw shares with their intervals as a coloured grid.

    Parameters
    ----------
    cells
        One list per row; values in [0, 1].
    rows, columns
        Labels.
    path, caption
        As in `comparison`.
    outlined
        (row, column) of cells to frame: each adapter's own domain.
    """
    values = np.array([[cell.value for cell in line] for line in cells])
    with mpl.rc_context(STYLE):
        size = (3.2 + 1.55 * len(columns), 1.9 + 0.72 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for i, line in enumerate(cells):
            for j, cell in enumerate(line):
                colour = "white" if cell.value < 0.5 else "black"
                axes.text(
                    j,
                    i - 0.12,
                    f"{cell.value:.2f}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=13,
                    fontweight="bold" if (i, j) in outlined else "normal",
                )
                axes.text(
                    j,
                    i + 0.25,
                    f"{cell.low:.2f} to {cell.high:.2f}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=8.5,
                )
        for i, j in outlined:
            axes.add_patch(
                Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, edgecolor="#D55E00", lw=2.5)
            )
        axes.set_xticks(np.arange(len(columns)), columns)
        axes.set_yticks(np.arange(len(rows)), rows)
        axes.set_xlabel("domain of the query")
        axes.set_ylabel("adapter")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, label="verified accuracy", shrink=0.9)
        finish(figure, path, caption)


def agent_colour(agent: str, agents: Sequence[str]) -> str:
    """Colour of an agent: fixed for known names, else by position among the unknown ones."""
    if agent in AGENT_COLOURS:
        return AGENT_COLOURS[agent]
    unknown = [name for name in agents if name not in AGENT_COLOURS]
    return ARM_COLOURS[unknown.index(agent) % len(ARM_COLOURS)]


def _ranked_agents(rows: Sequence[EvaluationRow]) -> list[str]:
    """Agent names by the reward of their first row, best first."""
    first: dict[str, float] = {}
    for row in rows:
        first.setdefault(row.agent, row.reward.value)
    return sorted(first, key=lambda name: -first[name])


def _agent_axis(axes: Axes, agents: Sequence[str], rows: Sequence[EvaluationRow]) -> None:
    """Label the lines with agent and information regime, best on top."""
    feedback = {
        row.agent: row.feedback + (", privileged" if row.privileged else "") for row in rows
    }
    axes.set_yticks(np.arange(len(agents)), [f"{agent}  ({feedback[agent]})" for agent in agents])
    axes.set_ylim(len(agents) - 0.4, -0.6)


def _draw_interval(
    axes: Axes,
    row: EvaluationRow,
    agents: Sequence[str],
    trainings: Sequence[str],
    interval: Interval,
) -> None:
    """Draw one value with its band on the agent's line."""
    position = trainings.index(row.trained_on)
    offset = (position - (len(trainings) - 1) / 2) * 0.3
    colour = agent_colour(row.agent, agents)
    axes.errorbar(
        interval.value,
        agents.index(row.agent) + offset,
        xerr=[
            [max(0.0, interval.value - interval.low)],
            [max(0.0, interval.high - interval.value)],
        ],
        fmt=MARKERS[position % len(MARKERS)],
        color=colour,
        mfc=colour if position == 0 else "white",
        mew=1.6,
        ms=7,
        lw=2,
        capsize=3,
    )


def _draw_point(
    axes: Axes, row: EvaluationRow, agents: Sequence[str], trainings: Sequence[str]
) -> None:
    """Draw one policy in the plane of reward and accuracy."""
    position, colour = trainings.index(row.trained_on), agent_colour(row.agent, agents)
    axes.plot(
        row.reward.value,
        row.accuracy.value,
        marker=MARKERS[position % len(MARKERS)],
        color=colour,
        mfc=colour if position == 0 else "none",
        mew=1.8,
        ms=9,
        zorder=3,
    )


def _draw_arrow(axes: Axes, points: Sequence[EvaluationRow], agents: Sequence[str]) -> None:
    """Join an agent's first training and its last, if it has several."""
    if len(points) < 2:
        return
    start, end = points[0], points[-1]
    axes.annotate(
        "",
        xy=(end.reward.value, end.accuracy.value),
        xytext=(start.reward.value, start.accuracy.value),
        arrowprops={
            "arrowstyle": "->",
            "color": agent_colour(start.agent, agents),
            "lw": 1.4,
            "shrinkA": 6,
            "shrinkB": 6,
        },
    )


def _reference_lines(
    draw: Callable[..., object], references: Mapping[str, float], quantity: str
) -> None:
    """Draw the best single adapter and the oracle with an axes' ``axvline`` or ``axhline``."""
    for level, dashes in (("best_single", "--"), ("oracle", ":")):
        draw(
            references[f"{level}_{quantity}"], color="black", lw=1.1, alpha=0.7, ls=dashes, zorder=0
        )


def _reference_handles() -> list[Line2D]:
    """Legend entries of the two lines."""
    return [
        Line2D([], [], color="black", ls="--", lw=1.1, label="best single adapter"),
        Line2D([], [], color="black", ls=":", lw=1.1, label="oracle"),
    ]


def training_handles(trainings: Sequence[str]) -> list[Line2D]:
    """Legend entries of the training rewards."""
    return [
        Line2D(
            [],
            [],
            ls="",
            marker=MARKERS[i % len(MARKERS)],
            ms=7,
            color="#5B5B5B",
            mew=1.6,
            mfc="#5B5B5B" if i == 0 else "white",
            label=f"trained on {name.replace('_', '-')}",
        )
        for i, name in enumerate(trainings)
    ]


def legend_below(figure: Figure, handles: Sequence[Any], *, columns: int | None = None) -> None:
    """Put the legend under the panels."""
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns or len(handles))


def finish(figure: Figure, path: Path, caption: str) -> None:
    """Write the caption, the PNG file, and the same as SVG beside it."""
    if caption:
        figure.suptitle(caption, fontsize=10, color="#333333")
    FigureCanvasAgg(figure).print_png(str(path))
    with mpl.rc_context({"svg.hashsalt": path.stem}):  # equal figures, equal files
        FigureCanvasSVG(figure).print_svg(str(path.with_suffix(".svg")), metadata={"Date": None})
