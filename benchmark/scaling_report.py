"""The section and the picture of the contest of executors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from routing_gym.benchmark.plots import ARM_COLOURS, STYLE, finish
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.scaling_contest import ONE, CollectionRun, labels, runs_of
from routing_gym.benchmark.speed import median_interval
from routing_gym.benchmark.statistics import Interval


def contest_section(
    runs: Sequence[CollectionRun], figures: Mapping[str, float | Interval], *, flush_rows: int
) -> str:
    """Write the contest's section.

    Parameters
    ----------
    runs
        From `routing_gym.benchmark.scaling_contest.race`.
    figures
        From `routing_gym.benchmark.scaling_contest.contest_figures`.
    flush_rows
        Rows of a part.
    """
    known = labels()
    lines = [
        [
            known[name],
            _cell(figures, f"{name}_answers_per_second", 2),
            "1" if name == ONE else _cell(figures, f"{name}_speedup", 2),
            _cell(figures, f"{name}_start_seconds", 1),
            "1" if name == ONE else _cell(figures, f"{name}_speedup_with_start", 2),
            "" if name == ONE else ("all" if figures[f"{name}_identical"] == 1.0 else "not all"),
            _cell(figures, f"{name}_items_per_second", 0),
        ]
        for name in dict.fromkeys(run.competitor for run in runs)
    ]
    header = [
        "executor",
        "answers per second [95 %]",
        "times one worker [95 %]",
        "start, s",
        "times one worker, start included",
        "outcomes identical",
        "empty items per second",
    ]
    return "\n\n".join(
        [
            "## Executors",
            _method(runs, flush_rows=flush_rows),
            markdown_table(header, lines),
            "![answers per second](executors.png)",
        ]
    )


def draw_executors(runs: Sequence[CollectionRun], path: Path) -> None:
    """Draw answers per second of every executor, without and with its start.

    Parameters
    ----------
    runs
        From `routing_gym.benchmark.scaling_contest.race`.
    path
        PNG file to write; an SVG goes beside it.
    """
    names = list(dict.fromkeys(run.competitor for run in runs))
    kinds = {
        "warm": lambda run: run.rate,
        "with the start": lambda run: run.items / run.total_seconds,
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        panel = figure.subplots()
        for turn, (kind, value) in enumerate(kinds.items()):
            for row, name in enumerate(names):
                rate = median_interval([value(run) for run in runs_of(runs, name)])
                spread = [[rate.value - rate.low], [rate.high - rate.value]]
                panel.barh(
                    row + 0.38 * turn,
                    rate.value,
                    height=0.34,
                    color=ARM_COLOURS[1 + turn],
                    xerr=spread,
                    capsize=3,
                    label=kind if row == 0 else None,
                )
                panel.text(
                    rate.high, row + 0.38 * turn, f"  {rate.value:.2f}", va="center", fontsize=9
                )
        panel.set_yticks([row + 0.19 for row in range(len(names))], [labels()[n] for n in names])
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.set_xlabel("answers per second")
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        repeats = len({run.repeat for run in runs})
        finish(figure, path, f"Median of {repeats} repeats with its 95 % interval")


def _cell(figures: Mapping[str, float | Interval], name: str, digits: int) -> str:
    """Write a figure, if it was measured."""
    figure = figures.get(name)
    if isinstance(figure, Interval):
        return format_interval(figure, digits=digits)
    return "" if figure is None else f"{figure:.{digits}f}"


def _method(runs: Sequence[CollectionRun], *, flush_rows: int) -> str:
    """Say what was measured and how."""
    return (
        f"Every executor collects the same {runs[0].items} answers of the train split (every task "
        "as often as the others, every adapter to every query) with the pool, every worker "
        f"on one thread, in parts of {flush_rows} rows, from the start each time. They take turns; "
        f"figures are medians of {len({run.repeat for run in runs})} repeats, ratios are of the "
        "same repeat. The clock of the rate starts when every worker has loaded its pool and stops "
        "when the last answer is on disk; the start (of the cluster, of the processes, of loading "
        "the pool) is given beside it. Outcomes are identical if the collected cells are, token "
        "signals included; only the measured seconds of an answer are left out, which differ by "
        "nature. Empty items show what an executor itself takes: a part should last long against "
        "that."
    )
