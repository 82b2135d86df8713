"""The rule that a router has to beat: always the adapter that was best on the train split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.agent import Feedback
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import constant_rows
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData


class BestSingleAgent(ValueAgent):
    """Send every query to the adapter with the highest mean reward on the train split.

    Chosen on train, so that its value on the test split is an estimate and not a maximum.
    """

    name: ClassVar[str] = "best_single"
    feedback: ClassVar[Feedback] = "full"

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), each adapter's mean train reward in every row."""
        rows = len(self._checked(observations))
        return np.tile(self._mean_rewards, (rows, 1))

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the means to a graph."""
        return constant_rows(graph, observations, self._mean_rewards)

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Average the rewards per adapter."""
        self._mean_rewards = train.rewards.mean(axis=0, dtype=np.float64)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the means."""
        return {}, {"mean_rewards": self._mean_rewards}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take the means back."""
        self._mean_rewards = arrays["mean_rewards"]
