"""A trained policy as an ONNX graph, node by node: what it computes, and no framework with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from routing_gym.adapters.onnx_builder import OnnxBuilder

OBSERVATIONS, MASK, SCORES = "observations", "mask", "scores"
OutputKind = Literal["probabilities", "values"]


@dataclass(frozen=True)
class OnnxOutput:
    """Where in a graph a policy ends.

    Parameters
    ----------
    name
        Of a tensor float64 (N, K).
    kind
        ``"probabilities"`` if its rows are distributions, ``"values"`` if the adapter of the
        highest value is to be taken.
    """

    name: str
    kind: OutputKind


class OnnxGraph(OnnxBuilder):
    """The graph of a policy; the number of queries N stays free.

    Parameters
    ----------
    num_features
        D, the width of the embeddings.
    num_adapters
        K.

    Attributes
    ----------
    masked
        Whether anything has asked for `mask`.
    """

    def __init__(self, *, num_features: int, num_adapters: int) -> None:
        super().__init__()
        self._width, self._adapters = num_features, num_adapters
        self.masked = False

    def mask(self) -> str:
        """Return the name of the input bool (N, K), True where an adapter may be chosen."""
        self.masked = True
        return MASK

    def double(self, tensor: str) -> str:
        """Cast to float64."""
        return self.cast(tensor, "float64")

    def single(self, tensor: str) -> str:
        """Cast to float32."""
        return self.cast(tensor, "float32")

    def columns(self, tensor: str, *, start: int = 0, stop: int) -> str:
        """Return the columns from ``start`` up to ``stop`` of (N, W)."""
        bounds = [self.constant([bound], np.int64) for bound in (start, stop, 1)]
        return self.node("Slice", tensor, *bounds)

    def top(self, tensor: str, count: int) -> str:
        """Return int64 (N, count), the columns of each row's highest entries, highest first."""
        return self.nodes("TopK", tensor, self.constant([count], np.int64), outputs=2)[1]

    def build(self, output: OnnxOutput) -> bytes:
        """Return the model whose scores are this output.

        Raises
        ------
        ValueError
            If the graph is not valid; a defect of an agent's ``to_onnx``.
        """
        scores = ("float64", ("N", self._adapters))
        inputs: dict[str, tuple[str, tuple[int | str, ...]]] = {
            OBSERVATIONS: ("float32", ("N", self._width))
        }
        if self.masked:
            inputs[MASK] = ("bool", ("N", self._adapters))
        return self.model(inputs, {SCORES: scores}, results=[output.name])
