"""The commands that are killed, small but real: the embedded model, real training, few queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from routing_gym.adapters.pools import load_pool
from routing_gym.benchmark.kill_trials import (
    REPOSITORY,
    Subject,
    collected_lines,
    collection_faults,
    improvement_faults,
    sealed_stages,
)
from routing_gym.envs.manifest import MANIFEST
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable

TASKS = ("turns", "siblings")
ADAPTERS = ("base", "reasoning")
QUERIES = {"train": 6, "validation": 3, "test": 5}
"""Queries of each task and split."""
TABLE, POLICY, POOL = "table", "policy", "pool.yaml"
IMPROVE, COLLECT = "improve.yaml", "collect_outcomes.yaml"


def make_inputs(folder: Path) -> None:
    """Write what both commands read: a small table, a poor router, and a pool of two arms.

    The poor router always chooses the base model, so that the gate has something to promote.
    """
    from routing_gym.agents import make_agent

    folder.mkdir(parents=True, exist_ok=True)
    table = OutcomeTable.load(DEFAULT_TABLE)
    kept = [
        rows[:count]
        for task in TASKS
        for split, count in QUERIES.items()
        for rows in [np.flatnonzero((table.task == task) & (table.split == split))]
    ]
    small = table.subset(np.sort(np.concatenate(kept)))
    small.save(folder / TABLE, overwrite=True, embedding_dtype="float16")
    train, validation = small.data("train"), small.data("validation")
    best = np.eye(len(small.adapters), dtype=np.float32)[[small.adapters.index("base")]]
    poor = [
        dataclasses.replace(part, rewards=np.repeat(best, len(part), axis=0))
        for part in (train, validation)
    ]
    agent = make_agent("best_single")
    agent.train(poor[0], validation=poor[1], seed=0)
    agent.save(folder / POLICY)
    spec = load_pool("default")
    places = {a.name: a.path and str(a.path) for a in spec.adapters if a.name in ADAPTERS}
    content = {"base_model": spec.base_model, "adapters": places}
    files = {POOL: content, IMPROVE: _improvement(folder), COLLECT: _collection(folder)}
    for name, values in files.items():
        (folder / name).write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")


def subjects(inputs: Path) -> tuple[Subject, Subject]:
    """Make both commands under trial.

    Parameters
    ----------
    inputs
        From `make_inputs`.
    """
    improve = Subject(
        name="improve",
        arguments=lambda folder: _command(
            "improve",
            {
                "config": inputs / IMPROVE,
                "store": folder / "store",
                "output": folder / "report",
                "cycle": 1,
            },
        ),
        ended=lambda folder: False,  # the cycle is named: a finished one is not done again
        look=sealed_stages,
        faults=improvement_faults,
    )
    collect = Subject(
        name="collect_outcomes",
        arguments=lambda folder: _command(
            "collect_outcomes",
            {
                "config": inputs / COLLECT,
                "work": folder / "work",
                "output": folder / "table",
            },
        ),
        ended=lambda folder: (folder / "table" / MANIFEST).is_file(),
        look=collected_lines,
        faults=collection_faults,
    )
    return improve, collect


def _improvement(inputs: Path) -> dict[str, Any]:
    """Return the settings of a small cycle: four updates, one adapter's cells, quick routers."""
    return {
        "table": str(inputs / TABLE),
        "policy": str(inputs / POLICY),
        "reward": {"quality": 1.0},  # the measured seconds differ from run to run
        "agent": "best_single",
        "router_seeds": [0],
        "examples": 12,
        "held_out": 2,
        "data_options": {"batch": 16},
        "training": {"batch_size": 3, "checkpoint_steps": 1, "learning_rate": 1e-4},
        "flush_rows": 8,
        "resamples": 200,
        "threads": 1,
    }


def _collection(inputs: Path) -> dict[str, Any]:
    """Return the settings of a small collection."""
    return {
        "pool": str(inputs / POOL),
        "mix": dict.fromkeys(TASKS, 10),
        "flush_rows": 8,
        "threads": 1,
    }


def _command(script: str, settings: dict[str, Any]) -> Sequence[str]:
    """Write a command line."""
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return [str(REPOSITORY / "scripts" / f"{script}.py"), *options]
