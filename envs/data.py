"""The arrays that agents learn from and benchmarks evaluate on: one split under one reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class RoutingData:
    """Queries of one split, every adapter's scores on them, and the reward that prices them.

    Parameters
    ----------
    adapters
        Adapter names; the position is the action id, length K.
    observations
        float32 (N, D), the query embeddings.
    rewards
        float32 (N, K), the scalar reward of each adapter on each query.
    accuracy
        float32 (N, K), verified correctness in [0, 1]; for evaluation, never an input of a metric.
    scores
        Metric name -> float32 (N, K) in [0, 1]; every score column of the table.
    costs
        What was measured, in its own unit: ``prompt_tokens``, ``completion_tokens`` (tokens) and
        ``seconds`` (seconds per answer) -> float32 (N, K); empty where nothing was measured.
    query_ids, tasks, domains
        str arrays (N,).
    complexity
        int64 (N,), levels 1 to 3 (0 where the table does not say).

    Raises
    ------
    ValueError
        If an array's shape does not fit, or a reward or an accuracy is not finite.
    """

    adapters: tuple[str, ...]
    observations: np.ndarray
    rewards: np.ndarray
    accuracy: np.ndarray
    query_ids: np.ndarray
    tasks: np.ndarray
    domains: np.ndarray
    complexity: np.ndarray
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    costs: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, k = len(self.observations), len(self.adapters)
        if k < 2:
            raise ValueError(
                f"adapters={self.adapters!r} leaves nothing to route: give at least 2."
            )
        if n == 0:
            raise ValueError("observations has no rows: choose a split that holds queries.")
        cells = {"rewards": self.rewards, "accuracy": self.accuracy}
        cells |= {f"scores[{name!r}]": values for name, values in self.scores.items()}
        cells |= {f"costs[{name!r}]": values for name, values in self.costs.items()}
        for name, values in cells.items():
            if values.shape != (n, k):
                raise ValueError(f"{name} has shape {values.shape}, not (N, K) = {(n, k)}.")
        for name in ("query_ids", "tasks", "domains", "complexity"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, not N = {n}.")
        for name in ("rewards", "accuracy"):
            if isinstance(cells[name], np.memmap):
                continue  # on disk, and checked when it was written
            if not np.isfinite(cells[name]).all():
                row, arm = np.argwhere(~np.isfinite(cells[name]))[0]
                raise ValueError(
                    f"{name} of query {self.query_ids[row]!r} with adapter "
                    f"{self.adapters[arm]!r} is not finite: repair that cell of the table."
                )

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def num_adapters(self) -> int:
        """K, the number of actions."""
        return len(self.adapters)

    def take(self, rows: np.ndarray) -> RoutingData:
        """Return some of the queries.

        Parameters
        ----------
        rows
            int (M,), query numbers in the order wanted, at least one.
        """
        arrays = {
            name: getattr(self, name)[rows]
            for name in ("observations", "rewards", "accuracy", "query_ids", "tasks", "domains")
        }
        return replace(
            self,
            **arrays,
            complexity=self.complexity[rows],
            scores={name: values[rows] for name, values in self.scores.items()},
            costs={name: values[rows] for name, values in self.costs.items()},
        )
