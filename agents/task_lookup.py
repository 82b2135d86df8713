"""The yardstick that learned routers often fail to beat: the best adapter of the query's task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.agent import Feedback
from routing_gym.agents.value_agent import PrivilegedAgent
from routing_gym.envs.data import RoutingData


class TaskLookupAgent(PrivilegedAgent):
    """Send a query to the adapter with the highest mean train reward on the query's task.

    Privileged: it reads the task's name, which a deployed router has to infer from the text. A
    task that the train split lacks gets the best single adapter.
    """

    name: ClassVar[str] = "task_lookup"
    feedback: ClassVar[Feedback] = "full"
    needs: ClassVar[str] = "the name of each query's task"

    def values_on(self, data: RoutingData) -> np.ndarray:
        """Return float64 (N, K), the mean train rewards of each query's task."""
        return np.stack([self._by_task.get(str(task), self._overall) for task in data.tasks])

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Average the rewards per task and adapter."""
        self._overall = train.rewards.mean(axis=0, dtype=np.float64)
        names, index = np.unique(np.asarray(train.tasks, dtype=str), return_inverse=True)
        self._by_task = {
            str(name): train.rewards[index == position].mean(axis=0, dtype=np.float64)
            for position, name in enumerate(names)
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the task names and their means."""
        return (
            {"tasks": list(self._by_task)},
            {"overall": self._overall, "by_task": np.stack(list(self._by_task.values()))},
        )

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take the means back."""
        self._overall = arrays["overall"]
        self._by_task = dict(zip(values["tasks"], arrays["by_task"], strict=True))
