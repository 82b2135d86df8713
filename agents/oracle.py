"""The ceiling of every comparison: the best adapter of each query, known afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.agent import Feedback
from routing_gym.agents.value_agent import PrivilegedAgent
from routing_gym.envs.data import RoutingData


class OracleAgent(PrivilegedAgent):
    """Send each query to the adapter with the highest reward on that very query.

    Nobody can deploy it. Where an outcome is one noisy sample per cell, its value is inflated: the
    maximum of K noisy draws lies above the best expected reward.
    """

    name: ClassVar[str] = "oracle"
    feedback: ClassVar[Feedback] = "full"
    needs: ClassVar[str] = "the outcomes of each query"

    def values_on(self, data: RoutingData) -> np.ndarray:
        """Return float32 (N, K), the rewards themselves."""
        return data.rewards

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Learn nothing: the answer is in the data decided on."""

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return nothing."""
        return {}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take nothing back."""
