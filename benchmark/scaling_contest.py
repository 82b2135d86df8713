"""The contest of executors: the same collection by one worker, by local processes, and on Ray."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

from routing_gym.adapters.pools import open_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.benchmark.collection_contest import sample
from routing_gym.benchmark.speed import median_interval
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.collection import collect_all
from routing_gym.envs.collection_parts import Answering, outcomes_digest
from routing_gym.envs.executor import ContentT, Executor, Item, ResultT, Work, open_executor
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query

ONE, LOCAL, RAY = "one", "local", "ray"
WORKERS = 2
PATIENCE = 600.0
"""Seconds that a worker waits for the others to be ready."""


@dataclass(frozen=True)
class Competitor:
    """A way to collect.

    Parameters
    ----------
    name, label
        Short name and the text of its line.
    executor
        See `routing_gym.envs.executor.EXECUTORS`.
    workers
        Of it, each on one thread.
    items
        Empty items of the measurement of its overhead.
    """

    name: str
    label: str
    executor: str
    workers: int
    items: int

    def open(self) -> Executor:
        """Make its executor."""
        return open_executor(self.executor, workers=self.workers, threads=1)


COMPETITORS = (
    Competitor(ONE, "one worker, in this process", "local", 1, 100_000),
    Competitor(LOCAL, f"{WORKERS} local processes", "local", WORKERS, 10_000),
    Competitor(RAY, f"Ray, {WORKERS} workers", "ray", WORKERS, 300),
)


@dataclass(frozen=True)
class CollectionRun:
    """One collection, or one map over empty items.

    Parameters
    ----------
    competitor, repeat
        Whose, and which.
    items
        Answers, or empty items.
    warm_seconds
        From the moment when every worker has loaded what it needs to the last result on disk.
    total_seconds
        With the start of the executor and the loading.
    digest
        Of the outcomes, see `routing_gym.envs.collection_parts.outcomes_digest`.
    """

    competitor: str
    repeat: int
    items: int
    warm_seconds: float
    total_seconds: float
    digest: str = ""

    @property
    def rate(self) -> float:
        """Items per second without the start."""
        return self.items / self.warm_seconds


@dataclass(frozen=True)
class Together(Generic[ContentT, ResultT]):
    """A work of which all workers begin at the same moment, once all have opened it.

    Parameters
    ----------
    work
        What is done.
    folder
        Where workers of this machine leave the time at which they were ready.
    workers
        How many there are.
    """

    work: Work[ContentT, ResultT]
    folder: Path
    workers: int

    def open(self) -> Callable[[ContentT], ResultT]:
        """Open the work and wait for the others.

        Raises
        ------
        TimeoutError
            If they are not ready within `PATIENCE` seconds.
        """
        do = self.work.open()
        ready = self.folder / f"ready-{os.getpid()}"
        ready.touch()
        now = time.time_ns()  # a file's own time is that of the last tick, some milliseconds ago
        os.utime(ready, ns=(now, now))
        end = time.monotonic() + PATIENCE
        while len(list(self.folder.glob("ready-*"))) < self.workers:
            if time.monotonic() > end:
                raise TimeoutError(f"not all of {self.workers} workers were ready in time.")
            time.sleep(0.005)
        return do

    def ready(self) -> float:
        """Return when the last worker was, in seconds since the epoch."""
        return max(path.stat().st_mtime for path in self.folder.glob("ready-*"))


@dataclass(frozen=True)
class Idle:
    """A work of nothing."""

    def open(self) -> Callable[[int], int]:
        """Open nothing."""
        return abs


def race(
    table: OutcomeTable,
    spec: PoolSpec,
    *,
    count: int,
    repeats: int,
    flush_rows: int,
    seed: int,
    competitors: Sequence[Competitor] = COMPETITORS,
    opening: Callable[[PoolSpec], Any] = open_pool,
    on_run: Callable[[str], Any] | None = None,
) -> list[CollectionRun]:
    """Let every competitor collect the same answers in every repeat, in turns.

    Parameters
    ----------
    table
        Whose train queries are asked, every task as often as the others.
    spec
        The pool; every adapter answers.
    count
        Queries.
    repeats
        Collections of each competitor, everything from the start each time.
    flush_rows
        Rows of a part, which is the unit that is shared out.
    seed
        Of the draw of queries.
    competitors
        Who takes part.
    opening
        Makes the pool answer; it can be pickled.
    on_run
        Called with a competitor's name after each of its runs.
    """
    queries = sample(table, count=count, seed=seed)
    runs = []
    for repeat in range(repeats):
        for competitor in competitors:
            runs.append(
                _collect(
                    competitor, spec, queries, repeat=repeat, flush_rows=flush_rows, opening=opening
                )
            )
            if on_run:
                on_run(competitor.name)
    return runs


def _collect(
    competitor: Competitor,
    spec: PoolSpec,
    queries: Sequence[Query],
    *,
    repeat: int,
    flush_rows: int,
    opening: Callable[[PoolSpec], Any],
) -> CollectionRun:
    """Collect once, into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.time()
        answering = Answering(partial(opening, spec), flush_rows)
        together = Together(answering, folder, competitor.workers)
        with closing(competitor.open()) as executor:
            cells = collect_all(
                spec,
                spec.names,
                queries,
                work=together,
                executor=executor,
                folder=folder / "answers",
                flush_rows=flush_rows,
            )
            ended = time.time()
        return CollectionRun(
            competitor=competitor.name,
            repeat=repeat,
            items=sum(map(len, cells.values())),
            warm_seconds=ended - together.ready(),
            total_seconds=ended - started,
            digest=outcomes_digest(cells),
        )


def idle_runs(
    *, repeats: int, competitors: Sequence[Competitor] = COMPETITORS
) -> list[CollectionRun]:
    """Map every competitor over empty items: what an executor itself takes."""
    runs = []
    for repeat in range(repeats):
        for competitor in competitors:
            items = [Item(str(number), number) for number in range(competitor.items)]
            with tempfile.TemporaryDirectory() as name, closing(competitor.open()) as executor:
                started = time.time()
                work = Together(Idle(), Path(name), competitor.workers)
                count = sum(done.result is not None for done in executor.map(work, items))
                ended = time.time()
                warm, total = ended - work.ready(), ended - started
            runs.append(CollectionRun(competitor.name, repeat, count, warm, total))
    return runs


def runs_of(runs: Sequence[CollectionRun], name: str) -> list[CollectionRun]:
    """Return a competitor's runs, by repeat."""
    return sorted((run for run in runs if run.competitor == name), key=lambda run: run.repeat)


def ratios(
    runs: Sequence[CollectionRun], name: str, *, value: Callable[[CollectionRun], float]
) -> Interval:
    """Compare a competitor's repeats with those of the one worker, the median of the ratios."""
    pairs = zip(runs_of(runs, name), runs_of(runs, ONE), strict=True)
    return median_interval([value(own) / value(one) for own, one in pairs])


def contest_figures(
    runs: Sequence[CollectionRun], idle: Sequence[CollectionRun]
) -> dict[str, float | Interval]:
    """Name what was measured for ``summary.json``.

    Parameters
    ----------
    runs
        From `race`.
    idle
        From `idle_runs`.

    Returns
    -------
    dict
        ``<competitor>_answers_per_second``, ``<competitor>_items_per_second`` (empty ones) and
        ``<competitor>_start_seconds`` of each; ``<competitor>_speedup``, the same with the start
        as ``<competitor>_speedup_with_start``, and ``<competitor>_identical`` (1 if every outcome
        of every repeat is the first repeat's of the one worker, 0 if not) of all but that one.
    """
    figures: dict[str, float | Interval] = {}
    expected = runs_of(runs, ONE)[0].digest
    for name in dict.fromkeys(run.competitor for run in runs):
        own = runs_of(runs, name)
        figures[f"{name}_answers_per_second"] = median_interval([run.rate for run in own])
        starts = [run.total_seconds - run.warm_seconds for run in own]
        figures[f"{name}_start_seconds"] = median_interval(starts)
        empty = [run.rate for run in runs_of(idle, name)]
        if empty:
            figures[f"{name}_items_per_second"] = median_interval(empty)
        if name == ONE:
            continue
        figures[f"{name}_speedup"] = ratios(runs, name, value=lambda run: run.rate)
        figures[f"{name}_speedup_with_start"] = ratios(
            runs, name, value=lambda run: run.items / run.total_seconds
        )
        figures[f"{name}_identical"] = float(all(run.digest == expected for run in own))
    return figures


def labels(competitors: Sequence[Competitor] = COMPETITORS) -> Mapping[str, str]:
    """Return the text of each competitor's line, by name."""
    return {competitor.name: competitor.label for competitor in competitors}
