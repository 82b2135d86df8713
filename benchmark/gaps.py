r"""Where a system is weak, from an outcome table: the pool, the router and the self-evaluator.

Regions of queries (domain, task, task and complexity, clusters of the embedding) are judged by
three gaps, each in the unit of the verified accuracy:

``pool``
    1 minus the truth of the best answer of all adapters. Even a perfect router loses it there; new
    data or a new adapter could win it.
``router``
    The truth of the best answer minus that of the chosen one: what a better choice would win.
``evaluator``
    Self-evaluated score minus truth, adapter by adapter, with its sign.

Tests: the pool's and the router's gap in a region is compared with random groups of queries of its
size (`gap_statistics.larger_than_rest`); the evaluator's with a score that is a probability of
being right (`gap_statistics.calibration_p_value`). Nothing is claimed of a region whose gap may be
chance, and the gain by which gaps are ranked is made from the shrunken gap, not from the raw one.

The best of K answers is partly luck where an adapter can guess: the oracle, and so the router's
gap, is an upper bound of what a choice made before the answers could win. `Gap.best` gives what
the best single adapter of the region reaches, which a router can reach surely. It is the best in
hindsight.

The same from a log of decisions: `routing_gym.benchmark.gap_log`.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from routing_gym.benchmark.gap_evidence import TEST, GapSettings, shown_gaps
from routing_gym.benchmark.gap_records import (
    GAPS_FILE,
    KINDS,
    LEVELS,
    Gap,
    GapExample,
    GapReport,
    Region,
)
from routing_gym.benchmark.gap_regions import find_groups
from routing_gym.benchmark.gap_table import TableView
from routing_gym.envs.table import OutcomeTable

__all__ = [
    "GAPS_FILE",
    "KINDS",
    "LEVELS",
    "TEST_WARNING",
    "Gap",
    "GapExample",
    "GapReport",
    "GapSettings",
    "Region",
    "find_gaps",
]

TEST_WARNING = (
    "the test split was read: make no data, no adapter and no choice from these gaps, or no later "
    "result on this split is one of unseen queries."
)


def find_gaps(
    table: OutcomeTable,
    *,
    actions: np.ndarray | None = None,
    settings: GapSettings | None = None,
    router: str = "",
    source: str = "table",
) -> GapReport:
    """Find the regions of a table where pool, router or self-evaluator are weak.

    Parameters
    ----------
    table
        The outcomes; any table will do, regions come from what it knows.
    actions
        int (N,), who was chosen for every query of the table, -1 where nobody was or where the
        router may not be judged (queries that it was fitted on); None judges no router.
    settings
        None takes the defaults: train and validation splits only.
    router
        Name of who chose.
    source
        Name of the table.

    Raises
    ------
    ValueError
        If the table lacks the truth or the splits hold no query, an action is no adapter, or there
        are too few queries to compare regions.

    Warns
    -----
    UserWarning
        If the test split is read.
    """
    settings = settings or GapSettings()
    view = TableView(table, settings, _checked_actions(table, actions))
    groups, notes = find_groups(
        view.labels,
        levels=settings.levels,
        clusters=settings.clusters,
        min_queries=settings.min_queries,
        seed=settings.seed,
    )
    found = [*view.pool(groups), *view.router(groups), *view.evaluator(groups)]
    worth = shown_gaps([gap for _, gap in found])
    gaps = [view.described(*pair, worth=worth) for pair in found]
    if TEST in settings.splits:
        warnings.warn(TEST_WARNING, stacklevel=2)
        notes = (TEST_WARNING, *notes)
    return GapReport(
        gaps=tuple(sorted(gaps, key=lambda gap: -gap.gain)),
        source=source,
        splits=tuple(split for split in table.splits if split in settings.splits),
        fingerprint=table.fingerprint,
        settings=plain_settings(settings),
        adapters=table.adapters,
        queries=len(view.rows),
        router=router or ("actions" if actions is not None else ""),
        overall=view.overall(),
        unknown=view.unknown([gap.kind for gap in gaps]),
        notes=notes,
    )


def _checked_actions(table: OutcomeTable, actions: np.ndarray | None) -> np.ndarray:
    """Return one action per query, -1 for none."""
    if actions is None:
        return np.full(len(table), -1)
    actions = np.asarray(actions)
    if actions.shape != (len(table),) or not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(
            f"actions is {actions.dtype} {actions.shape}, not integers of shape "
            f"(N,) = {(len(table),)}: give one adapter per query of the table, -1 for none."
        )
    wrong = np.flatnonzero((actions < -1) | (actions >= len(table.adapters)))
    if len(wrong):
        raise ValueError(
            f"actions[{wrong[0]}] = {actions[wrong[0]]} is no position of the "
            f"{len(table.adapters)} adapters {table.adapters}; -1 stands for none."
        )
    return actions


def plain_settings(settings: GapSettings) -> dict[str, object]:
    """Turn settings into what JSON holds."""
    values = dataclasses.asdict(settings)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
