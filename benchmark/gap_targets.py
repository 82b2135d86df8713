"""From weak regions to what data is made of: tasks and complexities, weighted by the gain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from routing_gym.benchmark.gap_evidence import GapSettings
from routing_gym.benchmark.gap_records import Gap, GapReport
from routing_gym.benchmark.gap_regions import find_groups
from routing_gym.benchmark.gap_table import TableView
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import COMPLEXITIES
from routing_gym.queries.synthesis_settings import Target
from routing_gym.queries.tasks import TASKS

FINEST = ("task_complexity", "cluster")
Cell = tuple[str, int]


def targets_of_gaps(
    report: GapReport,
    table: OutcomeTable,
    *,
    tasks: Collection[str],
    kind: str = "pool",
    levels: Sequence[str] = (),
) -> list[Target]:
    """Turn the discovered gaps of a report into targets.

    A region's gain is shared out over its tasks and complexities by their queries; where regions
    overlap, a task at a complexity takes the largest share.

    Parameters
    ----------
    report
        Gaps of the table.
    table
        Says which tasks a cluster holds.
    tasks
        Those that data may be made of.
    kind
        Kind of the gaps.
    levels
        Levels that are read; by default the finest (task and complexity, cluster), or, where these
        show nothing, tasks, then domains.

    Returns
    -------
    list of Target
        Largest weight first.

    Raises
    ------
    ValueError
        If the report read the test split, is of another table, or shows no gap in these tasks.
    """
    if report.touches_test:
        raise ValueError(
            "the gaps were found with the test split, so nothing may be made from them: find them "
            "again without test among --splits."
        )
    if report.fingerprint != table.fingerprint:
        raise ValueError(
            f"the gaps are of another table ({report.fingerprint[:12]} and not "
            f"{table.fingerprint[:12]}): find them again with scripts/find_gaps.py."
        )
    clusters = _clusters(report, table)
    for tried in [tuple(levels)] if levels else [FINEST, ("task",), ("domain",)]:
        gaps = [g for g in report.of_kind(kind, discovered=True) if g.region.level in tried]
        targets = _targets(gaps, table, report.splits, clusters, tasks)
        if targets:
            return targets
    raise ValueError(
        f"the report shows no gap of kind={kind!r} in {', '.join(sorted(tasks))} that is more than "
        "chance: choose another adapter or kind, or name the tasks yourself."
    )


def _targets(
    gaps: Sequence[Gap],
    table: OutcomeTable,
    splits: Sequence[str],
    clusters: Mapping[int, np.ndarray],
    tasks: Collection[str],
) -> list[Target]:
    """Share the gains out."""
    best: dict[Cell, Target] = {}
    for gap in gaps:
        counts = _cells(table, _rows(gap, table, splits, clusters))
        for (task, complexity), queries in counts.items():
            weight = gap.gain * queries / counts.total()
            known = task in tasks and task in TASKS and complexity in COMPLEXITIES
            if known and weight > getattr(best.get((task, complexity)), "weight", 0.0):
                best[task, complexity] = Target(task, complexity, weight, gap.region.label)
    return sorted(best.values(), key=lambda target: -target.weight)


def _rows(
    gap: Gap, table: OutcomeTable, splits: Sequence[str], clusters: Mapping[int, np.ndarray]
) -> np.ndarray:
    """Find the table's rows of a region, int (n,)."""
    region = gap.region
    if region.cluster is not None:
        return clusters.get(region.cluster, np.zeros(0, dtype=np.int64))
    mask = np.isin(table.split.astype(np.str_), splits)
    for name in ("domain", "task"):
        if wanted := getattr(region, name):
            mask &= getattr(table, name) == wanted
    if region.complexity is not None:
        mask &= table.complexity == region.complexity
    return np.flatnonzero(mask)


def _cells(table: OutcomeTable, rows: np.ndarray) -> Counter[Cell]:
    """Count queries by task and complexity."""
    return Counter((str(table.task[row]), int(table.complexity[row])) for row in rows)


def _clusters(report: GapReport, table: OutcomeTable) -> dict[int, np.ndarray]:
    """Cluster the table again, as the report did; cluster -> its rows."""
    if not any(gap.region.cluster is not None for gap in report.gaps):
        return {}
    settings = GapSettings(**_settings(report.settings))
    view = TableView(table, settings, np.full(len(table), -1))
    groups, _ = find_groups(
        view.labels,
        levels=("cluster",),
        clusters=settings.clusters,
        min_queries=settings.min_queries,
        seed=settings.seed,
    )
    return {int(g.region.cluster or 0): view.rows[g.rows] for g in groups.get("cluster", [])}


def _settings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a report's settings back into those of `GapSettings`."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
