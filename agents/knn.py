"""The simple router that published comparisons find hard to beat: nearest neighbours on scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.agent import Feedback
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import mean, product, unit_rows
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData

_CHUNK = 1024  # queries per block of the similarity matrix, to bound memory at CHUNK x N floats


@dataclass(frozen=True)
class KNNConfig:
    """Settings of the nearest-neighbour router.

    Parameters
    ----------
    neighbours
        Candidate numbers of neighbours, each at least 1; the one with the highest reward on
        validation is kept, the largest of equals. One candidate is taken as it is.
    """

    neighbours: tuple[int, ...] = (1, 3, 5, 10, 20, 40, 80)

    def __post_init__(self) -> None:
        if not self.neighbours or min(self.neighbours) < 1:
            raise ValueError(
                f"neighbours={self.neighbours!r} is not usable: give at least one number, each at "
                "least 1."
            )


class KNNAgent(ValueAgent):
    r"""Predict each adapter's reward as the mean over the k most similar train queries.

    :math:`\hat r(x, a) = \frac 1k \sum_{i \in N_k(x)} r_{ia}`, with :math:`N_k(x)` the k train
    embeddings of highest cosine similarity to x: the KNN predictive router of Hu et al.,
    *RouterBench* (arXiv:2403.12031, 2024). Changed: the prediction is of the reward, which already
    holds the costs, instead of quality minus a multiple of cost; and k is chosen on validation.
    Scores are regressed, not argmax labels, as on most queries several adapters tie for best.
    """

    name: ClassVar[str] = "knn"
    feedback: ClassVar[Feedback] = "full"
    config_class: ClassVar[type[Any]] = KNNConfig
    config: KNNConfig
    k: int = 0

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the mean rewards of each query's k nearest train queries."""
        return self._means(self._checked(observations), (self.k,))[self.k]

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the train split and the mean over its nearest queries to a graph."""
        unit = unit_rows(graph, observations)
        similarity = product(graph, unit, self._embeddings.T, np.float32)  # (N, train)
        nearest = graph.top(similarity, self.k)
        rewards = graph.constant(self._rewards, np.float64)  # (train, K)
        return mean(graph, graph.node("Gather", rewards, nearest), axis=1, count=self.k)

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Keep the train split and choose k on validation."""
        self._embeddings = _unit(np.asarray(train.observations, dtype=np.float32))
        self._rewards = train.rewards
        candidates = tuple(sorted({min(k, len(train)) for k in self.config.neighbours}))
        predictions = self._means(validation.observations, candidates)
        rows = np.arange(len(validation))
        self.k = max(
            candidates,
            key=lambda k: (validation.rewards[rows, predictions[k].argmax(axis=1)].mean(), k),
        )

    def _means(self, observations: np.ndarray, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
        """Return for each k the float64 (N, K) means over the k nearest; sorts only once."""
        means: dict[int, list[np.ndarray]] = {k: [] for k in ks}
        for start in range(0, len(observations), _CHUNK):
            block = _unit(np.asarray(observations[start : start + _CHUNK], dtype=np.float32))
            rewards = self._rewards[_nearest(block @ self._embeddings.T, max(ks))]  # (n, k, K)
            for k in ks:
                means[k].append(rewards[:, :k].mean(axis=1, dtype=np.float64))
        return {k: np.concatenate(blocks) for k, blocks in means.items()}

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return k and the train split."""
        return {"k": self.k}, {"embeddings": self._embeddings, "rewards": self._rewards}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take k and the train split back."""
        self.k = int(values["k"])
        self._embeddings, self._rewards = arrays["embeddings"], arrays["rewards"]


def _nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Return int (n, k), the columns of the k highest similarities, highest first."""
    top = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
