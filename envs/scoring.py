"""Scoring a table's answers: when it is made, and again when the metrics have changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from routing_gym.envs.collection_files import Cell, Tick
from routing_gym.envs.collection_passes import present
from routing_gym.envs.columns import OUTCOME_DTYPES, QUERY_DTYPES
from routing_gym.envs.manifest import MetricRecord
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.registry import METRICS

COSTS = ("tokens", "seconds")
LEARNED = ("quality",)
"""Metrics that are trained on a table, so that they enter it after its making."""
TABLE_METRICS = tuple(name for name in METRICS if name not in LEARNED)


def answers_of(
    queries: Sequence[Query],
    cells: Mapping[str, Mapping[str, Cell]],
    *,
    likelihoods: np.ndarray | None = None,
    p_true: np.ndarray | None = None,
) -> list[Answer]:
    """List the answers as metrics take them, the adapters of each query together.

    Parameters
    ----------
    queries
        N queries.
    cells
        Adapter -> query id -> `Cell`, complete; K adapters.
    likelihoods, p_true
        float64 (N, K) from `collect_judgements`; None where it was not measured.

    Returns
    -------
    list of Answer
        N * K, without references.

    Raises
    ------
    ValueError
        If a cell is missing or a measurement is out of range.
    """
    unknown = np.full((len(queries), len(cells)), None)
    likelihoods = unknown if likelihoods is None else np.minimum(likelihoods, 0.0)
    p_true = unknown if p_true is None else p_true
    grid = [(q, present(own, q, name)) for q in queries for name, own in cells.items()]
    return [
        Answer(
            query=q.text,
            response=c.response,
            form=q.form,
            form_size=q.form_size,
            finished=c.finished,
            prompt_tokens=c.prompt_tokens,
            completion_tokens=c.completion_tokens,
            seconds=c.seconds,
            log_likelihood=likelihood,
            token_log_probs=c.token_log_probs,
            token_entropies=c.token_entropies,
            p_true=p,
        )
        for (q, c), likelihood, p in zip(grid, likelihoods.flat, p_true.flat, strict=True)
    ]


def score_in_parts(
    evaluator: SelfEvaluator,
    answers: Sequence[Answer],
    *,
    rows: int = 1024,
    on_rows: Tick | None = None,
) -> dict[str, np.ndarray]:
    """Score answers some rows at a time; by metric name, float64 (n,).

    Parameters
    ----------
    evaluator
        The metrics.
    answers
        n answers.
    rows
        Answers at a time, at least 1.
    on_rows
        Called with the number of answers that were scored.
    """
    parts = []
    for start in range(0, max(len(answers), 1), rows):
        part = answers[start : start + rows]
        parts.append(evaluator.evaluate_batch(part))
        if on_rows:
            on_rows(len(part))
    return {name: np.concatenate([part[name] for part in parts]) for name in evaluator.names}


def metric_records(evaluator: SelfEvaluator) -> dict[str, MetricRecord]:
    """Describe the columns that an evaluator fills."""
    return {
        name: MetricRecord(direction=direction, role="cost" if name in COSTS else "score")
        for name, direction in evaluator.directions.items()
    }


def queries_of(table: OutcomeTable) -> list[Query]:
    """Read a table's queries back."""
    columns = [getattr(table, name).tolist() for name in QUERY_DTYPES]
    return [
        Query(**dict(zip(QUERY_DTYPES, row, strict=True))) for row in zip(*columns, strict=True)
    ]


def cells_of(table: OutcomeTable) -> dict[str, dict[str, Cell]]:
    """Read a table's answers back: adapter -> query id -> `Cell`, without token signals."""
    names = {name: "response" if name == "responses" else name for name in OUTCOME_DTYPES}
    cells: dict[str, dict[str, Cell]] = {}
    for arm, adapter in enumerate(table.adapters):
        columns = {field: getattr(table, name)[:, arm].tolist() for name, field in names.items()}
        cells[adapter] = {
            query_id: Cell(key="", query_id=query_id, **{f: v[row] for f, v in columns.items()})
            for row, query_id in enumerate(table.query_id)
        }
    return cells


def stored_judgement(table: OutcomeTable, name: str) -> np.ndarray:
    """Read what the base said of each answer back from its column, float64 (N, K).

    Parameters
    ----------
    table
        Has the column `name`.
    name
        ``"p_true"`` or ``"base_likelihood"``; the latter's column is the exponential.
    """
    values = table.scores[name].astype(np.float64)
    if name == "p_true":
        return values
    return np.log(values, out=np.full_like(values, -math.inf), where=values > 0)


def columns_to_score(table: OutcomeTable, keep: Collection[str]) -> tuple[str, ...]:
    """Name the registry's metrics that are to be computed for a table.

    Parameters
    ----------
    table
        The table.
    keep
        Score columns that stay as they are.

    Raises
    ------
    ValueError
        If the table has no such column, or nothing is left to compute.
    """
    for name in keep:
        if name not in table.scores:
            raise ValueError(
                f"keep={name!r} is no column of the table: it has {', '.join(table.scores)}."
            )
    names = tuple(name for name in TABLE_METRICS if name not in keep)
    if not names:
        raise ValueError(f"keep={sorted(keep)} leaves no metric to compute: keep fewer.")
    return names


def with_scores(
    table: OutcomeTable,
    scores: Mapping[str, np.ndarray],
    *,
    records: Mapping[str, MetricRecord],
    keep: Collection[str],
    note: Mapping[str, Any],
) -> OutcomeTable:
    """Replace a table's self-evaluated columns; the truth and everything else stays to the bit.

    A learned column (`LEARNED`) that is not kept is left out, since it was made from columns that
    are no longer there.

    Parameters
    ----------
    table
        The table.
    scores, records
        The new columns (N, K) and their meaning, by metric.
    keep
        Columns that stay as they are.
    note
        For the manifest: goes into ``generation["scored_after"]``.
    """
    old = {
        name: record
        for name, record in table.manifest.metrics.items()
        if name in keep or name not in METRICS
    }
    merged = {**records, **old}
    ordered = [name for name in METRICS if name in merged]
    ordered += [name for name in merged if name not in METRICS]
    manifest = dataclasses.replace(
        table.manifest,
        metrics={name: merged[name] for name in ordered},
        generation={**table.manifest.generation, "scored_after": dict(note)},
        files={},
    )
    columns = {**scores, **{name: table.scores[name] for name in old}}
    return dataclasses.replace(table, scores=columns, manifest=manifest)
