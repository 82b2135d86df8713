"""Runs: what is run, what a run leaves on disk, and when one on disk can be used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from routing_gym.agents import AGENTS
from routing_gym.agents.agent import Agent, NoOptions
from routing_gym.envs.data import RoutingData
from routing_gym.queries.registry import resolve
from routing_gym.queries.whole_file import write_whole

RUN_VERSION = 2


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
    encoder
        What it observes, see `routing_gym.benchmark.encoded`; empty is what the table holds.
    rewards
        Names of the rewards that it is trained on; empty is all.

    Raises
    ------
    ValueError
        If the label holds anything but letters, digits, ``_``, ``-`` or ``.``.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    encoder: str = ""
    rewards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.rpartition(":")[2])
        if not all(letter.isalnum() or letter in "_-." for letter in self.label):
            raise ValueError(f"label {self.label!r} may hold only letters, digits, '_', '-', '.'.")

    def trains_on(self, reward: str) -> bool:
        """Whether it is trained on the reward of this name."""
        return not self.rewards or reward in self.rewards

    def build(self, *, blocks: tuple[int, ...] = ()) -> Agent:
        """Make the untrained agent.

        Parameters
        ----------
        blocks
            Widths of the observation's parts, for agents whose configuration has such a field.

        Raises
        ------
        ValueError
            If the name is unknown or the options do not fit its class.
        """
        agent_class = resolve(AGENTS, self.name, kind="agent")
        known = {field.name for field in fields(getattr(agent_class, "config_class", NoOptions))}
        told = {"blocks": blocks} if blocks and "blocks" in known else {}
        try:
            agent: Agent = agent_class(**told, **self.options)
        except TypeError as error:
            raise ValueError(
                f"options {dict(self.options)} do not fit agent {self.name!r}: {error}."
            ) from error
        return agent


@dataclass(frozen=True)
class Splits:
    """One table under one reward: what agents train on, are chosen on, and are judged on.

    Parameters
    ----------
    train, validation, test
        The three parts.
    blocks
        Widths of the observations' parts where encoders were joined; empty means one part.
    """

    train: RoutingData
    validation: RoutingData
    test: RoutingData
    blocks: tuple[int, ...] = field(default=(), kw_only=True)


class CurvePoint(NamedTuple):
    """Where a run stood after some outcomes.

    Parameters
    ----------
    outcomes
        Outcomes paid for: generations, one per query and adapter asked; one asked again counts
        again.
    reward
        Mean reward of the greedy policy on the validation split.
    regret
        Sum over what was asked of the best adapter's reward less the chosen one's; None for
        agents with full information, which ask every adapter.
    """

    outcomes: int
    reward: float
    regret: float | None = None


class OperatingPoint(NamedTuple):
    """What a trained policy costs and yields on the test split when cost has this price.

    Parameters
    ----------
    price
        Reward that one unit of cost is held to be worth, at least 0.
    cost
        Mean measured cost of the chosen answers.
    accuracy
        Their mean verified accuracy.
    """

    price: float
    cost: float
    accuracy: float


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
    options
        The agent's options as they were run.
    share
        Share of the train queries that it was given, in (0, 1].
    train_seconds
        Wall time of the training.
    validation_reward, validation_accuracy
        Means on the validation split, for choosing among agents; the reward is the one trained on.
    test_actions
        The decisions on the test split, one adapter index per query; empty for a run that only
        validation judges (a trial of the tuning, a share of the train split).
    outcomes
        Outcomes paid for.
    curve
        Points of the learning curve; empty for agents with full information, which have one run
        per share instead.
    frontier
        Points in the plane of cost and accuracy; empty where the table has no costs.
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
    options: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0
    train_seconds: float = 0.0
    validation_reward: float = 0.0
    validation_accuracy: float = 0.0
    test_actions: tuple[int, ...] = ()
    outcomes: int = 0
    curve: tuple[CurvePoint, ...] = ()
    frontier: tuple[OperatingPoint, ...] = ()
    error: str = ""
    details: str = ""

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.status == "finished"


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


def run_key(
    spec: AgentSpec, *, reward: str, seed: int, settings: Mapping[str, Any], share: float = 1.0
) -> str:
    """Hash everything that a run's outcome depends on; only the reward trained on counts."""
    shared = {name: value for name, value in settings.items() if name != "rewards"}
    weights = settings.get("rewards", {}).get(reward, reward)
    content = [RUN_VERSION, spec.name, dict(spec.options), weights, seed, shared, share]
    content += [spec.encoder] if spec.encoder else []
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_record(path: Path, *, key: str) -> RunRecord | None:
    """Read a run's file; None if it is missing, broken, failed, or of other settings."""
    try:
        content = json.loads(path.read_text("utf-8"))
        content["test_actions"] = tuple(content["test_actions"])
        content["curve"] = tuple(CurvePoint(*point) for point in content["curve"])
        content["frontier"] = tuple(OperatingPoint(*point) for point in content["frontier"])
        record = RunRecord(**content)
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # not JSON, not UTF-8, not a run
        return None
    return record if record.finished and record.key == key else None


def write_record(record: RunRecord, path: Path) -> None:
    """Write a run's file, whole or not at all."""
    write_whole(path, json.dumps(asdict(record)))
