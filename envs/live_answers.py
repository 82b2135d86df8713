"""Answers that are generated, scored and verified when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from routing_gym.adapters.generation import Completion
from routing_gym.envs.collection import Pool
from routing_gym.envs.collection_files import Cell, rounded
from routing_gym.envs.scoring import answers_of
from routing_gym.queries.dataset import verify
from routing_gym.queries.query import Query, Verdict
from routing_gym.queries.tasks import TASKS
from routing_gym.rewards.metric import Answer, Direction

TRUTHS = ("accuracy", "accuracy_strict")
COSTS = ("prompt_tokens", "completion_tokens", "seconds")
Verifier = Callable[[Query, str], Verdict]


class Evaluator(Protocol):
    """What live scoring needs; see `routing_gym.rewards.evaluator.SelfEvaluator`."""

    @property
    def directions(self) -> Mapping[str, Direction]:
        """Whether higher or lower is better, by metric."""

    def evaluate_batch(self, answers: Sequence[Answer]) -> Mapping[str, np.ndarray]:
        """Score answers: by metric name, float64 (n,) in [0, 1]."""


class LiveAnswers:
    """Lets adapters answer queries, and scores what they say as a collection does.

    Parameters
    ----------
    queries
        N queries.
    adapters
        K names, all known to the pool.
    pool
        Makes the pool that answers when it is first needed.
    evaluator
        Scores the answers without their references.
    verifier
        ``(query, response) -> Verdict``.
    batch_size
        Rows per generated batch.
    token_seconds
        Seconds that a token read or written is taken to last; None takes the measured time.
    cache
        How many answers to remember, the least recently used one forgotten first; 0 remembers none.

    Attributes
    ----------
    score_names : tuple of str
        The evaluator's metrics and the `TRUTHS`.
    """

    def __init__(
        self,
        queries: Sequence[Query],
        *,
        adapters: Sequence[str],
        pool: Callable[[], Pool],
        evaluator: Evaluator,
        verifier: Verifier,
        batch_size: int = 64,
        token_seconds: float | None = None,
        cache: int = 0,
    ) -> None:
        self.score_names = (*evaluator.directions, *TRUTHS)
        self._queries, self._adapters = queries, adapters
        self._pool, self._evaluator, self._verifier = pool, evaluator, verifier
        self._batch_size, self._token_seconds = batch_size, token_seconds
        self._capacity = cache
        self._known: OrderedDict[int, tuple[str, np.ndarray]] = OrderedDict()

    def outcomes(
        self, rows: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Answer queries; equal pairs of query and adapter are asked once.

        Parameters
        ----------
        rows, actions
            int64 (L,), query numbers and adapter numbers.

        Returns
        -------
        tuple
            Responses, str objects (L,); scores and `COSTS` by name, float64 (L,) each.

        Raises
        ------
        RuntimeError
            If the pool fails to generate.
        ValueError
            If the pool gives too few or impossible answers, or the evaluator impossible scores.
        """
        pairs, lane_of = np.unique(rows * len(self._adapters) + actions, return_inverse=True)
        found = {pair: self._known[pair] for pair in pairs.tolist() if pair in self._known}
        fresh = self._answer([pair for pair in pairs.tolist() if pair not in found])
        self._remember(found | fresh)
        cells = [fresh.get(pair) or found[pair] for pair in pairs.tolist()]
        responses = np.array([response for response, _ in cells], dtype=object)[lane_of]
        columns = np.stack([values for _, values in cells], axis=1)[:, lane_of]  # (C, L)
        count = len(self.score_names)
        return (
            responses,
            dict(zip(self.score_names, columns[:count], strict=True)),
            dict(zip(COSTS, columns[count:], strict=True)),
        )

    def _answer(self, pairs: Sequence[int]) -> dict[int, tuple[str, np.ndarray]]:
        """Generate, score and verify cells: response and values (C,) of each."""
        if not pairs:
            return {}
        asked: dict[int, list[int]] = {}  # adapter -> query numbers
        for pair in pairs:
            row, action = divmod(pair, len(self._adapters))
            asked.setdefault(action, []).append(row)
        keys: list[int] = []
        queries: list[Query] = []
        cells: list[Cell] = []
        answers: list[Answer] = []
        for action in self._order(list(asked)):
            part = [self._queries[row] for row in asked[action]]
            written = self._generate(self._adapters[action], part)
            keys += [row * len(self._adapters) + action for row in asked[action]]
            queries += part
            cells += written
            answers += self._read(self._adapters[action], part, written)
        columns = [*self._scores(answers), *self._verdicts(queries, cells)]
        columns += [np.array([getattr(c, name) for c in cells], dtype=np.float64) for name in COSTS]
        values = np.stack(columns, axis=1)  # (n, C)
        return {
            key: (cell.response, row) for key, cell, row in zip(keys, cells, values, strict=True)
        }

    def _order(self, actions: list[int]) -> list[int]:
        """Let the adapter that is active already answer first, which saves a switch."""
        active = getattr(self._pool(), "active", None)
        return sorted(actions, key=lambda action: (self._adapters[action] != active, action))

    def _generate(self, name: str, queries: Sequence[Query]) -> list[Cell]:
        """Let one adapter answer queries in one call."""
        try:
            written = self._pool().generate(
                name,
                [query.text for query in queries],
                forms=[query.form for query in queries],
                batch_size=self._batch_size,
            )
        except Exception as error:
            raise RuntimeError(
                f"adapter {name!r} failed to answer {len(queries)} queries, the first of them "
                f"{queries[0].query_id!r} ({type(error).__name__}: {error}): the queries still "
                "wait, so that the step can be taken again."
            ) from error
        if len(written) != len(queries):
            raise ValueError(
                f"adapter {name!r} gave {len(written)} answers to {len(queries)} queries: the "
                "pool's generate must return one per query, in their order."
            )
        return [self._cell(q, a) for q, a in zip(queries, written, strict=True)]

    def _cell(self, query: Query, answer: Completion) -> Cell:
        """Record an answer as a collection would, rounded like its files."""
        seconds = answer.seconds
        if self._token_seconds is not None:
            seconds = self._token_seconds * (answer.prompt_tokens + answer.completion_tokens)
        return Cell(
            key="",
            query_id=query.query_id,
            response=answer.text,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            seconds=round(seconds, 5),
            finished=answer.finished,
            token_log_probs=rounded(answer.token_log_probs) or None,
            token_entropies=rounded(answer.token_entropies) or None,
        )

    def _read(self, name: str, queries: Sequence[Query], cells: Sequence[Cell]) -> list[Answer]:
        """Make what metrics take of one adapter's cells."""
        try:
            return answers_of(queries, {name: {cell.query_id: cell for cell in cells}})
        except ValueError as error:
            raise ValueError(f"adapter {name!r} gave an impossible answer: {error}") from error

    def _scores(self, answers: Sequence[Answer]) -> list[np.ndarray]:
        """Score answers, one array (n,) per metric."""
        scores = self._evaluator.evaluate_batch(answers)
        columns = []
        for name in self._evaluator.directions:
            if name not in scores or np.shape(scores[name]) != (len(answers),):
                raise ValueError(
                    f"the evaluator gave no scores ({len(answers)},) of metric {name!r}, which "
                    "its directions name."
                )
            columns.append(np.asarray(scores[name], dtype=np.float64))
        return columns

    def _verdicts(self, queries: Sequence[Query], cells: Sequence[Cell]) -> list[np.ndarray]:
        """Verify answers: accuracy and strict accuracy, float64 (n,)."""
        pairs = zip(queries, cells, strict=True)
        with ThreadPoolExecutor() as workers:  # code is run in processes of its own
            verdicts = list(workers.map(lambda p: self._verifier(p[0], p[1].response), pairs))
        return [np.array([getattr(v, name) for v in verdicts]) for name in ("accuracy", "strict")]

    def _remember(self, cells: Mapping[int, tuple[str, np.ndarray]]) -> None:
        """Keep cells as the most recently used ones, as many as fit."""
        if not self._capacity:
            return
        for pair, cell in cells.items():
            self._known[pair] = cell
            self._known.move_to_end(pair)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)


def verify_known(query: Query, response: str) -> Verdict:
    """Verify a response by its query's task; NaN where the query has no verifier."""
    if not query.reference or query.task not in TASKS:
        return Verdict(accuracy=float("nan"), strict=float("nan"))
    return verify(query, response)
