"""One map over work items, wherever it runs: in this process, in local processes, or on Ray.

Whoever has work cuts it into items with content-hashed keys, and seals each result on disk as it
arrives, in whatever order. So resuming, and that the outcome is the same to the byte, are the
caller's business, and an executor needs to know of neither.

The rule for what goes wrong is the same everywhere. An item that raises is a `Failure` at once: it
would raise again. An item whose worker died is tried again, so often that at least two deaths are
its own, and is then a `Failure` with `WorkerDied`. Neither costs any other item its result. In this
process alone nothing can die but the process.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from routing_gym.queries.registry import resolve

ContentT = TypeVar("ContentT")
ResultT = TypeVar("ResultT")
ContentIn = TypeVar("ContentIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)

EXECUTORS: dict[str, str] = {
    "local": "routing_gym.envs.executor_local:local_executor",
    "ray": "routing_gym.envs.executor_ray:RayExecutor",
}
"""Name on the command line -> what makes the executor."""


@dataclass(frozen=True)
class Item(Generic[ContentT]):
    """One piece of work.

    Parameters
    ----------
    key
        Hash of the content, unique within a map.
    content
        What the work is told; it can be pickled.
    """

    key: str
    content: ContentT


@dataclass(frozen=True)
class Failure:
    """Why an item has no result.

    Parameters
    ----------
    error
        What was raised, or `WorkerDied`.
    details
        The traceback as the worker saw it; empty if the worker died.
    """

    error: Exception
    details: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Make one of the error that is being handled; one that cannot travel becomes its text."""
        details = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error, details)


Outcome = tuple[ResultT | None, Failure | None]
"""A result, or why there is none."""


class WorkerDied(RuntimeError):
    """The process that worked on an item ended, and so did that of the second try."""

    def __init__(
        self, why: str = "the worker died twice over this item: killed, or out of memory"
    ) -> None:
        super().__init__(why)


@dataclass(frozen=True)
class Done(Generic[ContentT, ResultT]):
    """What became of an item.

    Parameters
    ----------
    item
        As it was given.
    result
        What the work returned; None if it failed.
    failure
        None if it did not.
    """

    item: Item[ContentT]
    result: ResultT | None = None
    failure: Failure | None = None


class Work(Protocol[ContentIn, ResultOut]):
    """What workers do; it travels to each of them once, so it can be pickled."""

    def open(self) -> Callable[[ContentIn], ResultOut]:
        """Load what all items need, once in each worker; return what does an item."""


class Executor(Protocol):
    """Where items are worked on."""

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""

    def map(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]]
    ) -> Generator[Done[ContentT, ResultT]]:
        """Do every item, beginning them in order; yield each as it ends.

        Closing the iterator stops what is under way, and what has not begun never begins.
        """

    def sweep(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]], *, metric: str
    ) -> Generator[Done[ContentT, ResultT]]:
        """Do as `map`, where items are trials of a tuning and `metric` names their result's value.

        An executor with a tuner of its own runs them there; the results are the same.
        """

    def close(self) -> None:
        """Give back what the executor holds."""


TRIES = 2
"""How often an item is begun, at least, whose worker dies."""


class Worker(Generic[ContentT, ResultT]):
    """One worker's share of a work, which it opens when its first item arrives.

    An error of opening is so the item's, like any other, and not a worker that cannot start.

    Parameters
    ----------
    work
        What to do.
    """

    def __init__(self, work: Work[ContentT, ResultT]) -> None:
        self._work = work
        self._do: Callable[[ContentT], ResultT] | None = None

    def __call__(self, content: ContentT) -> Outcome[ResultT]:
        """Do one item."""
        try:
            if self._do is None:
                self._do = self._work.open()
            return self._do(content), None
        except Exception as error:
            return None, Failure.of(error)

    def packed(self, content: bytes) -> bytes:
        """Do one pickled item; what cannot be unpickled or pickled is its failure."""
        try:
            return pickle.dumps(self(pickle.loads(content)))
        except Exception as error:
            return pickle.dumps((None, Failure.of(error)))


@dataclass(frozen=True)
class InProcess:
    """Items one after the other in this process.

    Parameters
    ----------
    threads
        Threads that each computes on; 0 leaves it to the libraries.
    """

    threads: int = 0

    @property
    def workers(self) -> int:
        """One."""
        return 1

    def map(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]]
    ) -> Generator[Done[ContentT, ResultT]]:
        """See `Executor.map`."""
        with limited_threads(self.threads):
            worker = Worker(work)
            for item in items:
                yield Done(item, *worker(item.content))

    def sweep(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]], *, metric: str
    ) -> Generator[Done[ContentT, ResultT]]:
        """See `Executor.sweep`."""
        return self.map(work, items)

    def close(self) -> None:
        """Hold nothing."""


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Compute on so many threads within a block; 0 leaves them as they are."""
    if not count:
        yield
        return
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


def limit_threads(count: int) -> None:
    """Let a worker's process compute on so many threads from now on; 0 leaves them as they are."""
    if not count:
        return
    from threadpoolctl import threadpool_limits

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # torch reads them when it is loaded
        os.environ[name] = str(count)
    threadpool_limits(limits=count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def open_executor(
    name: str, *, workers: int = 1, threads: int = 1, ray_address: str = "", gpus: float = 0
) -> Executor:
    """Make an executor.

    Parameters
    ----------
    name
        A key of `EXECUTORS`.
    workers
        Items at once: 0 is one per core (of the whole cluster on Ray); "local" with 1 works in
        this process.
    threads
        Threads that each worker computes on; 0 leaves it to the libraries.
    ray_address
        Of the cluster: "auto" for the one that runs on this machine, "ray://host:10001", or "" to
        start one here and end it with the executor. Only "ray" reads it.
    gpus
        GPUs of each worker, a part of one where several share it. Only "ray" reads it.

    Raises
    ------
    ValueError
        If the name is unknown, or a number is negative.
    ModuleNotFoundError
        If Ray is wanted and not installed.
    """
    if workers < 0 or threads < 0 or gpus < 0:
        raise ValueError(
            f"workers={workers}, threads={threads}, gpus={gpus}: give at least 0 of each."
        )
    make: Any = resolve(EXECUTORS, name, kind="executor")
    if name == "local":
        executor: Executor = make(workers=workers, threads=threads)
    else:
        executor = make(workers=workers, threads=threads, address=ray_address, gpus=gpus)
    return executor
