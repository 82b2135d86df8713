"""Parts that the exports of several agents share, as nodes of an `OnnxGraph`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from routing_gym.agents.onnx_graph import OnnxGraph

_MOST_LEAVES = 2**24  # whole numbers that float32 holds exactly
_LEAF = -2


def constant_rows(graph: OnnxGraph, observations: str, row: np.ndarray) -> str:
    """Repeat a row (K,) for every query: float64 (N, K)."""
    count = graph.node("Shape", observations, start=0, end=1)
    shape = graph.node("Concat", count, graph.constant([len(row)], np.int64), axis=0)
    return graph.node("Expand", graph.constant(row[None], np.float64), shape)


def linear(graph: OnnxGraph, tensor: str, layer: Any) -> str:
    """Apply a ``torch.nn.Linear`` in float32: (N, in) to (N, out)."""
    inputs = [tensor, graph.constant(layer.weight.detach().numpy())]
    if layer.bias is not None:
        inputs.append(graph.constant(layer.bias.detach().numpy()))
    return graph.node("Gemm", *inputs, transB=1)


def product(graph: OnnxGraph, tensor: str, weights: np.ndarray, dtype: Any = np.float64) -> str:
    """Multiply (N, W) by weights (W, M), both of one type."""
    return graph.node("MatMul", tensor, graph.constant(weights, dtype))


def plus(graph: OnnxGraph, tensor: str, values: Any, dtype: Any = np.float64) -> str:
    """Add constants."""
    return graph.node("Add", tensor, graph.constant(values, dtype))


def times(graph: OnnxGraph, tensor: str, values: Any, dtype: Any = np.float64) -> str:
    """Multiply by constants, entry by entry."""
    return graph.node("Mul", tensor, graph.constant(values, dtype))


def with_intercept(graph: OnnxGraph, tensor: str) -> str:
    """Put a column of ones before float64 (N, P)."""
    one = graph.constant(1.0, np.float64)
    return graph.node("Pad", tensor, graph.constant([0, 1, 0, 0], np.int64), one)


def layer_norm(graph: OnnxGraph, tensor: str, *, width: int, epsilon: float) -> str:
    """Normalise float32 (N, width) per row, without learned scale."""
    scale = graph.constant(np.ones(width), np.float32)
    return graph.node("LayerNormalization", tensor, scale, epsilon=epsilon)


def gelu(graph: OnnxGraph, tensor: str) -> str:
    """Apply the exact Gaussian error linear unit in float32."""
    error = graph.node("Erf", times(graph, tensor, np.sqrt(0.5), np.float32))
    half = times(graph, tensor, 0.5, np.float32)
    return graph.node("Mul", half, plus(graph, error, 1.0, np.float32))


def softmax(graph: OnnxGraph, logits: str) -> str:
    """Turn float64 (N, K) into distributions."""
    return graph.node("Softmax", logits, axis=1)


def total(graph: OnnxGraph, tensor: str, *, axis: int, keep: bool = False) -> str:
    """Sum over an axis."""
    return graph.node(
        "ReduceSum", tensor, graph.constant([axis], np.int64), keepdims=1 if keep else 0
    )


def mean(graph: OnnxGraph, tensor: str, *, axis: int, count: int, keep: bool = False) -> str:
    """Average float64 over an axis of this length: sum, then one division, as NumPy does."""
    divisor = graph.constant(float(count), np.float64)
    return graph.node("Div", total(graph, tensor, axis=axis, keep=keep), divisor)


def highest(graph: OnnxGraph, tensor: str) -> str:
    """Return each row's maximum, float64 (N, 1)."""
    return graph.node("ReduceMax", tensor, graph.constant([1], np.int64), keepdims=1)


def masked(graph: OnnxGraph, values: str) -> str:
    """Put minus infinity where the graph's mask forbids an adapter."""
    return graph.node("Where", graph.mask(), values, graph.constant(-np.inf, np.float64))


def vote(graph: OnnxGraph, values: str) -> str:
    """Share each row's mass among the adapters of its highest value: float64 (N, K)."""
    best = graph.double(graph.node("Equal", values, highest(graph, values)))
    return normalised(graph, best)


def normalised(graph: OnnxGraph, weights: str) -> str:
    """Divide float64 (N, K) by the rows' sums."""
    return graph.node("Div", weights, total(graph, weights, axis=1, keep=True))


def first_best(graph: OnnxGraph, values: str, *, num_adapters: int) -> str:
    """Return bool (N, K), True at each row's highest value, the first of equals."""
    best = graph.node("ArgMax", values, axis=1, keepdims=1)
    return graph.node("Equal", graph.constant(np.arange(num_adapters), np.int64), best)


def unit_rows(graph: OnnxGraph, tensor: str) -> str:
    """Scale float32 rows to length 1; rows of zeros stay."""
    length = graph.node("ReduceL2", tensor, graph.constant([1], np.int64), keepdims=1)
    positive = graph.node("Greater", length, graph.constant(0.0, np.float32))
    one = graph.constant(1.0, np.float32)
    return graph.node("Div", tensor, graph.node("Where", positive, length, one))


def tree_means(graph: OnnxGraph, features: str, trees: Mapping[str, np.ndarray]) -> str:
    """Average the leaves that float32 (N, F) falls into: float64 (N, K).

    ONNX's trees predict float32. Here they predict the number of a leaf, which float32 holds
    exactly, and the leaves' values are looked up in float64.
    """
    leaf = trees["feature"] <= _LEAF
    if leaf.sum() >= _MOST_LEAVES:
        raise ValueError(f"the forest has {leaf.sum()} leaves, ONNX's trees tell {_MOST_LEAVES}.")
    numbers = graph.node(
        "TreeEnsembleRegressor", features, domain="ai.onnx.ml", **_tree_attributes(trees, leaf)
    )  # (N, T)
    values = graph.constant(trees["value"][leaf], np.float64)  # (leaves, K)
    reached = graph.node("Gather", values, graph.cast(numbers, "int64"))  # (N, T, K)
    return mean(graph, reached, axis=1, count=len(trees["roots"]))


def _tree_attributes(trees: Mapping[str, np.ndarray], leaf: np.ndarray) -> dict[str, Any]:
    """Describe the trees as ONNX wants them, one target per tree."""
    roots, nodes = trees["roots"], np.arange(len(leaf))
    tree = np.searchsorted(roots, nodes, side="right") - 1
    start = roots[tree]
    asked = np.where(leaf, 0, trees["feature"])
    below, above = (np.where(leaf, 0, trees[side] - start) for side in ("left", "right"))
    return {
        "n_targets": len(roots),
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": (nodes - start).tolist(),
        "nodes_featureids": asked.tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_values": _round_down(np.where(leaf, 0.0, trees["threshold"])).tolist(),
        "nodes_truenodeids": below.tolist(),
        "nodes_falsenodeids": above.tolist(),
        "target_treeids": tree[leaf].tolist(),
        "target_nodeids": (nodes - start)[leaf].tolist(),
        "target_ids": tree[leaf].tolist(),
        "target_weights": np.arange(leaf.sum(), dtype=np.float32).tolist(),
    }


def _round_down(thresholds: np.ndarray) -> np.ndarray:
    """Return float32 thresholds that every float32 feature meets as it meets the float64 ones."""
    single = thresholds.astype(np.float32)
    return np.where(single > thresholds, np.nextafter(single, np.float32(-np.inf)), single)
