"""Collecting an outcome table: every query by every adapter, resumable to the last batch.

Answers are appended batch by batch to one file per adapter, so that a killed run loses a batch at
most and several processes can share the adapters. Scores, verdicts and embeddings are computed from
these files when all are complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS, Completion
from routing_gym.envs.columns import QUERY_DTYPES
from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import verify
from routing_gym.queries.query import Query
from routing_gym.rewards.coherence import Likelihood
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer

COSTS = ("tokens", "seconds")
Tick = Callable[[int], Any]


class Pool(Protocol):
    """What collection needs of a pool; see `routing_gym.adapters.pool.AdapterPool`."""

    spec: Any

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> Sequence[Completion]:
        """Answer queries greedily."""


@dataclass(frozen=True)
class Cell:
    """One answer on disk; `key` binds it to the text and the adapter's weights."""

    key: str
    query_id: str
    response: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finished: bool


def cell_key(query: Query, adapter_sha256: str, base_model: str) -> str:
    """Hash what determines an answer: text, token budget, base model and the adapter's hash."""
    budget = TOKEN_BUDGETS.get(query.form, FREE_BUDGET)
    parts = [query.text, budget, base_model, adapter_sha256]
    return _digest(parts)


def _digest(parts: Sequence[Any]) -> str:
    """Hash a list of JSON values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"answers-{adapter}.jsonl"
    with _locked(path):
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
            _append_lines(path, map(asdict, fresh))
            cells.update({cell.query_id: cell for cell in fresh})
            if on_rows:
                on_rows(len(fresh))
    return cells


def collect_likelihoods(
    queries: Sequence[Query],
    cells: dict[str, dict[str, Cell]],
    *,
    likelihood: Likelihood,
    folder: Path,
    flush_queries: int = 64,
    on_rows: Tick | None = None,
) -> np.ndarray:
    """Score every answer's likelihood under the base model, going on where a killed run stopped.

    Parameters
    ----------
    queries
        N queries.
    cells
        Adapter -> query id -> `Cell`, complete; K adapters.
    likelihood
        ``(queries, responses) -> (n,)`` mean token log-likelihoods, as `BaseLikelihood`.
    folder
        Where ``likelihoods.jsonl`` lies.
    flush_queries
        Queries between writes to disk: what a kill can lose.
    on_rows
        Called with the number of queries that were found or scored.

    Returns
    -------
    numpy.ndarray
        float64 (N, K), nats per token, at most 0; minus infinity for an empty response.
    """
    path = folder / "likelihoods.jsonl"
    with _locked(path):
        known = {key: values for key, values in _whole_lines(path)}
        rows = {q.query_id: [_present(cells, name, q).response for name in cells] for q in queries}
        keys = {q.query_id: _digest([q.text, *rows[q.query_id]]) for q in queries}
        todo = [q for q in queries if keys[q.query_id] not in known]
        if on_rows:
            on_rows(len(queries) - len(todo))
        todo.sort(key=lambda q: max(map(len, rows[q.query_id])))  # little padding
        for start in range(0, len(todo), flush_queries):
            part = todo[start : start + flush_queries]
            texts = [q.text for q in part for _ in cells]
            values = likelihood(texts, [r for q in part for r in rows[q.query_id]])
            fresh = [
                (keys[q.query_id], row)
                for q, row in zip(part, values.reshape(len(part), -1).tolist(), strict=True)
            ]
            _append_lines(path, fresh)
            known.update(fresh)
            if on_rows:
                on_rows(len(part))
    return np.array([known[keys[q.query_id]] for q in queries])


def assemble(
    queries: Sequence[Query],
    cells: dict[str, dict[str, Cell]],
    *,
    pool: Any,
    evaluator: SelfEvaluator,
    likelihoods: np.ndarray,
    encode: Callable[[Sequence[str]], np.ndarray],
    encoder: str,
    generation: dict[str, Any],
    seeds: dict[str, int],
    versions: dict[str, str],
) -> OutcomeTable:
    """Score, verify and embed collected answers, and make the table.

    Parameters
    ----------
    queries
        N queries with their splits.
    cells
        Adapter -> query id -> `Cell`, complete.
    pool
        The `PoolSpec` that answered.
    evaluator
        Scores the answers without their references.
    likelihoods
        float64 (N, K), from `collect_likelihoods`, adapters in the pool's order.
    encode
        See `Encoder.encode`.
    encoder
        The encoder's id.
    generation, seeds, versions
        Provenance for the manifest.

    Raises
    ------
    ValueError
        If a cell is missing.
    """
    grid = [[_present(cells, name, query) for name in pool.names] for query in queries]  # (N, K)
    flat = [(q, c) for q, row in zip(queries, grid, strict=True) for c in row]
    answers = [
        Answer(
            query=q.text,
            response=c.response,
            form=q.form,
            form_size=q.form_size,
            finished=c.finished,
            prompt_tokens=c.prompt_tokens,
            completion_tokens=c.completion_tokens,
            seconds=c.seconds,
            log_likelihood=min(float(value), 0.0),
        )
        for (q, c), value in zip(flat, likelihoods.ravel(), strict=True)
    ]
    scores = evaluator.evaluate_batch(answers) | _verdicts(flat)
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
            metrics=_metric_records(evaluator),
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


def _metric_records(evaluator: SelfEvaluator) -> dict[str, MetricRecord]:
    """Describe the table's score columns."""
    records = {
        name: MetricRecord(direction=direction, role="cost" if name in COSTS else "score")
        for name, direction in evaluator.directions.items()
    }
    truth = MetricRecord(direction="higher", role="truth")
    return records | {"accuracy": truth, "accuracy_strict": truth}


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
    )


def _present(cells: dict[str, dict[str, Cell]], adapter: str, query: Query) -> Cell:
    """Look a cell up."""
    try:
        return cells[adapter][query.query_id]
    except KeyError:
        raise ValueError(
            f"the answer of adapter {adapter!r} to query {query.query_id!r} is missing: run the "
            "collection again, it goes on where it stopped."
        ) from None


def _read_cells(path: Path, keys: dict[str, str]) -> dict[str, Cell]:
    """Read the cells of this pool and these queries."""
    try:
        cells = [Cell(**line) for line in _whole_lines(path)]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} holds a line that is no answer ({error}): delete the line, or the file to "
            "collect this adapter again."
        ) from error
    return {cell.query_id: cell for cell in cells if keys.get(cell.query_id) == cell.key}


def _append_lines(path: Path, values: Iterable[Any]) -> None:
    """Append values to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)


def _whole_lines(path: Path) -> list[Any]:
    """Read a file of JSON lines; cut off a last line that a kill left unfinished."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.decode("utf-8").splitlines()]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an adapter's file for this process alone."""
    with path.with_suffix(".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(
                f"{path} is being collected by another process: wait, or choose other adapters."
            ) from error
        yield
