"""The best of several answers to queries that no verifier knows (rejection sampling)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from routing_gym.adapters.generation import Completion
from routing_gym.envs.collection import cell_key
from routing_gym.envs.collection_files import Tick, append_lines, digest, locked, whole_lines
from routing_gym.envs.collection_samples import SamplingPool, drawn
from routing_gym.queries.query import Query
from routing_gym.rewards.metric import Answer

QUALITY = "quality"


class Scorer(Protocol):
    """What the choice needs; see `routing_gym.rewards.evaluator.SelfEvaluator`."""

    def evaluate_batch(self, answers: Sequence[Answer]) -> Mapping[str, np.ndarray]:
        """Score answers: by metric name, float64 (n,) in [0, 1]."""


@dataclass(frozen=True)
class BestAnswer:
    """The answer that scored best.

    Parameters
    ----------
    adapter, response
        Who gave it, and its text.
    quality
        Its score in [0, 1].
    drawn
        Answers that it was the best of.
    """

    adapter: str
    response: str
    quality: float
    drawn: int


def best_of_n(
    pool: SamplingPool,
    adapters: Sequence[str],
    queries: Sequence[Query],
    *,
    scorer: Scorer,
    folder: Path,
    n: int,
    seed: int,
    threshold: float,
    temperature: float = 1.0,
    batch_size: int = 64,
    flush_queries: int = 16,
    on_rows: Tick | None = None,
) -> dict[str, BestAnswer]:
    """Let adapters answer each query n times and keep the best answer, if it is good enough.

    Parameters
    ----------
    pool
        The pool that answers.
    adapters
        Names of the pool.
    queries
        N queries, none of a test split.
    scorer
        Scores answers, among others by ``quality``, without a reference.
    folder
        Where ``best-<adapter>.jsonl`` lies, with lines ``[query_id, key, [[response, quality],
        ...]]``; a run that was killed goes on from it.
    n, seed, temperature, batch_size
        See `routing_gym.adapters.generation.sample`; n answers of each adapter.
    threshold
        Quality in [0, 1] below which no answer is kept.
    flush_queries
        Queries between writes to disk: what a kill can lose.
    on_rows
        Called with the number of queries that one adapter has answered or had answered.

    Returns
    -------
    dict
        Query id -> its best answer; without the queries whose answers were all below the threshold.

    Raises
    ------
    ValueError
        If a query is of a test split, there is no adapter, or the threshold is no share.
    """
    _check(adapters, queries, threshold, flush_queries)
    best: dict[str, BestAnswer] = {}
    for name in adapters:
        weights = pool.spec.adapters[pool.spec.position(name)].sha256
        keys = {
            q.query_id: digest([cell_key(q, weights, pool.spec.base_model), n, seed, temperature])
            for q in queries
        }
        path = folder / f"best-{name}.jsonl"
        with locked(path):
            known = {row: scored for row, key, scored in whole_lines(path) if keys.get(row) == key}
            if on_rows:
                on_rows(len(known))
            todo = [query for query in queries if query.query_id not in known]
            draw = partial(pool.sample, name, k=n, seed=seed, temperature=temperature)
            for part, answers in drawn(
                draw, todo, batch_size=batch_size, flush_queries=flush_queries
            ):
                fresh = _scored(scorer, part, answers)
                append_lines(path, [(row, keys[row], scored) for row, scored in fresh.items()])
                known.update(fresh)
                if on_rows:
                    on_rows(len(part))
        _choose(best, name, known)
    return {query_id: answer for query_id, answer in best.items() if answer.quality >= threshold}


def _check(
    adapters: Sequence[str], queries: Sequence[Query], threshold: float, flush_queries: int
) -> None:
    """Refuse what may not be answered or cannot be judged."""
    tested = [query.query_id for query in queries if query.split == "test"]
    if tested:
        raise ValueError(
            f"query {tested[0]!r} is of the test split: nothing may be made from it; leave out all "
            f"{len(tested)} of them."
        )
    if not adapters or not 0 <= threshold <= 1 or flush_queries < 1:
        raise ValueError(
            f"adapters={list(adapters)}, threshold={threshold}, flush_queries={flush_queries}: "
            "give an adapter, a threshold in [0, 1] and at least 1 query per write."
        )


def _scored(
    scorer: Scorer, queries: Sequence[Query], answers: Sequence[Sequence[Completion]]
) -> dict[str, list[tuple[str, float]]]:
    """Score every answer of some queries."""
    grid = [(q, a) for q, own in zip(queries, answers, strict=True) for a in own]
    quality = scorer.evaluate_batch([_answer(query, answer) for query, answer in grid])[QUALITY]
    scored: dict[str, list[tuple[str, float]]] = {query.query_id: [] for query in queries}
    for (query, answer), value in zip(grid, quality, strict=True):
        scored[query.query_id].append((answer.text, round(float(value), 6)))
    return scored


def _answer(query: Query, answer: Completion) -> Answer:
    """Make what metrics take of a completion; they see neither who answered nor a reference."""
    return Answer(
        query=query.text,
        response=answer.text,
        form=query.form,
        form_size=query.form_size,
        finished=answer.finished,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=answer.seconds,
        token_log_probs=answer.token_log_probs or None,
        token_entropies=answer.token_entropies or None,
    )


def _choose(
    best: dict[str, BestAnswer], adapter: str, scored: Mapping[str, Sequence[tuple[str, float]]]
) -> None:
    """Let an adapter's answers compete with the best so far; a tie keeps the earlier one."""
    for query_id, answers in scored.items():
        held = best.get(query_id)
        drawn = len(answers) + (held.drawn if held else 0)
        for response, quality in answers:
            if response.strip() and (held is None or quality > held.quality):
                held = BestAnswer(adapter, response, quality, drawn)
        if held:
            best[query_id] = BestAnswer(held.adapter, held.response, held.quality, drawn)
