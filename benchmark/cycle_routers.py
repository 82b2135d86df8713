"""The routers of a cycle: the same agent, settings and seeds on the old and on the new table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.benchmark.cycle_gate import Side
from routing_gym.benchmark.gap_routers import check_agent
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD

POLICY, CHOICES = "policy", "choices.json"


def train_router(
    table: OutcomeTable,
    folder: Path,
    *,
    agent: str,
    options: Mapping[str, Any],
    reward: Mapping[str, float],
    seed: int,
) -> None:
    """Train one router on a table and keep its policy and its choices on the test split.

    Parameters
    ----------
    table
        Its train and validation splits are learned from.
    folder
        Takes ``policy`` and ``choices.json``.
    agent, options
        See `routing_gym.agents.make_agent`.
    reward
        Weights; empty means the default reward.
    seed
        Of the training.
    """
    from routing_gym.agents import make_agent

    weights = dict(reward) or dict(DEFAULT_REWARD.weights)
    train, validation = (table.data(split, weights) for split in ("train", "validation"))
    router = make_agent(agent, **options)
    router.train(train, validation=validation, seed=seed)
    manifest = table.manifest
    metadata = {
        "table": table.fingerprint,
        "pool_fingerprint": manifest.pool_fingerprint,
        "base_model": manifest.base_model,
        "encoder": manifest.encoder,
        "reward": weights,
    }
    router.save(folder / POLICY, metadata=metadata)
    _keep_choices(router, table, folder, weights)


def use_policy(
    policy: Path, table: OutcomeTable, folder: Path, *, reward: Mapping[str, float]
) -> None:
    """Keep the choices of a trained policy on the test split, in place of training one.

    Raises
    ------
    ValueError
        If the policy is of another pool or encoder than the table.
    """
    from routing_gym.agents import load_agent

    agent = load_agent(policy)
    check_agent(agent, table)
    _keep_choices(agent, table, folder, dict(reward) or dict(DEFAULT_REWARD.weights))


def read_side(table: OutcomeTable, folders: Sequence[Path], *, reward: Mapping[str, float]) -> Side:
    """Put a table's test split and its routers' choices together.

    Parameters
    ----------
    table
        The pool's table.
    folders
        Of its routers, one per seed.
    reward
        Weights; empty means the default reward.
    """
    test = table.data("test", reward or None)
    choices = [json.loads((folder / CHOICES).read_text("utf-8"))["choices"] for folder in folders]
    return Side(test.accuracy, test.rewards, np.array(choices, dtype=np.int64))


def _keep_choices(
    router: Any, table: OutcomeTable, folder: Path, weights: Mapping[str, float]
) -> None:
    """Write a router's most probable adapter for each test query."""
    test = table.data("test", weights)
    content = {
        "adapters": list(table.adapters),
        "queries": test.query_ids.tolist(),
        "choices": router.decide_on(test).actions.tolist(),
    }
    (folder / CHOICES).write_text(json.dumps(content) + "\n", "utf-8")
