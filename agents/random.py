"""The floor of every comparison: each adapter with equal probability."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.agent import Agent, Feedback
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import constant_rows
from routing_gym.agents.policy import Decision, choose
from routing_gym.envs.data import RoutingData


class RandomAgent(Agent):
    """Draw every adapter with probability 1/K.

    A uniform policy has no most probable adapter, so without an ``rng`` it draws from a generator
    seeded by ``train``: the same queries get the same adapters at each call.
    """

    name: ClassVar[str] = "random"
    feedback: ClassVar[Feedback] = "none"
    seed: int = 0

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), 1/K everywhere."""
        k = len(self.adapters)
        return np.full((len(self._checked(observations)), k), 1.0 / k)

    def decide(
        self,
        observations: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> Decision:
        """Draw one adapter per query, even when ``rng`` is None.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        rng
            Draws the adapters; None draws from a new generator of the trained seed.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
        """
        rng = np.random.default_rng(self.seed) if rng is None else rng
        return choose(self.probabilities(observations), rng=rng, mask=mask)

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the uniform distribution to a graph."""
        k = len(self.adapters)
        return OnnxOutput(constant_rows(graph, observations, np.full(k, 1.0 / k)), "probabilities")

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Remember the seed; there is nothing to learn."""
        self.seed = seed

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the seed."""
        return {"seed": self.seed}, {}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take the seed back."""
        self.seed = int(values["seed"])
