"""Tables as Markdown and a report's folder on disk; nothing here prints."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from routing_gym.benchmark.evaluation import EvaluationRow
from routing_gym.benchmark.statistics import Interval, finite_figures

UNDEFINED = "–"


def comparison_table(rows: Sequence[EvaluationRow], *, wide: bool = False) -> str:
    """Format measured policies as a Markdown table with aligned columns.

    Parameters
    ----------
    rows
        One per policy, in the order of the table.
    wide
        Whether to add the gap closed in accuracy, the reward gap, quality and seconds per answer,
        and intervals on reward and accuracy. The training reward is a column where it differs.

    Returns
    -------
    str
        The table; ``*`` marks privileged agents. Intervals in brackets are paired bootstrap 95 %.
    """
    columns: dict[str, Callable[[EvaluationRow], str]] = {
        "agent": lambda row: row.agent + ("*" if row.privileged else ""),
        "feedback": lambda row: row.feedback,
    }
    if len({row.trained_on for row in rows}) > 1:
        columns["trained on"] = lambda row: row.trained_on
    if wide:
        columns["reward"] = lambda row: format_interval(row.reward)
        columns["accuracy"] = lambda row: format_interval(row.accuracy)
    else:
        columns["reward"] = lambda row: f"{row.reward.value:.3f}"
        columns["accuracy"] = lambda row: f"{row.accuracy.value:.3f}"
    columns["gap closed [95 %]"] = lambda row: format_interval(row.reward_gap_closed, digits=2)
    if wide:
        columns["gap closed in accuracy"] = lambda row: format_interval(
            row.accuracy_gap_closed, digits=2
        )
    columns["entropy"] = lambda row: f"{row.entropy:.2f}" + " (collapsed)" * row.collapsed
    columns["tie-set differ / all"] = _tie_set_cell
    if wide:
        columns["reward gap"] = lambda row: f"{row.reward_gap.value:+.3f}"
        columns["quality"] = lambda row: _optional(row.quality)
        columns["s/answer"] = lambda row: _optional(row.seconds)
    return markdown_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format cells as a Markdown table; the first column is left-aligned, the others right."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_table_line(header, widths), "| " + " | ".join(rule) + " |"]
    return "\n".join([*lines, *(_table_line(row, widths) for row in rows)])


def format_interval(interval: Interval, *, digits: int = 3, signed: bool = False) -> str:
    """Write ``value [low, high]``; a dash where the figure is not defined."""
    if not interval.defined:
        return UNDEFINED
    form = f"+.{digits}f" if signed else f".{digits}f"
    numbers = (interval.value, interval.low, interval.high)
    value, low, high = (f"{round(number, digits) + 0.0:{form}}" for number in numbers)  # no -0.00
    return f"{value} [{low}, {high}]"


def figures_table(figures: Mapping[str, float | Interval], *, confidence: float = 0.95) -> str:
    """Format named figures as a Markdown table; `confidence` is the coverage of the intervals."""
    cells = []
    for name, figure in figures.items():
        text = format_interval(figure) if isinstance(figure, Interval) else f"{figure:.3f}"
        cells.append([f"`{name}`", text])
    return markdown_table(["figure", f"value [{100 * confidence:g} %]"], cells)


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Write tidy rows as CSV; the columns are the keys in order of first appearance.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if not rows:
        raise ValueError("rows is empty: run at least one agent before writing its results.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_report(
    folder: Path,
    *,
    figures: Mapping[str, float | Interval],
    markdown: str,
    command: str,
    plots: Mapping[str, Callable[[Path], None]] | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a report's folder; other files in it are left as they are.

    Everything is made in a temporary folder first, so that an error leaves the old report whole.

    Parameters
    ----------
    folder
        ``results/<name>``; made if it does not exist.
    figures
        For ``summary.json``; figures that are not defined are left out.
    markdown
        For ``report.md``.
    command
        For ``command.txt``, from `routing_gym.benchmark.provenance.provenance`.
    plots
        File name -> function that draws it to a path.
    texts
        Further files: name -> content.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        contents = {
            "summary.json": json.dumps(finite_figures(figures), indent=2, allow_nan=False) + "\n",
            "report.md": markdown.rstrip("\n") + "\n",
            "command.txt": command,
            **(texts or {}),
        }
        for name, text in contents.items():
            (stage / name).write_text(text, "utf-8")
        for name, draw in (plots or {}).items():
            draw(stage / name)
        folder.mkdir(exist_ok=True)
        for path in sorted(stage.iterdir()):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(stage)


def _tie_set_cell(row: EvaluationRow) -> str:
    """Write both tie-set accuracies."""
    differ = f"{row.tie_set_differ.value:.3f}" if row.tie_set_differ.defined else UNDEFINED
    return f"{differ} / {row.tie_set_all.value:.3f}"


def _optional(interval: Interval | None) -> str:
    """Write a value that may not have been measured."""
    return UNDEFINED if interval is None else f"{interval.value:.3f}"


def _table_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Pad one line of a table."""
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join([first, *rest]) + " |"
