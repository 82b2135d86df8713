"""Contexts of linear learners: an intercept beside the leading components of the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import plus, product, with_intercept


@dataclass(frozen=True)
class Projection:
    """An affine map from embeddings to contexts, fitted without any reward.

    Parameters
    ----------
    mean
        float64 (D,), subtracted from every embedding.
    axes
        float64 (D, P), the columns that span the contexts; the scale is part of them.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, observations: np.ndarray, *, components: int) -> Projection:
        """Find the principal components of embeddings.

        Parameters
        ----------
        observations
            float (N, D), the train embeddings.
        components
            How many to keep, at most min(N, D) of them; 0 keeps the embedding as it is.

        Returns
        -------
        Projection
            Scaled by one factor such that contexts, without their intercept, have a mean squared
            norm of 1: confidence widths then mean the same for every encoder.
        """
        rows = np.asarray(observations, dtype=np.float64)
        if components == 0:
            mean, axes = np.zeros(rows.shape[1]), np.eye(rows.shape[1])
        else:
            from sklearn.decomposition import PCA  # half a second that only training needs

            with np.errstate(invalid="ignore"):  # its shares of a variance of 0
                pca = PCA(min(components, *rows.shape), random_state=0).fit(rows)
            mean, axes = pca.mean_, pca.components_.T
        squared_norm = float(np.mean(np.sum(((rows - mean) @ axes) ** 2, axis=1)))
        # embeddings that are all alike leave the intercept alone
        factor = 1 / np.sqrt(squared_norm) if squared_norm > 1e-12 else 0.0
        return cls(mean, np.ascontiguousarray(axes * factor))

    @property
    def width(self) -> int:
        """P + 1, the length of a context."""
        return self.axes.shape[1] + 1

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, P + 1), a column of ones first.

        Parameters
        ----------
        observations
            float (N, D), embeddings.
        """
        contexts = np.ones((len(observations), self.width))
        contexts[:, 1:] = (observations - self.mean) @ self.axes
        return contexts

    def to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the map to a graph; return the name of the float64 (N, P + 1) contexts."""
        centred = plus(graph, graph.double(observations), -self.mean)
        return with_intercept(graph, product(graph, centred, self.axes))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what ``from_arrays`` needs."""
        return {"projection.mean": self.mean, "projection.axes": self.axes}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Projection:
        """Take back what ``arrays`` returned."""
        return cls(arrays["projection.mean"], arrays["projection.axes"])
