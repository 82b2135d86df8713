"""What a learner of Vowpal Wabbit has learned, read out of its hashed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import plus, product

_FNV = 16777619  # the prime with which Vowpal Wabbit hashes products of features
_PROBES = 8
_TOLERANCE = 1e-4


def costs_to_onnx(
    graph: OnnxGraph,
    contexts: str,
    *,
    workspace: Any,
    parse: Callable[[np.ndarray], list[Any]],
    width: int,
    quadratic: bool,
    offsets: Sequence[int],
) -> list[str]:
    """Add the costs that linear policies predict to a graph.

    Parameters
    ----------
    graph, contexts
        The graph, and the name of its float64 (N, W) contexts.
    workspace
        The learner.
    parse
        Turns a context into the shared example and the K actions'.
    width
        W.
    quadratic
        Whether products of two components are features too.
    offsets
        Where each policy's weights stand among those of one feature; the last policy is the one
        that the learner asks last.

    Returns
    -------
    list of str
        Names of float64 (N, K), one per policy.

    Raises
    ------
    ValueError
        If the learner predicts something else: another version may hash otherwise.
    """
    examples = parse(np.ones(width))
    policies = _weights(workspace, examples, width=width, quadratic=quadratic, offsets=offsets)
    workspace.finish_example(examples)
    _check(policies[-1], workspace, parse, width=width, quadratic=quadratic)
    features = graph.single(contexts)
    if quadratic:
        left, right = (
            graph.node("Gather", features, graph.constant(index, np.int64), axis=1)
            for index in np.triu_indices(width)
        )
        features = graph.node("Concat", features, graph.node("Mul", left, right), axis=1)
    return [
        graph.double(plus(graph, product(graph, features, own[1:], np.float32), own[0], np.float32))
        for own in policies
    ]


def _weights(
    workspace: Any, examples: Sequence[Any], *, width: int, quadratic: bool, offsets: Sequence[int]
) -> np.ndarray:
    """Return float32 (P, F, K): weights of the action alone, the components and their products."""
    shared = [examples[0].feature("s", component) for component in range(width)]
    actions = [example.feature("a", 0) for example in examples[1:]]
    rows = [[action for action in actions]]
    rows += [[(_FNV * x) ^ action for action in actions] for x in shared]
    if quadratic:
        rows += [
            [(_FNV * ((_FNV * action) ^ shared[i])) ^ shared[j] for action in actions]
            for i, j in zip(*np.triu_indices(width), strict=True)
        ]
    count = workspace.num_weights()
    return np.array(
        [
            [[workspace.get_weight((place + offset) % count, 0) for place in row] for row in rows]
            for offset in offsets
        ],
        dtype=np.float32,
    )


def _check(
    weights: np.ndarray,
    workspace: Any,
    parse: Callable[[np.ndarray], list[Any]],
    *,
    width: int,
    quadratic: bool,
) -> None:
    """Compare the last policy with the learner on made-up contexts."""
    rng = np.random.default_rng(0)
    for _ in range(_PROBES):
        context = np.append(1.0, rng.normal(size=width - 1))
        examples = parse(context)
        workspace.predict(examples)
        costs = np.array([example.get_partial_prediction() for example in examples[1:]])
        workspace.finish_example(examples)
        left, right = np.triu_indices(width if quadratic else 0)
        features = np.concatenate([context, context[left] * context[right]])
        error = np.abs(weights[0] + features @ weights[1:] - costs).max()
        if error > _TOLERANCE:
            raise ValueError(
                f"Vowpal Wabbit's predictions differ by {error:.2g} from those of its weights as "
                "read: this version hashes features otherwise; use vowpalwabbit 9.11."
            )
