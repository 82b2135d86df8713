"""Splits for the agents' tests: the identity problem, and rows written out by hand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table

_PPO = {"total_steps": 5120, "num_envs": 256, "batch_size": 64, "learning_rate": 3e-3}
# enough to learn the identity problem within about a second
FAST: dict[str, dict[str, Any]] = {
    "ppo": _PPO,
    "maskable_ppo": _PPO,
    "preference_ppo": _PPO,
    "gumbel": {"epochs": 8, "hidden_dim": 32, "batch_size": 64, "learning_rate": 3e-3},
    "softmax": {"epochs": 8, "hidden_dim": 32, "batch_size": 64, "learning_rate": 3e-3},
    "reinforce": {"budget": 1.0, "learning_rate": 1e-2},
    "exp4": {"experts": ("linucb", "squarecb")},
    "stacking": {"folds": 2},
    "vw_cover": {"budget": 1.0, "psi": 1.0},
    "regression": {"epochs": 12, "hidden_dim": 32, "batch_size": 64, "learning_rate": 3e-3},
}


@lru_cache
def identity(split: str, *, k: int = 4, seed: int = 0) -> RoutingData:
    return identity_table(n=400, k=k, d=16, seed=seed).data(split)


def by_hand(
    rewards: list[list[float]],
    *,
    observations: list[list[float]] | None = None,
    tasks: list[str] | None = None,
    complexity: list[int] | None = None,
) -> RoutingData:
    values = np.array(rewards, dtype=np.float32)
    n, k = values.shape
    vectors = np.eye(n) if observations is None else np.array(observations)
    names = np.array(["task"] * n if tasks is None else tasks)
    return RoutingData(
        adapters=tuple("abcdefgh"[:k]),
        observations=vectors.astype(np.float32),
        rewards=values,
        accuracy=values,
        query_ids=np.array([f"q{i}" for i in range(n)]),
        tasks=names,
        domains=names,
        complexity=np.array([1] * n if complexity is None else complexity),
        scores={"relevance": values},
    )
