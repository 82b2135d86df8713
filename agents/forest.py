"""Score regression by extremely randomised trees, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.agent import Feedback
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import plus, product, tree_means
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData

_CHUNK = 2048  # queries per block, to bound memory at CHUNK x trees numbers
_LEAF = -2  # scikit-learn's mark of a node without a question


@dataclass(frozen=True)
class ForestConfig:
    """Settings of the forest.

    Parameters
    ----------
    trees
        Number of trees, at least 1.
    leaf_sizes
        Candidates for the least number of train queries in a leaf, each at least 1; the one of the
        least squared error on validation is kept. One candidate is taken as it is.
    share
        Share of the features that each question chooses from, in (0, 1].
    components
        Blocks wider than this are reduced to as many principal components, at least 1: a tree asks
        about one feature at a time, and single dimensions of an embedding mean little.
    blocks
        Widths of the embedding's parts where encoders were joined, summing to D; empty means one.
    """

    trees: int = 100
    leaf_sizes: tuple[int, ...] = (10, 20, 40)
    share: float = 0.6
    components: int = 20
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("trees", "components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")
        if not self.leaf_sizes or min(self.leaf_sizes) < 1:
            raise ValueError(f"leaf_sizes={self.leaf_sizes} must hold numbers of at least 1.")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must be above 0 and at most 1.")
        if any(width < 1 for width in self.blocks):
            raise ValueError(f"blocks={self.blocks} must all be widths of at least 1.")


class ForestAgent(ValueAgent):
    r"""Predict each adapter's advantage on a query as the mean over many random trees.

    Extremely randomised trees (Geurts, Ernst & Wehenkel 2006): each question's threshold is drawn
    at random, the best of a share of the features is asked, and a leaf predicts the mean of its
    train queries' rewards. The trees are grown on the rewards' differences from each query's mean,
    as only these decide; the mean rewards of the train split are added back. They catch what a
    linear router cannot: that length matters on one topic and not on another.
    """

    name: ClassVar[str] = "forest"
    feedback: ClassVar[Feedback] = "full"
    config_class: ClassVar[type[Any]] = ForestConfig
    config: ForestConfig
    leaf_size: int = 0

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the predicted rewards."""
        features = self._reduced(self._checked(observations))
        return self._mean + predict_trees(self._trees, features)

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the projection and the trees to a graph."""
        features = product(graph, observations, self._directions, np.float32)
        return plus(graph, tree_means(graph, features, self._trees), self._mean)

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Grow a forest for each leaf size and keep the best on validation."""
        self._mean = train.rewards.mean(axis=0, dtype=np.float64)
        self._make_components(np.asarray(train.observations, dtype=np.float32))
        features = self._reduced(train.observations)
        target = _differences(train.rewards - self._mean)
        sizes = self.config.leaf_sizes
        if len(sizes) == 1:
            self.leaf_size, self._trees = sizes[0], self._grow(features, target, sizes[0], seed)
            return
        held_out = self._reduced(validation.observations)
        wanted = _differences(validation.rewards - self._mean)
        best = np.inf
        for size in sizes:
            trees = self._grow(features, target, size, seed)
            error = float(np.square(wanted - predict_trees(trees, held_out)).mean())
            if error < best:
                best, self.leaf_size, self._trees = error, size, trees

    def _grow(
        self, features: np.ndarray, target: np.ndarray, leaf_size: int, seed: int
    ) -> dict[str, np.ndarray]:
        """Grow one forest and take it apart into arrays."""
        from sklearn.ensemble import ExtraTreesRegressor  # slow to import

        forest = ExtraTreesRegressor(
            self.config.trees,
            min_samples_leaf=min(leaf_size, len(features)),
            max_features=self.config.share,
            random_state=seed,
        ).fit(features, target)
        trees = [tree.tree_ for tree in forest.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        starts = np.repeat(roots, [tree.node_count for tree in trees])
        parts = {
            "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
            "threshold": np.concatenate([tree.threshold for tree in trees]),
            "left": np.concatenate([tree.children_left for tree in trees]) + starts,
            "right": np.concatenate([tree.children_right for tree in trees]) + starts,
            "value": np.concatenate([tree.value[:, :, 0] for tree in trees]),
        }
        return {"roots": roots.astype(np.int64)} | parts

    def _make_components(self, observations: np.ndarray) -> None:
        """Learn the directions (D, F) onto which wide blocks are projected."""
        width = observations.shape[1]
        blocks = self.config.blocks or (width,)
        if sum(blocks) != width:
            raise ValueError(
                f"blocks={blocks} sum to {sum(blocks)}, but the embeddings have width {width}: "
                "give the widths of the joined encoders."
            )
        parts, start = [], 0
        for size in blocks:
            part = np.zeros((width, min(size, self.config.components)), dtype=np.float32)
            block = observations[:, start : start + size].astype(np.float64)
            if size > self.config.components:
                block -= block.mean(axis=0)
                axes = np.linalg.eigh(block.T @ block)[1][:, ::-1]  # most variance first
                part[start : start + size] = axes[:, : self.config.components]
            else:
                part[start : start + size] = np.eye(size)
            parts.append(part)
            start += size
        self._directions = np.concatenate(parts, axis=1)

    def _reduced(self, observations: np.ndarray) -> np.ndarray:
        """Project observations (N, D) onto the directions: float32 (N, F)."""
        return np.asarray(observations, dtype=np.float32) @ self._directions

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the leaf size, and the directions and trees."""
        arrays = {"mean": self._mean, "directions": self._directions}
        return {"leaf_size": self.leaf_size}, arrays | self._trees

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take them back."""
        self.leaf_size = int(values["leaf_size"])
        trees = dict(arrays)
        self._mean, self._directions = trees.pop("mean"), trees.pop("directions")
        self._trees = trees


def predict_trees(trees: Mapping[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Average the leaves that queries fall into.

    Parameters
    ----------
    trees
        ``roots`` (T,), the number of each tree's first node, and, for all nodes of all trees,
        ``feature`` (negative in a leaf), ``threshold``, ``left`` and ``right`` (numbers of nodes)
        and ``value`` (nodes, K).
    features
        float32 (N, F).

    Returns
    -------
    np.ndarray
        float64 (N, K).
    """
    means = []
    for start in range(0, len(features), _CHUNK):
        block = features[start : start + _CHUNK]
        rows = np.arange(len(block))[:, None]
        nodes = np.broadcast_to(trees["roots"], (len(block), len(trees["roots"])))  # (n, T)
        asked = trees["feature"][nodes]
        while (asked > _LEAF).any():
            lower = block[rows, np.maximum(asked, 0)] <= trees["threshold"][nodes]
            after = np.where(lower, trees["left"][nodes], trees["right"][nodes])
            nodes = np.where(asked > _LEAF, after, nodes)
            asked = trees["feature"][nodes]
        means.append(trees["value"][nodes].mean(axis=1))
    return np.concatenate(means)


def _differences(rewards: np.ndarray) -> np.ndarray:
    """Return (N, K), rewards without each query's mean, which moves no choice."""
    return np.asarray(rewards - rewards.mean(axis=1, keepdims=True), dtype=np.float64)
