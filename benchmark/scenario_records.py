"""A training run on a scenario on disk: what it was, what it reached, whether it is finished."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.provenance import REPOSITORY
from routing_gym.benchmark.scenario_judging import Judging, means
from routing_gym.benchmark.scenario_problems import ScenarioData
from routing_gym.benchmark.scenario_rollout import RolloutResult
from routing_gym.queries.whole_file import write_whole

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
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):  # no finished run
        return None


def write_run(run: ScenarioRun, described: Mapping[str, Any]) -> None:
    """Write outcomes, then the record that makes the run a finished one.

    Parameters
    ----------
    run
        What was reached.
    described
        From `describe`.
    """
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
    content = dict(described) | {
        "train_seconds": run.train_seconds,
        "validation_return": run.validation_return,
        "test": means(test),
    }
    write_whole(run.folder / RECORD_FILE, json.dumps(content, indent=1, default=list))


def describe(job: ScenarioJob) -> dict[str, Any]:
    """Say which run it is; to be called before the teacher learns whom it plays for."""
    return {
        "key": job.key,
        "scenario": job.data.name,
        "label": job.label,
        "seed": job.seed,
        "settings": dict(job.settings),
        "teacher": None if job.teacher is None else _described(job.teacher),
    }


def clear_run(folder: Path) -> None:
    """Remove what an earlier or a killed run left, so that no curve is drawn twice."""
    for name in (RECORD_FILE, OUTCOMES_FILE, ERROR_FILE):
        (folder / name).unlink(missing_ok=True)
    if (folder / TENSORBOARD_FOLDER).is_dir():
        shutil.rmtree(folder / TENSORBOARD_FOLDER)


def _described(rule: ScenarioPolicy) -> list[Any]:
    """Say which rule it is, with its parameters."""
    simple = (bool, int, float, str)
    return [rule.name, {k: v for k, v in sorted(vars(rule).items()) if isinstance(v, simple)}]
