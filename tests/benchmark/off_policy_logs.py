"""Decision logs drawn from full-information splits, whose truth is therefore known."""

from __future__ import annotations

import numpy as np

from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.envs.data import RoutingData

TIME = "2025-01-31T12:00:00+00:00"


def logged(
    data: RoutingData,
    policy: np.ndarray | None = None,
    *,
    decisions: int = 1000,
    seed: int = 0,
    pool: str = "identity-4",
) -> DecisionLog:
    """Draw rows uniformly and adapters from `policy` (N, K); None is the uniform policy."""
    n, k = data.rewards.shape
    rng = np.random.default_rng(seed)
    propensities = np.full((n, k), 1 / k) if policy is None else policy
    rows = rng.integers(n, size=decisions)
    level = rng.random(decisions)[:, None]
    actions = (propensities.cumsum(axis=1)[rows, :-1] <= level).sum(axis=1)
    return DecisionLog(
        adapters=data.adapters,
        pool_fingerprint=pool,
        decision_ids=np.array([f"d{i}" for i in range(decisions)]),
        times=np.full(decisions, TIME),
        policy_versions=np.full(decisions, "v1"),
        actions=actions,
        propensities=propensities[rows, actions],
        rewards=data.rewards[rows, actions].astype(np.float64),
        fallbacks=np.zeros(decisions, dtype=np.bool_),
        all_propensities=propensities[rows],
        observations=data.observations[rows],
        query_ids=data.query_ids[rows],
    )
