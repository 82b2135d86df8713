"""The protocol: every agent x training reward x seed, trained once, judged on the test split once.

Each run is a file named after its settings. A finished run is skipped when its settings (agent,
options, reward weights, seed, table, version) are the same; a failed run is recorded as failed
and tried again at the next start.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from routing_gym.agents import AGENTS
from routing_gym.agents.agent import Agent
from routing_gym.benchmark import metrics
from routing_gym.benchmark.evaluation import EvaluationRow, Yardstick, measure
from routing_gym.envs.data import RoutingData
from routing_gym.queries.registry import resolve

PROTOCOL_VERSION = 1
FEEDBACKS = ("full", "bandit", "none")


@dataclass(frozen=True)
class AgentSpec:
    """An agent of the comparison.

    Parameters
    ----------
    name
        A key of `routing_gym.agents.AGENTS`, or ``"package.module:Class"`` of outside code.
    options
        Keyword arguments of its class.
    label
        Its name in the report; empty means `name`. Labels tell two settings of one agent apart.

    Raises
    ------
    ValueError
        If the label holds anything but letters, digits, ``_``, ``-`` or ``.``.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.rpartition(":")[2])
        if not all(letter.isalnum() or letter in "_-." for letter in self.label):
            raise ValueError(f"label {self.label!r} may hold only letters, digits, '_', '-', '.'.")

    def build(self) -> Agent:
        """Make the untrained agent.

        Raises
        ------
        ValueError
            If the name is unknown or the options do not fit its class.
        """
        agent_class = resolve(AGENTS, self.name, kind="agent")
        try:
            agent: Agent = agent_class(**self.options)
        except TypeError as error:
            raise ValueError(
                f"options {dict(self.options)} do not fit agent {self.name!r}: {error}."
            ) from error
        return agent


@dataclass(frozen=True)
class Splits:
    """One table under one reward: what agents train on, are chosen on, and are judged on."""

    train: RoutingData
    validation: RoutingData
    test: RoutingData


@dataclass(frozen=True)
class RunRecord:
    """One run: an agent trained on one reward with one seed.

    Parameters
    ----------
    agent, trained_on, seed
        What was run; `agent` is the spec's label.
    key
        Hash of all settings; a record with another key is not reused.
    status
        ``"finished"`` or ``"failed"``.
    feedback, privileged
        From the agent; empty and False for a failed run.
    train_seconds
        Wall time of the training.
    validation_reward, validation_accuracy
        Means on the validation split, for choosing among agents; the reward is the one trained on.
    test_actions
        The decisions on the test split, one adapter index per query.
    error
        One line for a failed run, else empty.
    details
        The traceback of a failed run.
    """

    agent: str
    trained_on: str
    seed: int
    key: str
    status: str
    feedback: str = ""
    privileged: bool = False
    train_seconds: float = 0.0
    validation_reward: float = 0.0
    validation_accuracy: float = 0.0
    test_actions: tuple[int, ...] = ()
    error: str = ""
    details: str = ""

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.status == "finished"


def evaluate(
    agent: Agent,
    test: RoutingData,
    *,
    train: RoutingData,
    seed: int = 0,
    resamples: int = 2000,
    name: str = "",
    trained_on: str = "reward",
) -> EvaluationRow:
    """Judge one trained agent on one split.

    Parameters
    ----------
    agent
        A trained agent.
    test
        The split to judge on.
    train
        The split on which the best single adapter is chosen.
    seed
        Seed of the bootstrap.
    resamples
        Bootstrap resamples.
    name
        Name in the report; empty means the agent's own.
    trained_on
        Name of the reward, copied into the row.
    """
    yardstick = Yardstick.from_splits(test, train=train)
    return measure(
        agent.decide_on(test).actions,
        yardstick,
        bootstrap=yardstick.bootstrap(resamples=resamples, seed=seed),
        stratified=yardstick.bootstrap(resamples=resamples, seed=seed, by_task=True),
        agent=name or agent.name,
        feedback=agent.feedback,
        privileged=agent.privileged,
        trained_on=trained_on,
    )


def run_comparison(
    specs: Sequence[AgentSpec],
    splits: Mapping[str, Splits],
    *,
    seeds: Sequence[int],
    folder: Path,
    settings: Mapping[str, Any],
    overwrite: bool = False,
    on_record: Callable[[RunRecord, bool], None] | None = None,
) -> list[RunRecord]:
    """Run every agent x training reward x seed that is not yet finished.

    Parameters
    ----------
    specs
        The agents; labels are unique.
    splits
        Training reward's name -> the table under that reward.
    seeds
        Training seeds.
    folder
        Where the runs' files lie.
    settings
        What else identifies a run: the table's hash and, under ``"rewards"``, the weights of each
        reward. JSON values only.
    overwrite
        Whether finished runs are run again.
    on_record
        Called after each run with the record and whether it was skipped.

    Returns
    -------
    list[RunRecord]
        One record per run, in the order agent, reward, seed; failed runs included.

    Raises
    ------
    ValueError
        Before anything runs: if a label occurs twice, an agent is unknown, or its options do not
        fit.
    """
    check_specs(specs)
    if not seeds or not splits:
        raise ValueError(f"seeds={list(seeds)} and rewards={list(splits)}: give at least one each.")
    records = []
    for spec in specs:
        for reward, data in splits.items():
            for seed in seeds:
                key = run_key(spec, reward=reward, seed=seed, settings=settings)
                path = folder / f"{spec.label}-{reward}-{seed}.json"
                record = None if overwrite else read_record(path, key=key)
                skipped = record is not None
                if record is None:
                    record = run_one(spec, data, reward=reward, seed=seed, key=key)
                    write_record(record, path)
                records.append(record)
                if on_record is not None:
                    on_record(record, skipped)
    return records


def run_one(spec: AgentSpec, data: Splits, *, reward: str, seed: int, key: str) -> RunRecord:
    """Train and judge one agent; an error inside becomes a failed record, not an exception."""
    try:
        agent = spec.build()
        start = time.perf_counter()
        agent.train(data.train, validation=data.validation, seed=seed)
        seconds = time.perf_counter() - start
        validation = agent.decide_on(data.validation).actions
        return RunRecord(
            agent=spec.label,
            trained_on=reward,
            seed=seed,
            key=key,
            status="finished",
            feedback=agent.feedback,
            privileged=agent.privileged,
            train_seconds=seconds,
            validation_reward=metrics.value(data.validation.rewards, validation),
            validation_accuracy=metrics.value(data.validation.accuracy, validation),
            test_actions=tuple(agent.decide_on(data.test).actions.tolist()),
        )
    except Exception as error:
        return RunRecord(
            agent=spec.label,
            trained_on=reward,
            seed=seed,
            key=key,
            status="failed",
            error=f"{type(error).__name__}: {' '.join(str(error).split())}",
            details=traceback.format_exc(),
        )


def check_specs(specs: Sequence[AgentSpec]) -> None:
    """Refuse an empty list, a label that occurs twice, and agents that cannot be built."""
    labels = [spec.label for spec in specs]
    if not labels:
        raise ValueError("agents is empty: name at least one agent.")
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"agent label {label!r} occurs twice: give each its own label.")
    for spec in specs:
        spec.build()


def run_key(spec: AgentSpec, *, reward: str, seed: int, settings: Mapping[str, Any]) -> str:
    """Hash everything that a run's outcome depends on; only the reward trained on counts."""
    shared = {name: value for name, value in settings.items() if name != "rewards"}
    weights = settings.get("rewards", {}).get(reward, reward)
    content = [PROTOCOL_VERSION, spec.name, dict(spec.options), weights, seed, shared]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_record(path: Path, *, key: str) -> RunRecord | None:
    """Read a run's file; None if it is missing, broken, failed, or of other settings."""
    try:
        content = json.loads(path.read_text("utf-8"))
        record = RunRecord(**{**content, "test_actions": tuple(content["test_actions"])})
    except (FileNotFoundError, json.JSONDecodeError, TypeError, KeyError):
        return None
    return record if record.finished and record.key == key else None


def write_record(record: RunRecord, path: Path) -> None:
    """Write a run's file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(record)), "utf-8")
    os.replace(unfinished, path)
