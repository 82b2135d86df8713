"""Section of the contest of environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from routing_gym.benchmark.environment_entries import Entry
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.speed import SpeedRow, median_interval, rows_of, speed_table
from routing_gym.benchmark.statistics import Interval

PARTS = "parts of a step"
REST = "checks, masks, dictionaries, and caches that all this together overflows"
COST = "queries: "  # cases of growing splits are named by it and their size


def environment_section(
    rows: Sequence[SpeedRow],
    figures: Mapping[str, float | Interval],
    *,
    entries: Sequence[Entry],
    ratios: Sequence[str],
) -> str:
    """Write the contest's section.

    Parameters
    ----------
    rows
        Measurements.
    figures
        From ``environment_figures``.
    entries
        Who took part.
    ratios
        Figures to tabulate by case.
    """
    labels = {entry.name: entry.label for entry in entries}
    parts = ["## Environments", _method(rows)]
    for case, text in (
        ("table", "Table: the train split"),
        ("synthetic", "Synthetic: 10,000 queries, 384 dimensions, 6 adapters"),
    ):
        if any(row.case == case for row in rows):
            table = speed_table(rows, case=case, names=labels, unit="steps", quality="mean reward")
            parts += [f"### {text}", table]
    parts += ["### How many times as fast", _ratios(figures, ratios)]
    if any(row.case == PARTS for row in rows):
        parts += ["### Where the time of a full step goes", _parts(rows)]
    if any(row.case.startswith(COST) for row in rows):
        parts += ["### Cost of a step over the number of queries", _sizes(rows, figures)]
    return "\n\n".join(parts)


def part_costs(rows: Sequence[SpeedRow]) -> dict[str, float]:
    """Split a full step of the native environment into nanoseconds per lane.

    Parameters
    ----------
    rows
        Measurements of the case ``PARTS``.

    Returns
    -------
    dict
        Part -> nanoseconds; they sum to ``"the whole step"``.
    """
    names = ("draw", "reward", "measures", "outcome", "context", "observe", "step")
    cost = {
        name: 1e9
        * float(
            np.median([r.cpu_seconds / r.count for r in rows_of(rows, case=PARTS, competitor=name)])
        )
        for name in names
    }
    known = {
        "drawing the next queries": cost["draw"],
        "looking up the rewards": cost["reward"],
        "looking up scores, costs and regret": cost["measures"] - cost["reward"],
        "names of the answered queries and adapters": cost["outcome"] - cost["measures"],
        "names of the next queries": cost["context"],
        "embeddings of the next queries": cost["observe"],
        "embeddings of the answered queries": cost["observe"],
    }
    rest = cost["step"] - sum(known.values())
    return {**known, REST: rest, "the whole step": cost["step"]}


def _method(rows: Sequence[SpeedRow]) -> str:
    """Say what was measured and how."""
    repeats = len({row.repeat for row in rows})
    return (
        f"Every competitor answers queries with the same kind of uniform actions, {repeats} times, "
        "in turns; all are started before the first measurement. A step is one query answered and "
        "the next one observed, with its reset. Rates are medians with bootstrap 95 % intervals, "
        "ratios medians of paired ratios, of CPU time; that of worker processes counts. The mean "
        "reward shows that all do the same work. *Full* info is what `SyncVectorEnv` returns; "
        "*light* info has the numbers (action, regret, accuracy, scores, costs) and neither names "
        "nor a second copy of the embeddings that were answered; *none* has nothing. With "
        "*indices* the policy gathers the embeddings itself from one shared matrix. The headline "
        "ratios are those of 2,048 lanes with light info, in the case where they are lowest."
    )


def _ratios(figures: Mapping[str, float | Interval], names: Sequence[str]) -> str:
    """Tabulate the figures by case."""
    lines = []
    for name in names:
        cells = [figures.get(f"{name}_{case}") for case in ("table", "synthetic")]
        if any(isinstance(cell, Interval) for cell in cells):
            texts = [
                format_interval(cell, digits=1) if isinstance(cell, Interval) else "–"
                for cell in cells
            ]
            lines.append([f"`{name}`", *texts])
    return markdown_table(["figure", "table [95 %]", "synthetic [95 %]"], lines)


def _parts(rows: Sequence[SpeedRow]) -> str:
    """Tabulate the parts of a step, before and after."""
    costs = part_costs(rows)
    whole = costs["the whole step"]
    lines = [[part, f"{cost:.1f}", f"{cost / whole:.0%}"] for part, cost in costs.items()]
    table = markdown_table(["part", "ns per query", "share"], lines)
    return (
        "At 2,048 lanes with embeddings on the synthetic split. Drawing and rewarding is what an "
        "environment must do; names as Python objects and the second copy of the embeddings are "
        'what `info="light"` leaves out, and index observations leave out the first copy too.\n\n'
        + table
    )


def _sizes(rows: Sequence[SpeedRow], figures: Mapping[str, float | Interval]) -> str:
    """Tabulate nanoseconds per step over the sizes."""
    cases = list(dict.fromkeys(row.case for row in rows if row.case.startswith(COST)))
    names = list(dict.fromkeys(row.competitor for row in rows if row.case.startswith(COST)))
    lines = []
    for name in names:
        costs = [
            median_interval(
                [1e9 * r.cpu_seconds / r.count for r in rows_of(rows, case=case, competitor=name)]
            )
            for case in cases
        ]
        lines.append([name.replace("_", ", ") + " info", *(_one(cost) for cost in costs)])
    header = ["ns per query [95 %]", *(f"{int(case[len(COST) :]):,}" for case in cases)]
    found = {k: v for k, v in figures.items() if k.startswith("env_cost_")}
    ratios = "; ".join(
        f"`{name}` {format_interval(value, digits=2)}"
        for name, value in found.items()
        if isinstance(value, Interval)
    )
    return (
        "The work per step does not depend on the number of queries; whether a look-up finds its "
        "row in the processor's caches does. "
        f"{ratios}.\n\n{markdown_table(header, lines)}"
    )


def _one(cost: Interval) -> str:
    """Write one cost."""
    return format_interval(cost, digits=1)
