"""The settings of an improvement cycle, and which of them its result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from routing_gym.agents import AGENTS
from routing_gym.queries.registry import resolve

LEVELS = ("domain", "task", "task_complexity")
METHODS = ("sft", "grpo")
FREE = ("store", "output", "threads", "needs_approval")
"""Settings that change where and by whose leave, not what comes out."""


@dataclass(frozen=True)
class CycleSettings:
    """Settings of one improvement cycle.

    Parameters
    ----------
    pool
        Name or file of the pool that version v0000 is.
    table
        Folder of that pool's outcome table.
    store
        Folder of the cycles and versions; a killed cycle goes on from what lies here.
    output
        Folder of the report and of history.json, which says which version is current.
    reward
        Weights of the scores; empty means the default reward.
    agent
        Router that is trained on the old and on the new table: a name of the registry.
    agent_options
        Its settings.
    router_seeds
        Seeds of the routers; old and new are trained with each.
    policy
        Folder of a trained policy that stands for the old router; empty trains one as for the new.
    level
        Regions among which the weakest is looked for: domain, task, or task_complexity.
    task
        Improve this task, in place of the weakest region; with level task_complexity its weakest
        complexity.
    adapter
        Train this adapter, in place of the one that owns the region's domain.
    examples, held_out
        Training examples, each seen once, and further ones for the loss at the end.
    region_share
        Share of the examples that is of the weak region, in (0, 1]; the others are of the adapter's
        other tasks, so that it does not forget them.
    data_seed
        Seed of the made data; each cycle adds its number to it.
    data_options
        Settings of the data, see `routing_gym.queries.synthesis_settings.SynthesisSettings`.
    method
        sft: supervised fine-tuning on the made answers; grpo: reinforcement learning with the
        verifier as its reward.
    training
        Settings of the training, see `routing_gym.adapters.training.AdapterTrainingConfig` or, for
        grpo, `routing_gym.adapters.grpo.GRPOSettings`.
    answer_batch, flush_rows
        Rows per generated batch, and between writes to disk.
    quality
        Folder of the quality model that scores the new answers; empty is the shipped one.
    resamples
        Bootstrap resamples of the comparison, at least 100.
    confidence
        Coverage of its intervals.
    needs_approval
        Whether a promotion waits for a person (--approve NAME) after the gate has passed it.
    threads
        CPU threads; 0 leaves it to torch.

    Raises
    ------
    ValueError
        If a value is not allowed or an agent is unknown.
    """

    pool: str = "default"
    table: Path = Path("results/table")
    store: Path = Path("runs/improve")
    output: Path = Path("results/improvement")
    reward: dict[str, float] = field(default_factory=dict)
    agent: str = "gumbel"
    agent_options: dict[str, Any] = field(default_factory=dict)
    router_seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    policy: str = ""
    level: str = "task"
    task: str = ""
    adapter: str = ""
    examples: int = 2000
    held_out: int = 96
    region_share: float = 0.6
    data_seed: int = 100
    data_options: dict[str, Any] = field(default_factory=dict)
    method: str = "sft"
    training: dict[str, Any] = field(default_factory=dict)
    answer_batch: int = 64
    flush_rows: int = 128
    quality: str = ""
    resamples: int = 2000
    confidence: float = 0.95
    needs_approval: bool = False
    threads: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("level", LEVELS), ("method", METHODS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is unknown: use one of {', '.join(allowed)}."
                )
        least = {"examples": 1, "held_out": 1, "answer_batch": 1, "flush_rows": 1, "resamples": 100}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {bound}.")
        if not 0 < self.region_share <= 1:
            raise ValueError(f"region_share={self.region_share}: give a share in (0, 1].")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence={self.confidence}: give a share in (0, 1), such as 0.95.")
        seeds = self.router_seeds
        if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"router_seeds={seeds}: give at least one, all different and none negative."
            )
        resolve(AGENTS, self.agent, kind="agent")

    def chosen(self, *names: str) -> dict[str, Any]:
        """Return some settings as JSON values, for a stage's key."""
        return {name: _plain(getattr(self, name)) for name in names}

    @property
    def region_level(self) -> str:
        """The level that is looked at: a task that was asked for is smaller than a domain."""
        return "task" if self.task and self.level == "domain" else self.level

    @property
    def binding(self) -> dict[str, Any]:
        """Every setting that the result depends on, as JSON values."""
        names = [part.name for part in fields(CycleSettings) if part.name not in FREE]
        return self.chosen(*names)


def changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Word what differs between two sets of settings: ``name: old -> new``."""
    names = sorted(set(old) | set(new))
    return [f"{n}: {old.get(n)} -> {new.get(n)}" for n in names if old.get(n) != new.get(n)]


def _plain(value: Any) -> Any:
    """Turn a path into text."""
    return str(value) if isinstance(value, Path) else value
