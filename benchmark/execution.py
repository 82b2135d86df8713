"""Running jobs: one agent trained and judged, alone or in parallel local processes."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.agents.agent import Agent
from routing_gym.benchmark import metrics
from routing_gym.benchmark.runs import (
    AgentSpec,
    CurvePoint,
    RunRecord,
    Splits,
    read_record,
    write_record,
)
from routing_gym.benchmark.traces import frontier, learning_curve
from routing_gym.envs.data import RoutingData

OnRecord = Callable[[RunRecord, bool], None]
"""Called after each run with the record and whether it was skipped."""


@dataclass(frozen=True)
class Job:
    """One run to be made.

    Parameters
    ----------
    spec
        The agent.
    reward
        Name of the reward trained on.
    seed
        Of the run, and of the queries that a share below 1 keeps.
    key
        See `routing_gym.benchmark.runs.run_key`.
    path
        The run's file.
    share
        Share of the train queries, in (0, 1].
    judged
        Whether the test split is decided on; False for what only validation may see.
    """

    spec: AgentSpec
    reward: str
    seed: int
    key: str
    path: Path
    share: float = 1.0
    judged: bool = True

    @property
    def data(self) -> str:
        """Which splits it runs on, see `data_key`."""
        return data_key(self.reward, self.spec.encoder)


def data_key(reward: str, encoder: str = "") -> str:
    """Name the splits of a reward under an encoder; the table's own embeddings have none."""
    return f"{reward}@{encoder}" if encoder else reward


def run_jobs(
    jobs: Sequence[Job],
    splits: Mapping[str, Splits],
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_record: OnRecord | None = None,
) -> list[RunRecord]:
    """Make every run that is not on disk yet; each writes its file as soon as it ends.

    Every run computes on one thread, so that its outcome does not depend on `workers`.

    Parameters
    ----------
    jobs
        What to run.
    splits
        `data_key` -> the table under that reward and encoder.
    workers
        Processes, at least 1; 1 runs everything in this one.
    overwrite
        Whether finished runs are run again.
    on_record
        Called as runs end, in whatever order they do.

    Returns
    -------
    list[RunRecord]
        One per job, in the jobs' order; failed runs included, also those whose process died.
    """
    records: dict[int, RunRecord] = {}
    waiting: list[tuple[int, Job]] = []

    def take(index: int, record: RunRecord, *, skipped: bool) -> None:
        records[index] = record
        if on_record is not None:
            on_record(record, skipped)

    for index, job in enumerate(jobs):
        known = None if overwrite else read_record(job.path, key=job.key)
        if known is None:
            waiting.append((index, job))
        else:
            take(index, known, skipped=True)
    if workers == 1:
        with single_thread():
            for index, job in waiting:
                take(index, run_job(job, splits[job.data]), skipped=False)
    else:
        for index, record in _in_parallel(waiting, splits, workers):
            take(index, record, skipped=False)
    return [records[index] for index in range(len(jobs))]


def run_job(job: Job, data: Splits) -> RunRecord:
    """Train and judge one agent and write its file; an error inside becomes a failed record."""
    try:
        record = _run(job, data)
    except Exception as error:
        record = _failed(job, error, details=traceback.format_exc())
    write_record(record, job.path)
    return record


@contextmanager
def single_thread() -> Iterator[None]:
    """Compute on one thread within a block: sums are then the same on every machine's load."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def _run(job: Job, data: Splits) -> RunRecord:
    """Train one agent, measure it on validation and, if it may, on test."""
    agent = job.spec.build(blocks=data.blocks)
    train = data.train
    if job.share < 1:
        count = max(round(job.share * len(train)), 2)
        rows = np.random.default_rng(job.seed).permutation(len(train))[:count]
        train = train.take(np.sort(rows))
    start = time.perf_counter()
    agent.train(train, validation=data.validation, seed=job.seed)
    seconds = time.perf_counter() - start
    validation = agent.decide_on(data.validation).actions
    curve = learning_curve(agent)
    return RunRecord(
        agent=job.spec.label,
        trained_on=job.reward,
        seed=job.seed,
        key=job.key,
        status="finished",
        feedback=agent.feedback,
        privileged=agent.privileged,
        options=dict(job.spec.options),
        share=job.share,
        train_seconds=seconds,
        validation_reward=metrics.value(data.validation.rewards, validation),
        validation_accuracy=metrics.value(data.validation.accuracy, validation),
        test_actions=tuple(agent.decide_on(data.test).actions.tolist()) if job.judged else (),
        outcomes=_outcomes(agent, train, curve),
        curve=curve,
        frontier=frontier(agent, data) if job.judged else (),
    )


def _outcomes(agent: Agent, train: RoutingData, curve: Sequence[CurvePoint]) -> int:
    """Count the outcomes paid for."""
    if agent.feedback == "bandit":
        return curve[-1].outcomes if curve else 0
    return train.rewards.size if agent.feedback == "full" else 0


def _failed(job: Job, error: BaseException, *, details: str = "") -> RunRecord:
    """Record a run that raised."""
    return RunRecord(
        agent=job.spec.label,
        trained_on=job.reward,
        seed=job.seed,
        key=job.key,
        status="failed",
        options=dict(job.spec.options),
        share=job.share,
        error=f"{type(error).__name__}: {' '.join(str(error).split())}",
        details=details,
    )


def _in_parallel(
    waiting: Sequence[tuple[int, Job]], splits: Mapping[str, Splits], workers: int
) -> Iterator[tuple[int, RunRecord]]:
    """Run jobs in fresh processes; a process that dies costs its own job alone.

    It takes its pool along. Jobs begin in order, so it was running one of the first that are left:
    each of those is run again alone, the others together.
    """
    left = list(waiting)
    while left:
        lost = []
        for index, job, result in _in_pool(left, splits, workers):
            if isinstance(result, BrokenProcessPool):
                lost.append((index, job))
            else:
                yield index, _kept(job, result)
        lost.sort(key=lambda pair: pair[0])
        suspects, left = lost[:workers], lost[workers:]
        for one in suspects:
            yield from ((i, _kept(job, end)) for i, job, end in _in_pool([one], splits, 1))


def _in_pool(
    waiting: Sequence[tuple[int, Job]], splits: Mapping[str, Splits], workers: int
) -> Iterator[tuple[int, Job, RunRecord | BaseException]]:
    """Run jobs in one pool, whose processes hold the splits; yield them as they end."""
    with ProcessPoolExecutor(
        max_workers=min(workers, len(waiting)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(dict(splits),),
    ) as pool:
        try:
            futures = {pool.submit(_work, job): (index, job) for index, job in waiting}
            for future in as_completed(futures):
                yield *futures[future], future.exception() or future.result()
        except BaseException:  # a stopped comparison does not wait for what has not begun
            pool.shutdown(cancel_futures=True)
            raise


def _kept(job: Job, result: RunRecord | BaseException) -> RunRecord:
    """Return the record; of what ended outside the run, write one."""
    if isinstance(result, BaseException):
        result = _failed(job, result)
        write_record(result, job.path)
    return result


_SPLITS: dict[str, Splits] = {}  # of a worker process, set once by _start


def _start(splits: dict[str, Splits]) -> None:
    """Prepare a worker: one thread, and the splits, sent once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(limits=1)
    _SPLITS.update(splits)


def _work(job: Job) -> RunRecord:
    """Run one job in a worker."""
    return run_job(job, _SPLITS[job.data])
