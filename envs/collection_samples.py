"""Further answers drawn at random, for measuring how often an adapter agrees with itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from routing_gym.adapters.generation import Completion
from routing_gym.envs.collection import cell_key
from routing_gym.envs.collection_files import (
    Tick,
    append_lines,
    damaged,
    digest,
    locked,
    whole_lines,
)
from routing_gym.queries.query import Query


class SamplingPool(Protocol):
    """What sampling needs of a pool; see `routing_gym.adapters.pool.AdapterPool`."""

    spec: Any

    def sample(
        self,
        name: str,
        texts: Sequence[str],
        *,
        k: int,
        seed: int,
        temperature: float,
        forms: Sequence[str],
        batch_size: int,
    ) -> Sequence[Sequence[Completion]]:
        """Answer each query k times at random."""


def collect_samples(
    pool: SamplingPool,
    adapter: str,
    queries: Sequence[Query],
    *,
    folder: Path,
    k: int,
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 64,
    flush_queries: int = 16,
    on_rows: Tick | None = None,
) -> dict[str, list[str]]:
    """Let one adapter answer each query k times, going on where a killed run stopped.

    Parameters
    ----------
    pool
        The pool that answers.
    adapter
        A name of the pool.
    queries
        N queries.
    folder
        Where ``samples-<adapter>.jsonl`` lies, with lines ``[query_id, key, [response, ...]]``.
    k, seed, temperature, batch_size
        See `routing_gym.adapters.generation.sample`.
    flush_queries
        Queries between writes to disk: what a kill can lose.
    on_rows
        Called with the number of queries that were found or answered.

    Returns
    -------
    dict
        Query id -> k responses, for every query.

    Raises
    ------
    OSError
        If another process is sampling the same adapter.
    ValueError
        If the file holds a damaged line, or `flush_queries` is below 1.
    """
    if flush_queries < 1:
        raise ValueError(f"flush_queries={flush_queries}: give at least 1.")
    weights = pool.spec.adapters[pool.spec.position(adapter)].sha256
    keys = {
        q.query_id: digest([cell_key(q, weights, pool.spec.base_model), seed, temperature])
        for q in queries
    }
    path = folder / f"samples-{adapter}.jsonl"
    with locked(path):
        found = {
            query_id: responses[:k]
            for query_id, key, responses in _entries(path)
            if keys.get(query_id) == key and len(responses) >= k
        }
        if on_rows:
            on_rows(len(found))
        todo = [q for q in queries if q.query_id not in found]
        draw = partial(pool.sample, adapter, k=k, seed=seed, temperature=temperature)
        for part, answers in drawn(draw, todo, batch_size=batch_size, flush_queries=flush_queries):
            fresh = {
                q.query_id: [a.text for a in own] for q, own in zip(part, answers, strict=True)
            }
            append_lines(path, [(name, keys[name], texts) for name, texts in fresh.items()])
            found.update(fresh)
            if on_rows:
                on_rows(len(fresh))
    return found


def drawn(
    draw: Callable[..., Sequence[Sequence[Completion]]],
    queries: Iterable[Query],
    *,
    batch_size: int,
    flush_queries: int,
) -> Iterator[tuple[list[Query], Sequence[Sequence[Completion]]]]:
    """Let queries be answered part by part, those alike in form and length together.

    Parameters
    ----------
    draw
        `SamplingPool.sample` but for the texts, the forms and the batch size.
    queries, batch_size, flush_queries
        See `collect_samples`.

    Yields
    ------
    tuple
        Up to `flush_queries` queries, and the answers to each.
    """
    todo = sorted(queries, key=lambda query: (query.form, len(query.text)))
    for start in range(0, len(todo), flush_queries):
        part = todo[start : start + flush_queries]
        texts, forms = [query.text for query in part], [query.form for query in part]
        yield part, draw(texts, forms=forms, batch_size=batch_size)


def _entries(path: Path) -> list[list]:
    """Read the lines of samples."""
    lines = whole_lines(path)
    for line in lines:
        if not (isinstance(line, list) and len(line) == 3 and isinstance(line[2], list)):
            raise damaged(path, ValueError(f"{str(line)[:60]!r} is no query's samples"))
    return lines
