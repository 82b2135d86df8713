"""Collecting an outcome table: every query by every adapter, resumable to the last batch.

Answers are appended batch by batch to one file per adapter, so that a killed run loses a batch at
most and several processes can share the adapters. Scores, verdicts and embeddings are computed from
these files when all are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS, Completion
from routing_gym.envs.collection_files import (
    Cell,
    Tick,
    append_lines,
    damaged,
    digest,
    locked,
    rounded,
    whole_lines,
)
from routing_gym.envs.collection_passes import present
from routing_gym.envs.columns import QUERY_DTYPES
from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from routing_gym.envs.scoring import answers_of, metric_records, score_in_parts
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import verify
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator


class Pool(Protocol):
    """What collection needs of a pool; see `routing_gym.adapters.pool.AdapterPool`."""

    spec: Any

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> Sequence[Completion]:
        """Answer queries greedily."""


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
        If another process is collecting the same adapter.
    ValueError
        If the file holds a damaged line, or `flush_rows` is below 1.
    """
    if flush_rows < 1:
        raise ValueError(f"flush_rows={flush_rows}: give at least 1.")
    spec = pool.spec.adapters[pool.spec.position(adapter)]
    sha256 = spec.sha256  # reads the weights, so once
    keys = {q.query_id: cell_key(q, sha256, pool.spec.base_model) for q in queries}
    path = folder / f"answers-{adapter}.jsonl"
    with locked(path):
        cells = _read_cells(path, keys)
        if on_rows:
            on_rows(len(cells))
        todo = [q for q in queries if q.query_id not in cells]
        todo.sort(key=lambda q: (q.form, len(q.text)))
        for start in range(0, len(todo), flush_rows):
            part = todo[start : start + flush_rows]
            answers = pool.generate(
                adapter,
                [q.text for q in part],
                forms=[q.form for q in part],
                batch_size=batch_size,
            )
            fresh = [_cell(keys[q.query_id], q, a) for q, a in zip(part, answers, strict=True)]
            append_lines(path, map(asdict, fresh))
            cells.update({cell.query_id: cell for cell in fresh})
            if on_rows:
                on_rows(len(fresh))
    return cells


def assemble(
    queries: Sequence[Query],
    cells: Mapping[str, Mapping[str, Cell]],
    *,
    pool: Any,
    evaluator: SelfEvaluator,
    likelihoods: np.ndarray,
    p_true: np.ndarray,
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
        float64 (N, K), from `collect_judgements`, adapters in the pool's order.
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
    scores = score_in_parts(evaluator, answers, on_rows=on_rows) | _verdicts(flat)
    measured = ("prompt_tokens", "completion_tokens", "seconds", "finished")
    return OutcomeTable(
        **{name: np.array([getattr(q, name) for q in queries]) for name in QUERY_DTYPES},
        **{name: _column(grid, name) for name in measured},
        scores={name: values.reshape(likelihoods.shape) for name, values in scores.items()},
        responses=np.array([[c.response for c in row] for row in grid], dtype=object),
        embeddings=encode([q.text for q in queries]),
        manifest=Manifest(
            adapters=tuple(
                AdapterRecord(a.name, a.sha256 if a.path else "") for a in pool.adapters
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


def _verdicts(answers: Sequence[tuple[Query, Cell]]) -> dict[str, np.ndarray]:
    """Verify answers: accuracy and strict accuracy, float64 (n,)."""
    with ThreadPoolExecutor() as workers:  # code is run in processes of its own
        verdicts = list(workers.map(lambda pair: verify(pair[0], pair[1].response), answers))
    return {
        "accuracy": np.array([verdict.accuracy for verdict in verdicts]),
        "accuracy_strict": np.array([verdict.strict for verdict in verdicts]),
    }


def _truths() -> dict[str, MetricRecord]:
    """Describe the verified columns."""
    truth = MetricRecord(direction="higher", role="truth")
    return {"accuracy": truth, "accuracy_strict": truth}


def _column(grid: list[list[Cell]], name: str) -> np.ndarray:
    """Read one field of every cell, (N, K)."""
    return np.array([[getattr(cell, name) for cell in row] for row in grid])


def _cell(key: str, query: Query, answer: Completion) -> Cell:
    """Make a cell of a completion."""
    return Cell(
        key=key,
        query_id=query.query_id,
        response=answer.text,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=round(answer.seconds, 5),
        finished=answer.finished,
        token_log_probs=rounded(answer.token_log_probs) or None,
        token_entropies=rounded(answer.token_entropies) or None,
    )


def _read_cells(path: Path, keys: dict[str, str]) -> dict[str, Cell]:
    """Read the cells of this pool and these queries."""
    lines = whole_lines(path)
    try:
        cells = [Cell(**line) for line in lines]
    except TypeError as error:
        raise damaged(path, error) from error
    return {cell.query_id: cell for cell in cells if keys.get(cell.query_id) == cell.key}
