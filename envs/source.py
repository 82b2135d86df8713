"""From what a user passes to an environment to the priced split that it plays on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from routing_gym.envs.data import RoutingData
from routing_gym.envs.manifest import MANIFEST
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.rewards.reward import RewardFunction


def routing_data(
    table: OutcomeTable | str | os.PathLike[str] | None = None,
    *,
    data: RoutingData | None = None,
    split: str = "train",
    reward: RewardFunction | Mapping[str, float] | None = None,
) -> RoutingData:
    """Load and price a table, unless the priced data are given.

    Parameters
    ----------
    table
        A table or its folder; ``None`` is the table in the repository.
    data
        Priced data, instead of ``table`` and ``reward``.
    split
        Which split of the table.
    reward
        A reward function, its weights by score name, or ``None`` for the default reward.

    Raises
    ------
    ValueError
        If both ``data`` and a table or reward are given, or the table, split or reward is invalid.
    """
    if data is not None:
        if table is not None or reward is not None:
            raise ValueError(
                "data is already priced: pass either data, or table with split and reward."
            )
        return data
    if not isinstance(table, OutcomeTable):
        table = _load(Path(DEFAULT_TABLE if table is None else table))
    return table.data(split, reward)


def _load(folder: Path) -> OutcomeTable:
    """Load a table, or take it from the cache if its manifest is the one read before."""
    manifest = folder / MANIFEST
    changed = manifest.stat().st_mtime_ns if manifest.is_file() else 0
    return _load_once(folder.resolve(), changed)


@lru_cache(maxsize=4)
def _load_once(folder: Path, changed: int) -> OutcomeTable:
    """Load a table once for many environments; it is read-only, so they can share it."""
    return OutcomeTable.load(folder)
