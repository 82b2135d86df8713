"""Passes over collected answers: what a model says of each when it reads it, resumably."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from routing_gym.adapters.spec import PoolSpec
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
from routing_gym.queries.query import Query

Judge = Callable[[Sequence[str], Sequence[str]], np.ndarray]
LIKELIHOODS, P_TRUE = "likelihoods.jsonl", "p_true.jsonl"


class Signals(Protocol):
    """See `routing_gym.adapters.token_signals.TokenSignals`."""

    @property
    def log_probs(self) -> np.ndarray:
        """Log-probability of each token, nats."""

    @property
    def entropies(self) -> np.ndarray:
        """Entropy of each token's distribution, nats."""


Reader = Callable[[Sequence[str], Sequence[str], Sequence[bool]], Sequence[Signals]]


def collect_signals(
    spec: PoolSpec,
    adapter: str,
    queries: Sequence[Query],
    cells: Mapping[str, Cell],
    *,
    read: Reader,
    folder: Path,
    flush_rows: int = 128,
    on_rows: Tick | None = None,
) -> dict[str, Cell]:
    """Give every answer of an adapter its token signals, reading only those that lack them.

    Parameters
    ----------
    spec
        The pool that answered.
    adapter
        A name of the pool.
    queries
        N queries.
    cells
        Query id -> `Cell` of this adapter, complete.
    read
        ``(queries, responses, finished) -> signals`` under the answering adapter, as
        `routing_gym.adapters.token_signals.token_signals`; called only if an answer lacks them.
    folder
        Where ``signals-<adapter>.jsonl`` lies, with lines
        ``[query_id, key, log_probs, entropies]``.
    flush_rows
        Answers between writes to disk: what a kill can lose.
    on_rows
        Called with the number of answers that were found or read.

    Returns
    -------
    dict
        Query id -> `Cell` with token signals, for every query.

    Raises
    ------
    OSError
        If another process is reading the same adapter's answers.
    ValueError
        If the file holds a damaged line, a cell is missing, or `flush_rows` is below 1.
    """
    _check_flush("flush_rows", flush_rows)
    weights = spec.adapters[spec.position(adapter)].sha256
    found = {q.query_id: present(cells, q, adapter) for q in queries}
    keys = {
        q.query_id: signal_key(q, found[q.query_id], adapter_sha256=weights, spec=spec)
        for q in queries
    }
    path = folder / f"signals-{adapter}.jsonl"
    with locked(path):
        for query_id, key, log_probs, entropies in _entries(path, 4):
            if keys.get(query_id) == key and found[query_id].token_log_probs is None:
                found[query_id] = _with_signals(found[query_id], log_probs, entropies)
        todo = [q for q in queries if found[q.query_id].token_log_probs is None]
        if on_rows:
            on_rows(len(queries) - len(todo))
        todo.sort(key=lambda q: len(found[q.query_id].response))  # little padding
        for start in range(0, len(todo), flush_rows):
            part = todo[start : start + flush_rows]
            own = [found[q.query_id] for q in part]
            texts = [q.text for q in part]
            signals = read(texts, [c.response for c in own], [c.finished for c in own])
            fresh = [
                _with_signals(cell, rounded(s.log_probs), rounded(s.entropies))
                for cell, s in zip(own, signals, strict=True)
            ]
            append_lines(
                path,
                [
                    (c.query_id, keys[c.query_id], c.token_log_probs, c.token_entropies)
                    for c in fresh
                ],
            )
            found.update({cell.query_id: cell for cell in fresh})
            if on_rows:
                on_rows(len(fresh))
    return found


def collect_judgements(
    queries: Sequence[Query],
    cells: Mapping[str, Mapping[str, Cell]],
    *,
    judge: Judge,
    path: Path,
    flush_queries: int = 64,
    on_rows: Tick | None = None,
) -> np.ndarray:
    """Let the base model judge every answer, going on where a killed run stopped.

    Parameters
    ----------
    queries
        N queries.
    cells
        Adapter -> query id -> `Cell`, complete; K adapters.
    judge
        ``(queries, responses) -> (n,)``: mean token log-likelihoods as `BaseLikelihood`, or
        probabilities of being right as `PTrue`; called only if something is missing.
    path
        File of lines ``[key, [value per adapter]]``: `LIKELIHOODS` or `P_TRUE` in the
        collection's folder.
    flush_queries
        Queries between writes to disk: what a kill can lose.
    on_rows
        Called with the number of queries that were found or judged.

    Returns
    -------
    numpy.ndarray
        float64 (N, K) in the unit of `judge`.

    Raises
    ------
    OSError
        If another process is writing the same file.
    ValueError
        If the file holds a damaged line, a cell is missing, or `flush_queries` is below 1.
    """
    _check_flush("flush_queries", flush_queries)
    with locked(path):
        known = {key: values for key, values in _entries(path, 2)}
        rows = {
            q.query_id: [present(own, q, name).response for name, own in cells.items()]
            for q in queries
        }
        keys = {q.query_id: judgement_key(q, rows[q.query_id]) for q in queries}
        todo = [q for q in queries if keys[q.query_id] not in known]
        if on_rows:
            on_rows(len(queries) - len(todo))
        todo.sort(key=lambda q: max(map(len, rows[q.query_id])))  # little padding
        for start in range(0, len(todo), flush_queries):
            part = todo[start : start + flush_queries]
            texts = [q.text for q in part for _ in cells]
            values = judge(texts, [r for q in part for r in rows[q.query_id]])
            fresh = [
                (keys[q.query_id], row)
                for q, row in zip(part, values.reshape(len(part), -1).tolist(), strict=True)
            ]
            append_lines(path, fresh)
            known.update(fresh)
            if on_rows:
                on_rows(len(part))
    return np.array([known[keys[q.query_id]] for q in queries])


def signal_key(query: Query, cell: Cell, *, adapter_sha256: str, spec: PoolSpec) -> str:
    """Hash what determines an answer's token signals."""
    parts = [query.text, cell.response, bool(cell.finished), spec.base_model, adapter_sha256]
    return digest(parts)


def judgement_key(query: Query, responses: Sequence[str]) -> str:
    """Hash what determines the base's judgements of a query's answers, in the adapters' order."""
    return digest([query.text, *responses])


def present(cells: Mapping[str, Cell], query: Query, adapter: str) -> Cell:
    """Look a cell of an adapter up.

    Raises
    ------
    ValueError
        If it is missing.
    """
    if query.query_id not in cells:
        raise ValueError(
            f"the answer of adapter {adapter!r} to query {query.query_id!r} is missing: run the "
            "collection again, it goes on where it stopped."
        )
    return cells[query.query_id]


def _with_signals(cell: Cell, log_probs: Sequence[float], entropies: Sequence[float]) -> Cell:
    """Add token signals to a cell."""
    return replace(cell, token_log_probs=tuple(log_probs), token_entropies=tuple(entropies))


def _entries(path: Path, size: int) -> list[list]:
    """Read lines that are lists of a given length."""
    lines = whole_lines(path)
    for line in lines:
        if not isinstance(line, list) or len(line) != size:
            raise damaged(path, ValueError(f"{str(line)[:60]!r} is no list of {size}"))
    return lines


def _check_flush(name: str, value: int) -> None:
    """Refuse a number of rows between writes that writes nothing."""
    if value < 1:
        raise ValueError(f"{name}={value}: give at least 1.")
