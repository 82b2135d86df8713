"""PPO's network: how it sees an embedding, and how its distributions are read out."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import linear


class ScaledEmbedding(BaseFeaturesExtractor):
    """Multiplies an embedding by a constant.

    Parameters
    ----------
    observation_space
        Box of shape (D,).
    factor
        The constant.
    """

    def __init__(self, observation_space: spaces.Box, *, factor: float) -> None:
        super().__init__(observation_space, features_dim=math.prod(observation_space.shape))
        self._factor = factor

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, D), scaled."""
        return observations.flatten(start_dim=1) * self._factor


def actor_probabilities(
    policy: ActorCriticPolicy, observations: np.ndarray, *, mask: np.ndarray | None = None
) -> np.ndarray:
    """Return an actor's distributions.

    Parameters
    ----------
    policy
        A policy of Stable-Baselines3 over discrete actions.
    observations
        float32 (N, D), what the policy observes.
    mask
        bool (N, K), True where an adapter may be chosen; the logits of the others become minus
        infinity. None allows all.

    Returns
    -------
    np.ndarray
        float64 (N, K), rows sum to 1.
    """
    with torch.no_grad():
        distribution = policy.get_distribution(torch.as_tensor(observations))
    logits = cast(CategoricalDistribution, distribution).distribution.logits.double()
    if mask is not None:
        logits = logits.masked_fill(torch.from_numpy(~mask), -math.inf)
    return torch.softmax(logits, dim=1).numpy()


def actor_to_onnx(policy: ActorCriticPolicy, graph: OnnxGraph, features: str) -> str:
    """Add an actor to a graph.

    Parameters
    ----------
    policy
        A policy of Stable-Baselines3 over discrete actions, with hidden layers of tanh.
    graph
        Takes the nodes.
    features
        Name of the tensor float32 (N, F) that the features extractor puts out.

    Returns
    -------
    str
        Name of the float64 (N, K) logits.

    Raises
    ------
    ValueError
        If a layer is neither linear nor tanh.
    """
    hidden = features
    for layer in (*policy.mlp_extractor.policy_net, policy.action_net):
        if isinstance(layer, nn.Linear):
            hidden = linear(graph, hidden, layer)
        elif isinstance(layer, nn.Tanh):
            hidden = graph.node("Tanh", hidden)
        else:
            raise ValueError(f"{type(layer).__name__} is no layer that the export knows.")
    return graph.double(hidden)
