"""Collecting an outcome table: every query by every adapter, resumable to the last batch.

Answers are appended part by part to one file per adapter, so that a killed run loses a part of each
worker at most and several processes can share the adapters. Scores, verdicts and embeddings are
computed from these files when all are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS
from routing_gym.envs.collection_files import Cell, Tick, digest
from routing_gym.envs.collection_parts import (
    Answered,
    Answering,
    Part,
    PartsFailed,
    Pool,
    collect_parts,
)
from routing_gym.envs.collection_passes import present
from routing_gym.envs.columns import QUERY_DTYPES
from routing_gym.envs.executor import Executor, InProcess, Work
from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from routing_gym.envs.scoring import answers_of, metric_records, score_in_parts
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import verify
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator


def cell_key(query: Query, adapter_sha256: str, base_model: str) -> str:
    """Hash what determines an answer: text, token budget, base model and the adapter's hash."""
    budget = TOKEN_BUDGETS.get(query.form, FREE_BUDGET)
    parts = [query.text, budget, base_model, adapter_sha256]
    return digest(parts)


def collect_answers(
    pool: Pool,
    adapter: str,
    queries: Sequence[Query],
    *,
    folder: Path,
    batch_size: int = 64,
    flush_rows: int = 128,
    on_rows: Tick | None = None,
) -> dict[str, Cell]:
    """Let one adapter answer every query that its file does not hold yet.

    Parameters
    ----------
    pool
        The pool that answers.
    adapter
        A name of the pool.
    queries
        N queries.
    folder
        Where ``answers-<adapter>.jsonl`` lies; several adapters may be collected at once.
    batch_size
        Rows per generated batch.
    flush_rows
        Rows between writes to disk: what a kill can lose.
    on_rows
        Called with the number of rows that were found or written.

    Returns
    -------
    dict
        Query id -> `Cell`, for every query.

    Raises
    ------
    OSError
        If another process is collecting the same adapter, or the pool's server failed to answer
        queries; all that it did answer is kept.
    ValueError
        If the file holds a damaged line, or `flush_rows` is below 1.
    """
    work = Answering(lambda: pool, batch_size)
    try:
        return collect_all(
            pool.spec,
            [adapter],
            queries,
            work=work,
            executor=InProcess(),
            folder=folder,
            flush_rows=flush_rows,
            on_rows=on_rows,
        )[adapter]
    except PartsFailed as error:
        raise error.failures[0].error from error


def collect_all(
    spec: Any,
    adapters: Sequence[str],
    queries: Sequence[Query],
    *,
    work: Work[Part, Answered],
    executor: Executor,
    folder: Path,
    flush_rows: int = 128,
    on_rows: Tick | None = None,
) -> dict[str, dict[str, Cell]]:
    """Let adapters answer every query that their files do not hold yet, wherever that is done.

    Parameters
    ----------
    spec
        The pool's `PoolSpec`.
    adapters
        Names of the pool; their answers are collected in one go, and their files locked as long.
    queries
        N queries.
    work, executor, folder, flush_rows, on_rows
        See `routing_gym.envs.collection_parts.collect_parts`, also for what is raised.

    Returns
    -------
    dict
        Adapter -> query id -> `Cell`, for every adapter and query.
    """
    keys = {}
    for name in adapters:
        sha256 = spec.adapters[spec.position(name)].sha256  # reads the weights, so once
        keys[name] = {q.query_id: cell_key(q, sha256, spec.base_model) for q in queries}
    return collect_parts(
        queries,
        keys,
        work=work,
        executor=executor,
        folder=folder,
        flush_rows=flush_rows,
        on_rows=on_rows,
    )


def assemble(
    queries: Sequence[Query],
    cells: Mapping[str, Mapping[str, Cell]],
    *,
    pool: Any,
    evaluator: SelfEvaluator,
    likelihoods: np.ndarray | None,
    p_true: np.ndarray | None,
    encode: Callable[[Sequence[str]], np.ndarray],
    encoder: str,
    generation: dict[str, Any],
    seeds: dict[str, int],
    versions: dict[str, str],
    on_rows: Tick | None = None,
) -> OutcomeTable:
    """Score, verify and embed collected answers, and make the table.

    Parameters
    ----------
    queries
        N queries with their splits.
    cells
        Adapter -> query id -> `Cell`, complete; token signals from `collect_signals`.
    pool
        The `PoolSpec` that answered.
    evaluator
        Scores the answers without their references.
    likelihoods, p_true
        float64 (N, K), from `collect_judgements`, adapters in the pool's order; None where nobody
        judged, and the evaluator has no metric of that.
    encode
        See `Encoder.encode`.
    encoder
        The encoder's id.
    generation, seeds, versions
        Provenance for the manifest.
    on_rows
        Called with the number of answers that were scored.

    Raises
    ------
    ValueError
        If a cell is missing.
    """
    own = {name: cells.get(name, {}) for name in pool.names}
    grid = [[present(own[name], q, name) for name in pool.names] for q in queries]  # (N, K)
    flat = [(q, c) for q, row in zip(queries, grid, strict=True) for c in row]
    answers = answers_of(queries, own, likelihoods=likelihoods, p_true=p_true)
    scores = score_in_parts(evaluator, answers, on_rows=on_rows) | verdicts(flat)
    measured = ("prompt_tokens", "completion_tokens", "seconds", "finished")
    return OutcomeTable(
        **{name: np.array([getattr(q, name) for q in queries]) for name in QUERY_DTYPES},
        **{name: _column(grid, name) for name in measured},
        scores={name: v.reshape(len(queries), len(own)) for name, v in scores.items()},
        responses=np.array([[c.response for c in row] for row in grid], dtype=object),
        embeddings=encode([q.text for q in queries]),
        manifest=Manifest(
            adapters=tuple(
                AdapterRecord(a.name, "" if a.is_base else a.sha256) for a in pool.adapters
            ),
            metrics=metric_records(evaluator) | _truths(),
            base_model=pool.base_model,
            encoder=encoder,
            pool_fingerprint=pool.fingerprint,
            generation=generation,
            seeds=seeds,
            versions=versions,
        ),
    )


def verdicts(answers: Sequence[tuple[Query, Cell]]) -> dict[str, np.ndarray]:
    """Verify n answers: accuracy and strict accuracy, float64 (n,)."""
    with ThreadPoolExecutor() as workers:  # code is run in processes of its own
        found = list(workers.map(lambda pair: verify(pair[0], pair[1].response), answers))
    return {
        "accuracy": np.array([verdict.accuracy for verdict in found]),
        "accuracy_strict": np.array([verdict.strict for verdict in found]),
    }


def _truths() -> dict[str, MetricRecord]:
    """Describe the verified columns."""
    truth = MetricRecord(direction="higher", role="truth")
    return {"accuracy": truth, "accuracy_strict": truth}


def _column(grid: list[list[Cell]], name: str) -> np.ndarray:
    """Read one field of every cell, (N, K)."""
    return np.array([[getattr(cell, name) for cell in row] for row in grid])
