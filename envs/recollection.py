"""Collecting only what changed: a new table in which all but some adapters' cells are the old ones.

When one adapter of a pool is trained further, the other adapters' answers, scores and judgements
are what they were. This collects, reads, judges and scores the answers of the changed adapters and
keeps every other cell to the bit. The learned quality of the new cells comes from the model that is
given, so that rewards before and after mean the same; the unchanged cells of the train split keep
their cross-fitted values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.collection import Pool, collect_answers, verdicts
from routing_gym.envs.collection_files import Cell, Tick
from routing_gym.envs.collection_passes import (
    LIKELIHOODS,
    P_TRUE,
    Judge,
    Reader,
    collect_judgements,
    collect_signals,
)
from routing_gym.envs.columns import OUTCOME_DTYPES
from routing_gym.envs.manifest import AdapterRecord
from routing_gym.envs.scoring import answers_of, queries_of, score_in_parts
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator

Progress = Callable[[str, int], Tick]
"""``(name of a pass, number of rows) -> a function that is told of finished rows``."""


def changed_adapters(table: OutcomeTable, pool: PoolSpec) -> tuple[str, ...]:
    """Name the adapters whose weights are not those that the table was collected from.

    Raises
    ------
    ValueError
        If the pool has other names, another order or another base model than the table.
    """
    manifest = table.manifest
    if pool.names != table.adapters or pool.base_model != manifest.base_model:
        raise ValueError(
            f"the pool has {', '.join(pool.names)} on {pool.base_model!r}, the table "
            f"{', '.join(table.adapters)} on {manifest.base_model!r}: only weights of an adapter "
            "may differ; collect a new table with scripts/collect_outcomes.py."
        )
    old = {record.name: record.sha256 for record in manifest.adapters}
    return tuple(a.name for a in pool.adapters if not a.is_base and a.sha256 != old[a.name])


def recollect(
    table: OutcomeTable,
    spec: PoolSpec,
    *,
    pool: Pool,
    read: Callable[[str], Reader],
    judges: Mapping[str, Judge],
    evaluator: SelfEvaluator,
    folder: Path,
    batch_size: int = 64,
    flush_rows: int = 128,
    note: Mapping[str, Any] | None = None,
    progress: Progress = lambda name, rows: lambda done: None,
) -> OutcomeTable:
    """Make the table of a pool of which some adapters changed.

    Parameters
    ----------
    table
        The table of the pool as it was.
    spec
        The pool as it is.
    pool
        Answers; needs only the changed adapters.
    read
        Adapter -> reader of its answers' token signals, called only where answers lack them.
    judges
        `LIKELIHOODS` and `P_TRUE` -> the judge of answers; called for new answers only.
    evaluator
        Scores every self-evaluated column of the table, with the quality model that is to stay.
    folder
        Takes the answers and judgements so far; a run that was killed goes on from it.
    batch_size, flush_rows
        See `collect_answers`.
    note
        Goes into the manifest; JSON values.
    progress
        Told of finished rows.

    Raises
    ------
    ValueError
        If nothing changed, names differ, or the evaluator lacks a column of the table.
    """
    changed = changed_adapters(table, spec)
    if not changed:
        raise ValueError("no adapter's weights differ from the table's: there is nothing to do.")
    truth = ("accuracy", "accuracy_strict")
    if missing := [name for name in table.scores if name not in (*evaluator.names, *truth)]:
        raise ValueError(f"the evaluator lacks {missing[0]!r}, which is a column of the table.")
    queries = queries_of(table)
    columns = {name: getattr(table, name).copy() for name in OUTCOME_DTYPES}
    scores = {name: values.copy() for name, values in table.scores.items()}
    for name in changed:
        cells = _cells(
            name,
            queries,
            spec=spec,
            pool=pool,
            read=read,
            folder=folder,
            batch_size=batch_size,
            flush_rows=flush_rows,
            progress=progress,
        )
        arm = spec.position(name)
        for column, values in columns.items():
            part = "response" if column == "responses" else column
            values[:, arm] = [getattr(cells[q.query_id], part) for q in queries]
        fresh = _scores(name, queries, cells, judges, evaluator, folder=folder, progress=progress)
        for column, values in scores.items():
            values[:, arm] = fresh[column]
    manifest = dataclasses.replace(
        table.manifest,
        adapters=tuple(AdapterRecord(a.name, "" if a.is_base else a.sha256) for a in spec.adapters),
        pool_fingerprint=spec.fingerprint,
        generation={**table.manifest.generation, "recollected": _note(table, changed, note)},
        files={},
    )
    return dataclasses.replace(table, **columns, scores=scores, manifest=manifest)


def _cells(
    name: str,
    queries: Sequence[Query],
    *,
    spec: PoolSpec,
    pool: Pool,
    read: Callable[[str], Reader],
    folder: Path,
    batch_size: int,
    flush_rows: int,
    progress: Progress,
) -> dict[str, Cell]:
    """Collect one adapter's answers with their token signals."""
    count = len(queries)
    cells = collect_answers(
        pool,
        name,
        queries,
        folder=folder,
        batch_size=batch_size,
        flush_rows=flush_rows,
        on_rows=progress(f"answers of {name}", count),
    )
    return collect_signals(
        spec,
        name,
        queries,
        cells,
        read=read(name),
        folder=folder,
        flush_rows=flush_rows,
        on_rows=progress(f"token signals of {name}", count),
    )


def _scores(
    name: str,
    queries: Sequence[Query],
    cells: Mapping[str, Cell],
    judges: Mapping[str, Judge],
    evaluator: SelfEvaluator,
    *,
    folder: Path,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Judge, score and verify one adapter's answers: float64 (N,) by column."""
    own = {name: cells}
    judge = partial(_judged, queries, own, judges, folder=folder, progress=progress)
    answers = answers_of(queries, own, likelihoods=judge(LIKELIHOODS), p_true=judge(P_TRUE))
    tick = progress(f"scoring of {name}", len(answers))
    scores = score_in_parts(evaluator, answers, on_rows=tick)
    return scores | verdicts([(query, cells[query.query_id]) for query in queries])


def _judged(
    queries: Sequence[Query],
    own: Mapping[str, Mapping[str, Cell]],
    judges: Mapping[str, Judge],
    file: str,
    *,
    folder: Path,
    progress: Progress,
) -> np.ndarray:
    """Let the base model judge one adapter's answers: float64 (N, 1)."""
    (name,) = own
    path = folder / f"{name}-{file}"
    tick = progress(f"{Path(file).stem} of {name}", len(queries))
    return collect_judgements(queries, own, judge=judges[file], path=path, on_rows=tick)


def _note(
    table: OutcomeTable, changed: Sequence[str], note: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Say in the manifest which cells are new, and what the others come from."""
    kept = [name for name in table.adapters if name not in changed]
    return {
        "adapters": list(changed),
        "kept": kept,
        "from_table": table.fingerprint,
        **(note or {}),
    }
