"""Training runs on the scenarios: one process each, kept on disk, skipped when finished."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_judging import means
from routing_gym.benchmark.scenario_records import (
    ERROR_FILE,
    POLICY_FOLDER,
    TENSORBOARD_FOLDER,
    FailedRun,
    ScenarioJob,
    ScenarioRun,
    clear_run,
    describe,
    read_run,
    write_run,
)
from routing_gym.envs.executor import limited_threads

OnRun = Callable[[ScenarioRun | FailedRun, bool], None]
"""Called after each run with the run and whether it was skipped."""


def run_scenario_jobs(
    jobs: Sequence[ScenarioJob],
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_run: OnRun | None = None,
    progress: bool = False,
) -> list[ScenarioRun | FailedRun]:
    """Make every run that is not on disk yet; each is written as soon as it ends.

    A run that fails stops no other one; it leaves its traceback in its folder, and is run again
    the next time.

    Parameters
    ----------
    jobs
        What to run.
    workers
        Processes, at least 1; 1 runs everything in this one. Every run computes on one thread.
    overwrite
        Whether finished runs are run again.
    on_run
        Called as runs end, in whatever order they do.
    progress
        Whether runs in this process show a bar on stderr.

    Returns
    -------
    list
        One per job, in the jobs' order.
    """
    found: dict[int, ScenarioRun | FailedRun] = {}
    waiting: dict[int, ScenarioJob] = {}

    def take(index: int, run: ScenarioRun | FailedRun, *, skipped: bool) -> None:
        found[index] = run
        if on_run is not None:
            on_run(run, skipped)

    for index, job in enumerate(jobs):
        known = None if overwrite else read_run(job)
        if known is None:
            waiting[index] = job
        else:
            take(index, known, skipped=True)
    if workers == 1 or len(waiting) < 2:
        for index, job in waiting.items():
            take(index, _attempt(job, progress=progress), skipped=False)
    else:
        for index, run in _in_parallel(waiting, workers):
            take(index, run, skipped=False)
    return [found[index] for index in range(len(jobs))]


def _in_parallel(
    jobs: Mapping[int, ScenarioJob], workers: int
) -> Iterator[tuple[int, ScenarioRun | FailedRun]]:
    """Make runs in processes of their own, in whatever order they end."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = {pool.submit(_attempt, job): index for index, job in jobs.items()}
        for future in as_completed(futures):
            index = futures[future]
            try:
                yield index, future.result()
            except BrokenProcessPool as error:
                yield index, _failed(jobs[index], error)


def _attempt(job: ScenarioJob, *, progress: bool = False) -> ScenarioRun | FailedRun:
    """Make a run; an error inside becomes a failed one."""
    try:
        return run_scenario_job(job, progress=progress)
    except Exception as error:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / ERROR_FILE).write_text(traceback.format_exc(), "utf-8")
        return _failed(job, error)


def _failed(job: ScenarioJob, error: Exception) -> FailedRun:
    """Say in one line what happened."""
    text = " ".join(str(error).split()) or type(error).__name__
    return FailedRun(job.data.name, job.label, job.seed, text)


def run_scenario_job(job: ScenarioJob, *, progress: bool = False) -> ScenarioRun:
    """Train one policy, judge it on test once, and write its folder."""
    from routing_gym.agents.scenario_ppo import ScenarioPPO  # needs torch
    from routing_gym.envs.scenario_sb3 import ScenarioVecEnv

    agent = ScenarioPPO(**job.settings)
    described = describe(job)

    def measure(policy: ScenarioPolicy) -> dict[str, float]:
        return means(job.judging.play(policy, job.data, "validation"))

    clear_run(job.folder)
    start = time.perf_counter()
    with limited_threads(1):
        agent.train(
            ScenarioVecEnv(job.data.lanes("train", agent.config.num_envs)),
            measure=measure,
            seed=job.seed,
            teacher=job.teacher,
            log_dir=job.folder / TENSORBOARD_FOLDER,
            progress=progress,
        )
        seconds = time.perf_counter() - start
        test = job.judging.play(agent, job.data, "test")
        pools = job.judging.play_pools(agent, job.data)
    reached = [row["value"] for row in agent.curves if _is_validation_return(row)]
    metadata = {"scenario": job.data.name, "seed": job.seed, "options": dict(job.data.options)}
    agent.save(job.folder / POLICY_FOLDER, metadata=metadata)
    run = ScenarioRun(
        scenario=job.data.name,
        label=job.label,
        seed=job.seed,
        folder=job.folder,
        train_seconds=seconds,
        validation_return=max(reached),
        test=test,
        pools=pools,
    )
    write_run(run, described)
    return run


def _is_validation_return(row: Mapping[str, Any]) -> bool:
    """Whether a point of the curves is a return on validation."""
    return bool(row["split"] == "validation" and row["quantity"] == "return")
