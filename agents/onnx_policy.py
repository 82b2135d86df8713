"""A trained agent as one ONNX file."""

from __future__ import annotations

from dataclasses import dataclass

from routing_gym.agents.agent import Agent
from routing_gym.agents.onnx_graph import OBSERVATIONS, OnnxGraph, OutputKind


@dataclass(frozen=True)
class OnnxPolicy:
    """A whole policy.

    Parameters
    ----------
    content
        The file: ``observations`` float32 (N, D) in, ``scores`` float64 (N, K) out.
    kind
        What the scores are, see `OnnxOutput`.
    masked
        Whether there is a second input, ``mask``, bool (N, K), True where an adapter may be chosen;
        the scores are then those over the allowed adapters.
    """

    content: bytes
    kind: OutputKind
    masked: bool


def policy_to_onnx(agent: Agent) -> OnnxPolicy:
    """Export a trained agent.

    Parameters
    ----------
    agent
        Of any class that decides from embeddings alone.

    Raises
    ------
    ValueError
        If the agent needs more than the embedding, or its class has no export.
    RuntimeError
        If it is not trained.
    """
    agent._check_trained()
    graph = OnnxGraph(num_features=agent.num_features, num_adapters=len(agent.adapters))
    output = agent.to_onnx(graph, OBSERVATIONS)
    return OnnxPolicy(graph.build(output), output.kind, graph.masked)
