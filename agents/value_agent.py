"""Agents that rank adapters by a value: the best allowed one is taken."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from routing_gym.agents.agent import Agent
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.policy import Decision, choose, full_mask, one_hot
from routing_gym.envs.data import RoutingData


class ValueAgent(Agent):
    """An agent that predicts each adapter's reward and takes the best allowed one."""

    @abstractmethod
    def values(self, observations: np.ndarray) -> np.ndarray:
        """Predict rewards.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.

        Returns
        -------
        np.ndarray
            float (N, K), the predicted reward of each adapter.
        """

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Put all mass on the allowed adapter with the highest predicted reward.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.

        Returns
        -------
        np.ndarray
            float64 (N, K), one-hot rows.
        """
        return best_allowed(self.values(observations), mask)

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the predictions to a graph."""
        return OnnxOutput(self.values_to_onnx(graph, observations), "values")

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add what ``values`` computes to a graph and return the name of its float64 (N, K)."""
        raise ValueError(f"agent {self.name!r} has no export: implement its values_to_onnx.")


class PrivilegedAgent(Agent):
    """A yardstick whose predictions need more than the embedding."""

    privileged: ClassVar[bool] = True
    needs: ClassVar[str]

    @abstractmethod
    def values_on(self, data: RoutingData) -> np.ndarray:
        """Return float (N, K), the reward that this yardstick expects of each adapter."""

    def decide_on(
        self,
        data: RoutingData,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> Decision:
        """Take the allowed adapter with the highest value on each query.

        Parameters
        ----------
        data
            The split to decide on, N queries.
        rng
            Unused: the choice is certain.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
        """
        self._check_adapters(data)
        return choose(best_allowed(self.values_on(data), mask), rng=rng, mask=mask)

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Refuse: an embedding is not enough.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            f"agent {self.name!r} needs {self.needs}, not embeddings alone: call decide_on(data)."
        )

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Refuse: a server has embeddings alone.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            f"agent {self.name!r} cannot be exported: it needs {self.needs}, which no server has. "
            "Export a learned agent."
        )


def best_allowed(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return float64 (N, K), one-hot on each row's highest allowed value (the first of equals).

    Raises
    ------
    ValueError
        If an allowed value is not a finite number.
    """
    allowed = full_mask(mask, values.shape)
    for row in np.flatnonzero((allowed & ~np.isfinite(values)).any(axis=1))[:1]:
        raise ValueError(
            f"the values of row {row} are {values[row].tolist()}: they must be finite. Check the "
            "agent's training for a diverging loss or a division by zero."
        )
    best = np.where(allowed, values, -np.inf).argmax(axis=1)
    return one_hot(best, values.shape[1])
