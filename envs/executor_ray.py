"""Ray: items through Ray Data on a cluster of any size, trials of a tuning through Ray Tune."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Generic

import numpy as np

from routing_gym.envs.executor import (
    TRIES,
    ContentT,
    Done,
    Failure,
    Item,
    ResultT,
    Work,
    Worker,
    WorkerDied,
    limit_threads,
)

KEY, CONTENT, OUTCOME = "key", "content", "outcome"


class RayExecutor:
    """Items in actors of a Ray cluster, which are started for each map and again where they die.

    Parameters
    ----------
    workers
        Actors; 0 is as many as the cluster has CPUs for.
    threads
        CPUs of each, and the threads that it computes on; 0 takes one CPU and leaves the threads
        to the libraries.
    address
        See `routing_gym.envs.executor.open_executor`.
    gpus
        GPUs of each.

    Raises
    ------
    ModuleNotFoundError
        If Ray is not installed.
    """

    def __init__(
        self, *, workers: int = 0, threads: int = 1, address: str = "", gpus: float = 0
    ) -> None:
        if find_spec("ray") is None:
            raise ModuleNotFoundError("--executor ray needs Ray: pip install 'routing-gym[ray]'.")
        self._wanted, self.threads, self.address, self.gpus = workers, threads, address, gpus
        self._started = False

    @property
    def workers(self) -> int:
        """How many actors there are at once."""
        if self._wanted:
            return self._wanted
        return max(int(self.connect().cluster_resources().get("CPU", 1) // self.cpus), 1)

    @property
    def cpus(self) -> int:
        """CPUs of each actor."""
        return max(self.threads, 1)

    def connect(self) -> Any:
        """Return the module `ray`, connected; a cluster that is connected to already is used."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if not ray.is_initialized():
            here = {"address": "local", "include_dashboard": False}
            if self._wanted:
                here["num_cpus"] = self._wanted * self.cpus
            ray.init(
                **({"address": self.address} if self.address else here),
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
            self._started = True
        return ray

    def map(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]]
    ) -> Generator[Done[ContentT, ResultT]]:
        """See `routing_gym.envs.executor.Executor.map`.

        Ray itself tries an item again where its actor was started again. What is lost even so, with
        its actor's machine perhaps, is done at the end by new actors.
        """
        if not items:
            return
        # Held here: actors that are started again need it too.
        kept: Kept[ContentT, ResultT] = Kept(self.connect().put(work))
        left = {item.key: item for item in items}
        with _quiet_data() as data:
            for retries in (TRIES - 1, 0):
                for row in self._dataset(data, kept, left, retries=retries).iter_rows():
                    item = left.pop(str(row[KEY]), None)
                    if item is not None:
                        yield Done(item, *pickle.loads(row[OUTCOME]))
                if not left:
                    return
            for item in left.values():
                yield Done(item, failure=Failure(WorkerDied()))

    def _dataset(
        self, data: Any, work: Work[Any, Any], items: Mapping[str, Item[Any]], *, retries: int
    ) -> Any:
        """Describe a map over items; those that Ray gives up are missing in its rows."""
        return data.from_items(
            [{KEY: key, CONTENT: pickle.dumps(item.content)} for key, item in items.items()],
            override_num_blocks=len(items),  # an item is a task of its own, sent back at once
        ).map_batches(
            DataActor,
            fn_constructor_args=(work, self.threads),
            batch_size=1,
            compute=data.ActorPoolStrategy(  # one item at an actor, so that it alone can die
                size=min(self.workers, len(items)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
            max_restarts=-1,
            max_task_retries=retries,
        )

    def sweep(
        self, work: Work[ContentT, ResultT], items: Sequence[Item[ContentT]], *, metric: str
    ) -> Generator[Done[ContentT, ResultT]]:
        """See `routing_gym.envs.executor.Executor.sweep`."""
        from routing_gym.envs.executor_tune import Sweep

        if not items:
            return
        kept: Kept[ContentT, ResultT] = Kept(self.connect().put(work))
        with _quiet_log("ray.tune"):
            yield from Sweep(kept, items, metric=metric).run(
                workers=self.workers, cpus=self.cpus, gpus=self.gpus, threads=self.threads
            )

    def close(self) -> None:
        """Shut Ray down, if it was started or connected to here."""
        if self._started:
            self.connect().shutdown()
            self._started = False


class Kept(Generic[ContentT, ResultT]):
    """A work that lies in Ray's store until it is opened.

    Parameters
    ----------
    reference
        From `ray.put`.
    """

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def open(self) -> Callable[[ContentT], ResultT]:
        """Fetch and open it."""
        import ray

        work: Work[ContentT, ResultT] = ray.get(self._reference)
        return work.open()


class DataActor:
    """What an actor of Ray Data runs: a worker of which items and outcomes are columns.

    Parameters
    ----------
    work
        What to do.
    threads
        See `RayExecutor`.
    """

    def __init__(self, work: Work[Any, Any], threads: int) -> None:
        limit_threads(threads)
        self._worker = Worker(work)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Do the items of a batch."""
        outcomes = [self._worker.packed(content) for content in batch[CONTENT]]
        return {KEY: batch[KEY], OUTCOME: np.array(outcomes, dtype=object)}


@contextmanager
def _quiet_data() -> Iterator[Any]:
    """Set Ray Data up to go on after lost items."""
    from ray import data

    context = data.DataContext.get_current()
    before = context.max_errored_blocks, context.enable_progress_bars
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    try:
        with _quiet_log("ray.data"), warnings.catch_warnings():
            # The number of tries has no other place yet.
            warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
            yield data
    finally:
        context.max_errored_blocks, context.enable_progress_bars = before


@contextmanager
def _quiet_log(name: str) -> Iterator[None]:
    """Keep a part of Ray from logging what is reported by us: progress, lost items."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
