"""Training runs on the scenarios: one process each, kept on disk, skipped when finished."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.execution import single_thread
from routing_gym.benchmark.provenance import REPOSITORY
from routing_gym.benchmark.scenario_judging import Judging, means
from routing_gym.benchmark.scenario_problems import ScenarioData
from routing_gym.benchmark.scenario_rollout import RolloutResult

RECORD_FILE, OUTCOMES_FILE, POLICY_FOLDER = "record.json", "test.npz", "policy"
TENSORBOARD_FOLDER, ERROR_FILE = "tensorboard", "error.txt"
RUN_VERSION = 1
_SOURCES = (
    "agents/scenario_*.py",
    "agents/*_rules.py",
    "benchmark/scenario_predictions.py",
    "benchmark/scenario_problems.py",
    "benchmark/scenario_rollout.py",
    "envs/scenario*.py",
    "envs/adapter_cache.py",
    "envs/budget.py",
    "envs/cache_options.py",
    "envs/cascade.py",
    "envs/drift*.py",
    "envs/preference*.py",
    "envs/streams.py",
    "envs/topics.py",
)


@dataclass(frozen=True)
class ScenarioJob:
    """One run to be made.

    Parameters
    ----------
    data
        The scenario.
    label
        Of the settings.
    settings
        Of `routing_gym.agents.scenario_settings.ScenarioPPOConfig`.
    seed
        Of the run.
    teacher
        The rule to begin from; None begins from nothing.
    judging
        The episodes.
    folder
        The run's own.
    identity
        What else the outcome depends on, such as the hashes of table and code.
    """

    data: ScenarioData
    label: str
    settings: Mapping[str, Any]
    seed: int
    teacher: ScenarioPolicy | None
    judging: Judging
    folder: Path
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of all that the outcome depends on."""
        teacher = None if self.teacher is None else _described(self.teacher)
        content = [RUN_VERSION, self.data.name, dict(self.data.options), dict(self.settings)]
        content += [self.seed, teacher, vars(self.judging), dict(self.identity)]
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ScenarioRun:
    """A finished run.

    Parameters
    ----------
    scenario, label, seed
        What was run.
    folder
        Where the policy and its curves lie.
    train_seconds
        Wall time of the training.
    validation_return
        Of the policy that was kept.
    test
        What it reached on test.
    pools
        float64 (B, E), what it reached on resampled test splits, see `Judging.play_pools`.
    """

    scenario: str
    label: str
    seed: int
    folder: Path
    train_seconds: float
    validation_return: float
    test: RolloutResult
    pools: np.ndarray


@dataclass(frozen=True)
class FailedRun:
    """A run that raised, or whose process died.

    Parameters
    ----------
    scenario, label, seed
        What was run.
    error
        In one line.
    """

    scenario: str
    label: str
    seed: int
    error: str


OnRun = Callable[[ScenarioRun | FailedRun, bool], None]
"""Called after each run with the run and whether it was skipped."""


def run_scenario_jobs(
    jobs: Sequence[ScenarioJob],
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_run: OnRun | None = None,
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
            take(index, _attempt(job), skipped=False)
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


def _attempt(job: ScenarioJob) -> ScenarioRun | FailedRun:
    """Make a run; an error inside becomes a failed one."""
    try:
        return run_scenario_job(job)
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

    def measure(policy: ScenarioPolicy) -> dict[str, float]:
        return means(job.judging.play(policy, job.data, "validation"))

    _clear(job.folder)
    start = time.perf_counter()
    with single_thread():
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
    _write(run, job)
    return run


def code_hash() -> str:
    """Hash the sources that a run depends on: "has the code changed since?"."""
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(REPOSITORY.glob(pattern)):
            digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\x00")
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_run(job: ScenarioJob) -> ScenarioRun | None:
    """Read a finished run; None if it is missing, broken, or of other settings."""
    try:
        content = json.loads((job.folder / RECORD_FILE).read_text("utf-8"))
        if content["key"] != job.key:
            return None
        with np.load(job.folder / OUTCOMES_FILE) as arrays:
            named = {k: arrays[k] for k in arrays.files}
        pools = named.pop("pools")
        return ScenarioRun(
            scenario=job.data.name,
            label=job.label,
            seed=job.seed,
            folder=job.folder,
            train_seconds=float(content["train_seconds"]),
            validation_return=float(content["validation_return"]),
            test=RolloutResult(
                returns=named.pop("returns"),
                lengths=named.pop("lengths"),
                actions=named.pop("actions"),
                quantities={k.removeprefix("quantity_"): v for k, v in named.items()},
            ),
            pools=pools,
        )
    except (OSError, ValueError, KeyError, TypeError):  # no file, no JSON, no run
        return None


def _clear(folder: Path) -> None:
    """Remove what an earlier or a killed run left, so that no curve is drawn twice."""
    for name in (RECORD_FILE, OUTCOMES_FILE, ERROR_FILE):
        (folder / name).unlink(missing_ok=True)
    if (folder / TENSORBOARD_FOLDER).is_dir():
        shutil.rmtree(folder / TENSORBOARD_FOLDER)


def _write(run: ScenarioRun, job: ScenarioJob) -> None:
    """Write outcomes, then the record that makes the run a finished one."""
    test = run.test
    quantities: dict[str, Any] = {f"quantity_{k}": v for k, v in test.quantities.items()}
    np.savez_compressed(
        run.folder / OUTCOMES_FILE,
        returns=test.returns,
        lengths=test.lengths,
        actions=test.actions,
        pools=run.pools,
        **quantities,
    )
    content = {
        "key": job.key,
        "scenario": run.scenario,
        "label": run.label,
        "seed": run.seed,
        "settings": dict(job.settings),
        "teacher": None if job.teacher is None else _described(job.teacher),
        "train_seconds": run.train_seconds,
        "validation_return": run.validation_return,
        "test": means(test),
    }
    unfinished = run.folder / f"{RECORD_FILE}.part"
    unfinished.write_text(json.dumps(content, indent=1, default=list), "utf-8")
    os.replace(unfinished, run.folder / RECORD_FILE)


def _described(rule: ScenarioPolicy) -> list[Any]:
    """Say which rule it is, with its parameters."""
    simple = (bool, int, float, str)
    return [rule.name, {k: v for k, v in sorted(vars(rule).items()) if isinstance(v, simple)}]


def _is_validation_return(row: Mapping[str, Any]) -> bool:
    """Whether a point of the curves is a return on validation."""
    return bool(row["split"] == "validation" and row["quantity"] == "return")
