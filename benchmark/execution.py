"""Running jobs: one agent trained and judged; an executor says where."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
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
from routing_gym.envs.executor import Executor, Item, open_executor

CRITERION = "validation_reward"
"""What a tuning maximises: the field of a run's record."""
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


@dataclass(frozen=True)
class Running:
    """The work of a comparison: each worker holds the splits, and trains and judges agents.

    Parameters
    ----------
    splits
        `data_key` -> the table under that reward and encoder.
    """

    splits: Mapping[str, Splits]

    def open(self) -> Callable[[Job], RunRecord]:
        """Take the splits, which came along."""
        return lambda job: run_job(job, self.splits[job.data])


def run_jobs(
    jobs: Sequence[Job],
    splits: Mapping[str, Splits],
    *,
    workers: int = 1,
    executor: Executor | None = None,
    tuning: bool = False,
    overwrite: bool = False,
    on_record: OnRecord | None = None,
) -> list[RunRecord]:
    """Make every run that is not on disk yet; its file is written here as soon as it ends.

    Every run computes on one thread, so that its outcome depends on neither `workers` nor the
    executor.

    Parameters
    ----------
    jobs
        What to run.
    splits
        `data_key` -> the table under that reward and encoder.
    workers
        Local processes, at least 1; 1 runs everything in this one.
    executor
        Where to run instead.
    tuning
        Whether the jobs are trials of a tuning, for an executor that has a tuner of its own.
    overwrite
        Whether finished runs are run again.
    on_record
        Called as runs end, in whatever order they do.

    Returns
    -------
    list[RunRecord]
        One per job, in the jobs' order; failed runs included, also those whose worker died.
    """
    records: dict[int, RunRecord] = {}
    waiting: dict[str, int] = {}

    def take(index: int, record: RunRecord, *, skipped: bool) -> None:
        records[index] = record
        if on_record is not None:
            on_record(record, skipped)

    for index, job in enumerate(jobs):
        known = None if overwrite else read_record(job.path, key=job.key)
        if known is None:
            waiting[f"{job.key} {job.path}"] = index
        else:
            take(index, known, skipped=True)
    items = [Item(key, jobs[index]) for key, index in waiting.items()]
    work, where = Running(dict(splits)), executor or open_executor("local", workers=workers)
    results = where.sweep(work, items, metric=CRITERION) if tuning else where.map(work, items)
    with closing(results):
        for done in results:
            record = done.result
            if record is None:
                error = done.failure.error if done.failure else RuntimeError("nothing came back")
                record = _failed(done.item.content, error)
            write_record(record, done.item.content.path)
            take(waiting[done.item.key], record, skipped=False)
    return [records[index] for index in range(len(jobs))]


def run_job(job: Job, data: Splits) -> RunRecord:
    """Train and judge one agent; an error inside becomes a failed record."""
    try:
        return _run(job, data)
    except Exception as error:
        return _failed(job, error, details=traceback.format_exc())


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
