"""What a cycle works on: the weakest region, the adapter to train, and what it must not forget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.spec import PoolSpec
from routing_gym.benchmark.gap_records import Gap, GapReport, Region
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import COMPLEXITIES

FOCUS = "focus.json"


@dataclass(frozen=True)
class Focus:
    """What a cycle works on.

    Parameters
    ----------
    domain, task, complexity
        The region; "" and None where they do not define it.
    label
        Its name.
    adapter
        Trained further.
    tasks
        Tasks of the region.
    replay
        The adapter's other tasks, which are trained on too so that they are not forgotten.
    gap, gap_low, gap_high
        The pool's shrunken gap in the region, on train and validation.
    """

    domain: str
    task: str
    complexity: int | None
    label: str
    adapter: str
    tasks: tuple[str, ...]
    replay: tuple[str, ...]
    gap: float
    gap_low: float
    gap_high: float

    def rows(self, table: OutcomeTable) -> np.ndarray:
        """Mark the table's queries that are in the region: bool (N,)."""
        mask = np.isin(table.task.astype(np.str_), self.tasks)
        if self.domain:  # two domains may have a task of the same name
            mask &= table.domain == self.domain
        return mask if self.complexity is None else mask & (table.complexity == self.complexity)

    def targets(self, region_share: float) -> list[tuple[str, int, float]]:
        """Share the made data out: task, complexity and weight; the weights sum to 1."""
        levels = COMPLEXITIES if self.complexity is None else (self.complexity,)
        region = [(task, level) for task in self.tasks for level in levels]
        others = [(task, level) for task in self.replay for level in COMPLEXITIES]
        share = region_share if others else 1.0
        weighted = [(task, level, share / len(region)) for task, level in region]
        return weighted + [(t, level, (1 - share) / len(others)) for t, level in others]

    def save(self, folder: Path) -> None:
        """Write ``focus.json``."""
        (folder / FOCUS).write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Focus:
        """Read ``focus.json``."""
        content: Mapping[str, Any] = json.loads((folder / FOCUS).read_text("utf-8"))
        lists = {name: tuple(content[name]) for name in ("tasks", "replay")}
        return cls(**{**content, **lists})


def choose_focus(
    report: GapReport,
    table: OutcomeTable,
    pool: PoolSpec,
    *,
    level: str,
    task: str = "",
    adapter: str = "",
) -> Focus:
    """Choose the region whose repair gains most, and the adapter that is to repair it.

    That is the adapter that bears the name of the region's domain, or else the one that is best
    there among those that can be trained.

    Parameters
    ----------
    report
        Gaps of the table's train and validation splits.
    table, pool
        Of the current version; the table's test split is not looked at.
    level
        Level of the region.
    task, adapter
        Chosen by a person; empty lets the report choose.

    Raises
    ------
    ValueError
        If the report read the test split, the task is not in it, or the adapter cannot be trained.
    """
    if report.touches_test:
        raise ValueError(
            "the gaps were found with the test split: find them on train and validation only."
        )
    gap = _gap(report, level=level, task=task)
    region = gap.region
    trained = adapter or _owner(gap, pool)
    if pool.adapters[pool.position(trained)].path is None:
        raise ValueError(f"adapter={trained!r} is the base model: choose one that has weights.")
    tasks = (region.task,) if region.task else _tasks(table, region.domain)
    replay = tuple(t for t in _own_tasks(table, trained) if t not in tasks)
    return Focus(
        domain=region.domain,
        task=region.task,
        complexity=region.complexity,
        label=region.label,
        adapter=trained,
        tasks=tasks,
        replay=replay,
        gap=gap.shrunken.value,
        gap_low=gap.shrunken.low,
        gap_high=gap.shrunken.high,
    )


def _gap(report: GapReport, *, level: str, task: str) -> Gap:
    """Find the gap of a task, or the weakest one."""
    if not task:
        return report.weakest("pool", level)
    found = [gap for gap in report.of_kind("pool", level=level) if gap.region.task == task]
    if not found:
        known = sorted({gap.region.task for gap in report.of_kind("pool", level=level)})
        raise ValueError(f"task={task!r} has no region of level {level!r}: known are {known}.")
    return found[0]


def _owner(gap: Gap, pool: PoolSpec) -> str:
    """Name the adapter that is to be trained for a region."""
    able = [adapter.name for adapter in pool.adapters if adapter.path is not None]
    region: Region = gap.region
    if region.domain in able:
        return region.domain
    return max(able, key=lambda name: gap.arms[name].value if name in gap.arms else -1.0)


def _tasks(table: OutcomeTable, domain: str) -> tuple[str, ...]:
    """Name a domain's tasks in the table, in order of appearance."""
    return tuple(dict.fromkeys(str(t) for t in table.task[table.domain == domain]))


def _own_tasks(table: OutcomeTable, adapter: str) -> Sequence[str]:
    """Name an adapter's tasks: those of its domain, or else those at which it is the best."""
    if own := _tasks(table, adapter):
        return own
    seen = table.split != "test"
    arm = table.adapters.index(adapter)
    means = {
        str(task): table.scores["accuracy"][seen & (table.task == task)].mean(axis=0)
        for task in dict.fromkeys(table.task[seen])
    }
    return [task for task, arms in means.items() if arms[arm] > 0 and arms.argmax() == arm]
