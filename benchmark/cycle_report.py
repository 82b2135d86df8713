"""The report of an improvement: made from the files that cycles and studies left beside it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routing_gym.benchmark.cycle_gate import (
    DOMAIN,
    OVERALL,
    RULE,
    SEEN,
    TASK,
    UNSEEN,
    WEAKEST,
    RegionRow,
)
from routing_gym.benchmark.cycle_history import HISTORY, Entry, read_history
from routing_gym.benchmark.cycle_plot import draw_regions
from routing_gym.benchmark.cycle_settings import CycleSettings
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import (
    figures_table,
    format_interval,
    markdown_table,
    write_report,
)
from routing_gym.benchmark.statistics import Interval, figures_from_json
from routing_gym.queries.samples import MANIFEST_FILE
from routing_gym.queries.whole_file import write_whole

if TYPE_CHECKING:
    from routing_gym.benchmark.cycle_stages import CycleStages

DETAILS, KILLS, PLOT = "cycle.json", "kills.json", "regions.png"
_KINDS = {
    OVERALL: "all queries",
    WEAKEST: "weakest region",
    SEEN: "of it: content in the made data",
    UNSEEN: "of it: other content",
}
Figures = dict[str, float | Interval]


def cycle_figures(rows: Sequence[RegionRow]) -> Figures:
    """Name what a cycle's comparison found.

    Returns
    -------
    dict
        ``<kind>_gain`` (verified accuracy, with its interval) and ``<kind>_gain_low`` for overall,
        weakest, seen and unseen, the same for the reward (``_reward_gain``), ``weakest_before``,
        ``weakest_after``, and ``domains_worse``.
    """
    figures: Figures = {}
    for row in rows:
        if row.kind in _KINDS:
            figures[f"{row.kind}_gain"] = row.accuracy.gain
            figures[f"{row.kind}_gain_low"] = row.accuracy.gain.low
            figures[f"{row.kind}_before"] = row.accuracy.before
            figures[f"{row.kind}_after"] = row.accuracy.after
            figures[f"{row.kind}_reward_gain"] = row.reward.gain
            figures[f"{row.kind}_queries"] = float(row.queries)
    worse = [row for row in rows if row.kind == DOMAIN and row.accuracy.gain.high < 0]
    figures["domains_worse"] = float(len(worse))
    return figures


def write_details(output: Path, stages: CycleStages, settings: CycleSettings) -> None:
    """Write what the report needs of a cycle, so that it needs nothing of the store.

    Parameters
    ----------
    output
        The report's folder; takes ``cycle.json``.
    stages
        The finished cycle.
    settings
        Its settings.
    """
    from routing_gym.benchmark.cycle_stages import ADAPTER, training_record

    content = {
        "cycle": stages.number,
        "rows": [row.to_json() for row in stages.rows],
        "targets": stages.focus.targets(settings.region_share),
        "focus": stages.focus.__dict__,
        "measures": training_record(stages.training.folder / ADAPTER).get("measures", {}),
        "leaks": _read(stages.data.folder / MANIFEST_FILE).get("leaks"),
        "settings": settings.binding,
        "table": stages.new_table.fingerprint,
        "command": provenance(
            table_hash=stages.old_table.fingerprint,
            seeds=settings.router_seeds,
            extra=[f"new table: {stages.new_table.fingerprint}", f"cycle: {stages.number}"],
        ),
    }
    write_whole(output / DETAILS, json.dumps(content, indent=1, default=list) + "\n")


def write_improvement(output: Path) -> None:
    """Write summary.json, report.md, the plot and command.txt from the files in a folder.

    Parameters
    ----------
    output
        Holds ``history.json`` and, as far as they were made, ``cycle.json`` (the last cycle) and
        ``kills.json`` (figures and Markdown of the study of kills).
    """
    for leftover in output.parent.glob(f".{output.name}-*"):  # of a report that was killed
        shutil.rmtree(leftover)
    entries = read_history(output / HISTORY)
    details = _read(output / DETAILS)
    studies = _read(output / KILLS)
    figures: Figures = {}
    parts = ["# Continuous improvement", ""]
    rows = [RegionRow.from_json(row) for row in details.get("rows", [])]
    if rows:
        figures |= cycle_figures(rows) | _times(entries, details)
        if details.get("leaks") is not None:
            figures["leaks"] = float(details["leaks"])
        parts += _cycle_section(rows, details, figures)
    if studies:
        figures |= figures_from_json(studies["figures"])
        parts += [studies["markdown"], ""]
    if entries:
        figures["cycles"] = float(sum(entry.cycle > 0 for entry in entries))
        figures["promoted"] = float(sum(entry.verdict == "promoted" for entry in entries))
        parts += _history_section(entries)
    plots = {PLOT: partial(_plot, rows, details["settings"]["confidence"])} if rows else {}
    command = details.get("command") or provenance(argv=sys.argv)
    write_report(output, figures=figures, markdown="\n".join(parts), command=command, plots=plots)


def _cycle_section(
    rows: Sequence[RegionRow], details: dict[str, Any], figures: Figures
) -> list[str]:
    """Describe the last cycle."""
    focus, settings = details["focus"], details["settings"]
    weak = next((row for row in rows if row.kind == WEAKEST), None)
    percent = f"{100 * settings['confidence']:g} %"
    table = partial(_rows_table, percent=percent)
    text = (
        f"Cycle {details['cycle']}: {_chosen_region(details)} (shrunken gap "
        f"{focus['gap']:.2f} [{focus['gap_low']:.2f}, "
        f"{focus['gap_high']:.2f}]). The adapter `{focus['adapter']}` was trained further "
        f"({settings['method']}) on {settings['examples']} made examples, "
        f"{settings['region_share']:.0%} of them of that region, the others replay of "
        f"{', '.join(focus['replay']) or 'nothing'}; only its cells were collected anew. Old and "
        f"new pool each have routers of their own (`{settings['agent']}`, same settings, seeds "
        f"{', '.join(map(str, settings['router_seeds']))}) and are compared on the same test split."
    )
    shown = [row for row in rows if row.kind in _KINDS]
    domains = [row for row in rows if row.kind == DOMAIN]
    tasks = [row for row in rows if row.kind == TASK]
    rule = [RULE.replace("\n", " "), ""]
    lines = [text, "", *rule, "## Figures", ""]
    lines += [figures_table(figures, confidence=settings["confidence"]), "", f"![regions]({PLOT})"]
    lines += ["", "## Old and new on the test split", ""]
    lines += ["Means of pool and router, paired bootstrap intervals over queries and seeds.", ""]
    lines += [table(shown), "", "## Domains", "", table(domains), ""]
    lines += ["## Tasks", "", "Many small groups: not part of the rule.", "", table(tasks)]
    if weak is not None:
        lines += ["", _oracle_sentence(weak)]
    return [*lines, ""]


def _chosen_region(details: dict[str, Any]) -> str:
    """Say which region was worked on, and who chose it."""
    label = f"**{details['focus']['label']}**"
    if details["settings"]["task"]:
        return f"the task {label} was asked for, and stands for the weakest region in what follows"
    return f"the weakest region of the pool on train and validation is {label}"


def _oracle_sentence(weak: RegionRow) -> str:
    """Say what the pool could do in the weakest region."""
    return (
        f"In the weakest region the best adapter for each query is right in "
        f"{format_interval(weak.oracle.before)} before and {format_interval(weak.oracle.after)} "
        "after: what the pool can do, whoever routes."
    )


def _rows_table(rows: Sequence[RegionRow], *, percent: str) -> str:
    """Format regions as a table, with intervals of so many percent."""
    header = ["region", "queries", "accuracy before", "after"]
    header += [f"gain [{percent}]", f"reward gain [{percent}]"]
    cells = [
        [
            _KINDS.get(row.kind, row.label) + (f" ({row.label})" if row.kind == WEAKEST else ""),
            str(row.queries),
            f"{row.accuracy.before.value:.3f}",
            f"{row.accuracy.after.value:.3f}",
            format_interval(row.accuracy.gain, signed=True),
            format_interval(row.reward.gain, signed=True),
        ]
        for row in rows
    ]
    return markdown_table(header, cells)


def _history_section(entries: Sequence[Entry]) -> list[str]:
    """List the history."""
    header = ["entry", "what", "before", "candidate", "verdict", "current", "signed by", "sha256"]
    cells = [
        [
            str(e.number),
            f"cycle {e.cycle}: {e.region}" if e.cycle else "rollback",
            e.before,
            e.candidate,
            e.verdict,
            e.current,
            e.signed_by,
            e.sha256[:12],
        ]
        for e in entries
    ]
    grounds = [f"{e.number}. {' '.join(e.reasons)}" for e in entries]
    text = "Every entry holds the hash of the one before it; the last says what is current."
    return ["## History", "", text, "", markdown_table(header, cells), "", *grounds, ""]


def _times(entries: Sequence[Entry], details: dict[str, Any]) -> Figures:
    """Return the minutes of the last cycle and of its training."""
    entry = next((e for e in reversed(entries) if e.cycle == details["cycle"]), None)
    if entry is None:
        return {}
    return {
        "minutes": sum(entry.seconds.values()) / 60,
        "training_minutes": entry.seconds.get("training", 0.0) / 60,
    }


def _plot(rows: Sequence[RegionRow], confidence: float, path: Path) -> None:
    """Draw the regions, tasks left out."""
    shown = [row for row in rows if row.kind != TASK]
    names = {row: _KINDS.get(row.kind, f"domain {row.label}") for row in shown}
    names |= {row: f"weakest region: {row.label}" for row in shown if row.kind == WEAKEST}
    draw_regions(names, path=path, confidence=confidence)


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is none."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content
