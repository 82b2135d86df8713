"""Answers in parts: what an executor's workers do for a collection, and how it is sealed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.unanswered import UnansweredError, unanswered_sentence
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
from routing_gym.envs.executor import Executor, Failure, Item, Work
from routing_gym.queries.query import Query

IN_A_ROW = 5
"""Parts that fail one after the other until the rest is left alone: then nothing works."""


class Pool(Protocol):
    """What collection needs of a pool; see `routing_gym.adapters.pool.AdapterPool`."""

    spec: Any

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> Sequence[Completion]:
        """Answer queries greedily."""


@dataclass(frozen=True)
class Part:
    """What one adapter is asked between two writes to disk.

    Parameters
    ----------
    adapter
        Who is asked.
    texts, forms
        Of each query.
    """

    adapter: str
    texts: tuple[str, ...]
    forms: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """What came of a part.

    Parameters
    ----------
    answers
        One per query, None where there is none.
    reasons
        Row of an unanswered query -> what happened.
    fatal
        Why asking further queries is of no use; "" if it is.
    """

    answers: tuple[Completion | None, ...]
    reasons: Mapping[int, str] = field(default_factory=dict)
    fatal: str = ""


@dataclass(frozen=True)
class Answering:
    """The work of a collection: each worker opens the pool once, and answers parts.

    Parameters
    ----------
    open_pool
        Loads the pool; it can be pickled where workers are other processes.
    batch_size
        Rows per generated batch.
    """

    open_pool: Callable[[], Pool]
    batch_size: int = 64

    def open(self) -> Callable[[Part], Answered]:
        """Load the pool."""
        pool = self.open_pool()

        def answer(part: Part) -> Answered:
            try:
                answers = pool.generate(
                    part.adapter, part.texts, forms=part.forms, batch_size=self.batch_size
                )
            except UnansweredError as error:
                return Answered(error.answers, error.reasons, error.fatal)
            return Answered(tuple(answers))

        return answer


class PartsFailed(OSError):
    """Some parts of a collection have no answers; what was answered is on disk.

    Parameters
    ----------
    failures
        What happened to each.
    left
        Parts that were not begun any more.
    """

    def __init__(self, failures: Sequence[Failure], *, left: int = 0) -> None:
        self.failures = tuple(failures)
        first = failures[0].error
        rest = f" and {left} more not begun" if left else ""
        super().__init__(
            f"{len(failures)} part(s) of the answers failed{rest}, the first with "
            f"{type(first).__name__}: {first} The others are kept: start again to try what is left."
        )


def answers_path(folder: Path, adapter: str) -> Path:
    """Name the file of an adapter's answers."""
    return folder / f"answers-{adapter}.jsonl"


def collect_parts(
    queries: Sequence[Query],
    keys: Mapping[str, Mapping[str, str]],
    *,
    work: Work[Part, Answered],
    executor: Executor,
    folder: Path,
    flush_rows: int = 128,
    on_rows: Tick | None = None,
) -> dict[str, dict[str, Cell]]:
    """Answer what the adapters' files do not hold yet, and append each part as it arrives.

    Parts are cut from what is missing in one fixed order, so that a collection that was killed
    goes on with the parts that it would have had, and every answer comes from the same batch.

    Parameters
    ----------
    queries
        N queries.
    keys
        Adapter -> query id -> what binds an answer, see `routing_gym.envs.collection.cell_key`.
    work
        Answers a `Part`.
    executor
        Where.
    folder
        Of the answers; each adapter's file is locked.
    flush_rows
        Rows of a part: what a kill can lose of each worker.
    on_rows
        Called with the number of rows that were found or written.

    Returns
    -------
    dict
        Adapter -> query id -> `Cell`, for every adapter and query.

    Raises
    ------
    OSError
        If another process is collecting one of the adapters, or the pool's server failed to answer
        queries; all that it did answer is kept.
    ValueError
        If a file holds a damaged line, or `flush_rows` is below 1.
    PartsFailed
        If parts failed; the others are on disk.
    """
    if flush_rows < 1:
        raise ValueError(f"flush_rows={flush_rows}: give at least 1.")
    with ExitStack() as locks:
        for adapter in keys:
            locks.enter_context(locked(answers_path(folder, adapter)))
        files = [AnswerFile(answers_path(folder, name), name, own) for name, own in keys.items()]
        if on_rows:
            on_rows(sum(len(file.cells) for file in files))
        asked = _parts(queries, files, flush_rows)
        items = [Item(key, _part(file.adapter, part)) for key, (file, part) in asked.items()]
        failures: list[Failure] = []
        row = 0
        with closing(executor.map(work, items)) as results:
            for done in results:
                file, part = asked.pop(done.item.key)
                if done.result is None:
                    failures.append(done.failure or Failure(RuntimeError("nothing came back")))
                    row += 1
                else:
                    fresh, row = file.seal(part, done.result), 0
                    if on_rows:
                        on_rows(fresh)
                if row == IN_A_ROW or file.fatal:
                    break
    if failures:
        raise PartsFailed(failures, left=len(asked)) from failures[0].error
    for file in files:
        file.check_whole(asked=len(queries))
    return {file.adapter: file.cells for file in files}


class AnswerFile:
    """The answers of one adapter on disk, as far as they are those of this pool and these queries.

    Parameters
    ----------
    path
        The file, which need not exist.
    adapter
        Whose answers.
    keys
        Query id -> what binds an answer.

    Raises
    ------
    ValueError
        If the file holds a damaged line.
    """

    def __init__(self, path: Path, adapter: str, keys: Mapping[str, str]) -> None:
        self.path, self.adapter, self.keys = path, adapter, keys
        self.cells = _read_cells(path, keys)
        self.fatal = ""
        self._lost: list[str] = []

    def seal(self, queries: Sequence[Query], found: Answered) -> int:
        """Append what was answered of a part; return how much that is."""
        pairs = zip(queries, found.answers, strict=True)
        fresh = [_cell(self.keys[q.query_id], q, a) for q, a in pairs if a is not None]
        append_lines(self.path, map(asdict, fresh))
        self.cells.update({cell.query_id: cell for cell in fresh})
        self._lost += [f"{queries[row].query_id} ({why})" for row, why in found.reasons.items()]
        self.fatal = self.fatal or found.fatal
        return len(fresh)

    def check_whole(self, *, asked: int) -> None:
        """Refuse to go on without what was lost of so many queries.

        Raises
        ------
        OSError
            If anything was.
        """
        if self._lost:
            lost = unanswered_sentence(self.adapter, self._lost, asked=asked, fatal=self.fatal)
            raise OSError(
                f"{lost}. {len(self.cells)} answers are kept in {self.path}: run this again."
            )


def outcomes_digest(cells: Mapping[str, Mapping[str, Cell]]) -> str:
    """Hash collected answers in their canonical order; measured seconds, which differ, are out.

    Parameters
    ----------
    cells
        Adapter -> query id -> `Cell`.
    """
    return digest(
        [
            [name, {**asdict(own[query_id]), "seconds": None}]
            for name, own in sorted(cells.items())
            for query_id in sorted(own)
        ]
    )


def _parts(
    queries: Sequence[Query], files: Sequence[AnswerFile], flush_rows: int
) -> dict[str, tuple[AnswerFile, list[Query]]]:
    """Cut what is missing into parts: key -> file and queries, an adapter after the other."""
    parts = {}
    for file in files:
        todo = [q for q in queries if q.query_id not in file.cells]
        todo.sort(key=lambda q: (q.form, len(q.text)))
        for start in range(0, len(todo), flush_rows):
            part = todo[start : start + flush_rows]
            key = digest([file.adapter, *([q.query_id, file.keys[q.query_id]] for q in part)])
            parts[key] = file, part
    return parts


def _part(adapter: str, queries: Sequence[Query]) -> Part:
    """Say what workers need to know."""
    return Part(adapter, tuple(q.text for q in queries), tuple(q.form for q in queries))


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


def _read_cells(path: Path, keys: Mapping[str, str]) -> dict[str, Cell]:
    """Read the cells of this pool and these queries."""
    lines = whole_lines(path)
    try:
        cells = [Cell(**line) for line in lines]
    except TypeError as error:
        raise damaged(path, error) from error
    return {cell.query_id: cell for cell in cells if keys.get(cell.query_id) == cell.key}
