"""Local processes: each is started fresh, opens the work once, and ends with this process."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from routing_gym.envs.executor import (
    TRIES,
    ContentT,
    Done,
    Executor,
    Failure,
    InProcess,
    Item,
    Outcome,
    ResultT,
    Work,
    Worker,
    WorkerDied,
    limit_threads,
)


def local_executor(*, workers: int = 1, threads: int = 1) -> Executor:
    """Make the executor of this machine; see `routing_gym.envs.executor.open_executor`."""
    workers = workers or os.cpu_count() or 1
    return InProcess(threads) if workers == 1 else LocalProcesses(workers, threads)


@dataclass(frozen=True)
class LocalProcesses:
    """Items in processes of this machine, which are started for each map.

    A process that dies takes its pool along, so the items that were under way beside its own are
    done again, each alone; their results are the same.

    Parameters
    ----------
    workers
        Processes, at least 1.
    threads
        Threads that each computes on; 0 leaves it to the libraries.
    """

    workers: int
    threads: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers={self.workers}: give at least 1.")

    def map(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]]
    ) -> Generator[Done[ContentT, ResultT]]:
        """See `routing_gym.envs.executor.Executor.map`.

        Items begin in order, so a dead process was at one of the first that are left: each of
        those is done again alone, the others together.
        """
        left = list(items)
        while left:
            lost = []
            for item, done in self._pooled(work, left, self.workers):
                if done is None:
                    lost.append(item)
                else:
                    yield done
            order = {item.key: place for place, item in enumerate(left)}
            lost.sort(key=lambda item: order[item.key])
            suspects, left = lost[: self.workers], lost[self.workers :]
            for one in suspects:
                yield self._alone(work, one)

    def sweep(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]], *, metric: str
    ) -> Generator[Done[ContentT, ResultT]]:
        """See `routing_gym.envs.executor.Executor.sweep`."""
        return self.map(work, items)

    def close(self) -> None:
        """Hold nothing: the processes end with their map."""

    def _alone(
        self, work: Work[ContentT, ResultT], item: Item[ContentT]
    ) -> Done[ContentT, ResultT]:
        """Do an item that may have been innocent when its process was taken along."""
        for _ in range(TRIES):
            for _, done in self._pooled(work, [item], 1):
                if done is not None:
                    return done
        return Done(item, failure=Failure(WorkerDied()))

    def _pooled(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]], workers: int
    ) -> Iterator[tuple[Item[ContentT], Done[ContentT, ResultT] | None]]:
        """Do items in one pool of processes; None for those that a death has taken along."""
        with ProcessPoolExecutor(
            max_workers=min(workers, len(items)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(work, self.threads),
        ) as pool:
            try:
                futures = {}
                for item in items:
                    try:
                        futures[pool.submit(_do, item.content)] = item
                    except BrokenProcessPool:  # it died before everything was handed over
                        yield item, None
                for future in as_completed(futures):
                    yield futures[future], _result(future, futures[future])
            except BaseException:  # who stops does not wait for what has not begun
                pool.shutdown(cancel_futures=True)
                raise


def _result(future: Any, item: Item[ContentT]) -> Done[ContentT, Any] | None:
    """Read what a process sent back, if it lived to."""
    error = future.exception()
    if error is None:
        return Done(item, *future.result())
    if isinstance(error, BrokenProcessPool):
        return None
    return Done(item, failure=Failure(error, str(error.__cause__ or "")))  # it could not travel


_WORKER: list[Worker[Any, Any]] = []  # of a worker process: the one that _start made


def _start(work: Work[Any, Any], threads: int) -> None:
    """Prepare a process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(threads)
    _WORKER[:] = [Worker(work)]


def _end_with_parent() -> None:
    """End when the parent has: it cannot say so itself if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(content: Any) -> Outcome[Any]:
    """Do one item in a process."""
    return _WORKER[0](content)
