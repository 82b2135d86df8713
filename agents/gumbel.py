"""The Gumbel-Softmax router and its ablations: one network, one loop, three objectives."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import plus, times
from routing_gym.agents.supervised import RouterAgent
from routing_gym.agents.value_agent import best_allowed


class GumbelAgent(RouterAgent):
    r"""Maximises the reward of a Gumbel-Softmax sample.

    :math:`L_{adapter} = -\frac 1N \sum_i \sum_a y_{ia} r_{ia}` with y the relaxed sample of
    ``AdapterRouter`` (Jang et al., ICLR 2017, equation 2) and r the standardised rewards. The
    temperature falls geometrically from epoch to epoch, as they recommend. Changed: the
    paper relaxes a latent variable inside a decoder; here the "decoder" is the row of measured
    rewards, linear in y, so that no straight-through estimator is needed.
    """

    name: ClassVar[str] = "gumbel"
    use_gumbel: ClassVar[bool] = True

    def adapter_loss(
        self, logits: torch.Tensor, rewards: torch.Tensor, *, generator: torch.Generator
    ) -> torch.Tensor:
        """Return minus the mean reward of one relaxed sample per query, a scalar."""
        sample = self.router.adapter_distribution(logits, generator=generator)  # (B, K)
        return -(sample * rewards).sum(dim=1).mean()


class SoftmaxAgent(RouterAgent):
    r"""Maximises the expected reward of the softmax policy exactly.

    :math:`L_{adapter} = -\frac 1N \sum_i \sum_a \pi(a | x_i) r_{ia}`: the policy gradient of
    Williams (REINFORCE, Machine Learning 1992) without its sampling, since every r is known.
    The ablation of ``GumbelAgent``: the same network and loop without noise and temperature.
    """

    name: ClassVar[str] = "softmax"

    def adapter_loss(
        self, logits: torch.Tensor, rewards: torch.Tensor, *, generator: torch.Generator
    ) -> torch.Tensor:
        """Return minus the mean expected reward, a scalar."""
        return -(functional.softmax(logits, dim=1) * rewards).sum(dim=1).mean()


class RegressionAgent(RouterAgent):
    r"""Regresses every adapter's reward and takes the best prediction.

    :math:`L_{adapter} = \frac{1}{NK} \sum_i \sum_a (z_{ia} - r_{ia})^2`, the direct method of
    contextual bandits (Dudík, Langford and Li, ICML 2011) with the same network and
    loop as ``GumbelAgent``; under full information its sample is not biased by a logging policy.
    """

    name: ClassVar[str] = "regression"

    def adapter_loss(
        self, logits: torch.Tensor, rewards: torch.Tensor, *, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the mean squared error, a scalar."""
        return functional.mse_loss(logits, rewards)

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the predicted rewards in their own unit."""
        return self._logits(self._checked(observations)).numpy() * self._scale + self._mean

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), one-hot on the highest allowed prediction."""
        return best_allowed(self.values(observations), mask)

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the predictions to a graph."""
        return OnnxOutput(self.values_to_onnx(graph, observations), "values")

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the predicted rewards to a graph; return the name of their float64 (N, K)."""
        logits = self.router.to_onnx(graph, observations)
        return plus(graph, times(graph, logits, self._scale), self._mean)
