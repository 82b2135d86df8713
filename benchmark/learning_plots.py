"""Figures of many agents at once: learning, regret, profiles, cost against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from routing_gym.benchmark.improvement import performance_profile, profile_band
from routing_gym.benchmark.learning import LearningCurve
from routing_gym.benchmark.plots import STYLE, finish
from routing_gym.benchmark.trade_off import FixedArms, TradeOff

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B5B5B", "#A6761D")
DASHES = ("-", "--", "-.", ":")
TOP = 5  # agents whose bands are drawn
EARLY = 0.02  # share of the outcomes before which a learner's reward may leave the picture


def line_style(agent: str, agents: Sequence[str]) -> dict[str, Any]:
    """Colour and dashes of an agent: no two of up to 32 agents share both."""
    position = list(agents).index(agent)
    colour, dashes = position % len(COLOURS), position // len(COLOURS)
    return {"color": COLOURS[colour], "ls": DASHES[dashes % len(DASHES)]}


def learning_curves(
    curves: Sequence[LearningCurve],
    levels: Mapping[str, float],
    *,
    cells: int,
    path: Path,
    caption: str,
) -> None:
    """Draw reward on validation against outcomes paid for, one panel per regime.

    Parameters
    ----------
    curves
        The agents' curves.
    levels
        Name -> reward of a horizontal line: oracle, task look-up, best single adapter. Lines below
        all curves are left out.
    cells
        N x K of the train split, the unit of the horizontal axis.
    path
        PNG file to write; an SVG goes beside it.
    caption
        Written above.
    """
    agents = [curve.agent for curve in curves]
    # what lies in the picture: all but the first steps, of every curve at least its end
    late = [c.mean_reward[c.outcomes >= min(EARLY * cells, c.outcomes[-1])] for c in curves]
    floor = min(float(rewards.min()) for rewards in late) - 0.01
    top = max([*levels.values(), *(float(rewards.max()) for rewards in late)]) + 0.005
    regimes = [name for name in ("full", "bandit") if any(c.feedback == name for c in curves)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6 * len(regimes) + 1, 5.4), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(regimes), sharey=True))
        for axes, regime in zip(panels, regimes, strict=True):
            for curve in curves:
                if curve.feedback == regime:
                    _draw_curve(axes, curve, cells, line_style(curve.agent, agents))
            for name, level in levels.items():
                if level < floor:
                    continue
                axes.axhline(level, color="black", lw=1.0, alpha=0.6, ls=_LEVELS.get(name, "-"))
                axes.annotate(
                    name.replace("_", " "),
                    (0.01, level),
                    xycoords=("axes fraction", "data"),
                    fontsize=8,
                    va="bottom",
                )
            _share_axis(axes, [c for c in curves if c.feedback == regime], cells)
            axes.set_title({"full": "full information", "bandit": "bandit feedback"}[regime])
            axes.grid(alpha=0.3, which="both")
            axes.legend(fontsize=8, loc="lower right", ncols=2)
        panels[0].set_ylabel("reward on validation")
        panels[0].set_ylim(floor, top)
        finish(figure, path, caption)


def regret_curves(
    curves: Sequence[LearningCurve], *, path: Path, caption: str, first_pass: int = 0
) -> None:
    """Draw the regret summed over the stream of each agent with bandit feedback.

    Parameters
    ----------
    curves, path, caption
        As in `learning_curves`.
    first_pass
        Number of train queries: a line marks where each has been asked about once; 0 draws none.
    """
    agents = [curve.agent for curve in curves]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, _height(len(curves))), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            if curve.regret is not None:
                style = line_style(curve.agent, agents)
                axes.plot(curve.outcomes, curve.regret.mean(axis=0), label=curve.agent, **style)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("outcomes paid for")
        axes.set_ylabel("regret, summed")
        if first_pass:
            axes.axvline(first_pass, color="#666666", ls=":", lw=1)
            axes.annotate(
                "first pass ends",
                (first_pass, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -12),
                textcoords="offset points",
                fontsize=8,
            )
        axes.grid(alpha=0.3, which="both")
        figure.legend(fontsize=9, loc="outside right upper")
        finish(figure, path, caption)


def profiles(
    scores: Mapping[str, np.ndarray], *, rng: np.random.Generator, path: Path, caption: str
) -> None:
    """Draw the share of runs x tasks that reach each score.

    Parameters
    ----------
    scores
        Agent -> float (S, T), see `routing_gym.benchmark.improvement.normalised_scores`.
    rng
        Of the bands' bootstrap.
    path, caption
        As in `learning_curves`.
    """
    levels = np.linspace(0, 1, 101)
    ranked = sorted(scores, key=lambda agent: -float(scores[agent].mean()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, _height(len(scores))), layout="constrained")
        axes = figure.subplots()
        for place, agent in enumerate(ranked):
            style = line_style(agent, list(scores))
            label = f"{agent} {scores[agent].mean():.3f}"
            axes.plot(levels, performance_profile(scores[agent], levels), label=label, **style)
            if place < TOP:
                low, high = profile_band(scores[agent], levels, rng=rng)
                axes.fill_between(levels, low, high, color=style["color"], alpha=0.12)
        axes.set_xlabel("score of a run on a task")
        axes.set_ylabel("share of runs x tasks that reach it")
        axes.set_ylim(0, 1.01)
        axes.grid(alpha=0.3)
        figure.legend(title="mean score", fontsize=9, loc="outside right upper")
        finish(figure, path, caption)


def cost_accuracy(
    found: Mapping[str, TradeOff], arms: FixedArms, *, path: Path, caption: str
) -> None:
    """Draw each agent's mean hull and the fixed adapters.

    Parameters
    ----------
    found
        Agent -> its hull.
    arms
        The fixed adapters.
    path, caption
        As in `learning_curves`.
    """
    ranked = sorted(found, key=lambda agent: -float(found[agent].aiq.mean()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, _height(len(found))), layout="constrained")
        axes = figure.subplots()
        for agent in ranked:
            curve, style = found[agent], line_style(agent, list(found))
            label = f"{agent} {curve.aiq.mean():.3f}"
            axes.plot(curve.costs, curve.accuracy, label=label, lw=1.6, **style)
        axes.plot(arms.costs, arms.accuracy, "k^", ms=8, ls="")
        for name, cost, accuracy in zip(arms.names, arms.costs, arms.accuracy, strict=True):
            axes.annotate(name, (cost, accuracy), xytext=(6, 5), textcoords="offset points")
        axes.set_xlabel("completion tokens per answer")
        axes.set_ylabel("verified accuracy")
        axes.grid(alpha=0.3)
        figure.legend(title="AIQ", fontsize=9, loc="outside right upper")
        finish(figure, path, caption)


_TICKS = (0.02, 0.05, 0.1, 0.2, 0.4, 1, 2, 5, 10, 20, 50, 100)
_LEVELS = {"oracle": ":", "best_single": "--", "task_lookup": "-."}


def _height(entries: int) -> float:
    """Return the inches that a legend of so many entries beside the axes needs."""
    return max(5.2, 0.9 + 0.195 * entries)


def _share_axis(axes: Axes, curves: Sequence[LearningCurve], cells: int) -> None:
    """Label the outcomes as shares of what full information costs."""
    top = max(float(curve.outcomes[-1]) for curve in curves) / cells
    ticks = [tick for tick in _TICKS if tick <= top * 1.01]
    axes.set_xscale("log")
    axes.set_xlim(min(EARLY, top / 2), top * 1.1)
    axes.set_xticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("outcomes paid for, as a share of queries x adapters")


def _draw_curve(axes: Axes, curve: LearningCurve, cells: int, style: dict[str, Any]) -> None:
    """Draw one curve with the span of its seeds."""
    share = np.maximum(curve.outcomes, 1) / cells
    known = curve.outcomes > 0
    axes.plot(share[known], curve.mean_reward[known], label=curve.agent, lw=1.6, **style)
    low, high = curve.reward.min(axis=0), curve.reward.max(axis=0)
    axes.fill_between(share[known], low[known], high[known], color=style["color"], alpha=0.07)
