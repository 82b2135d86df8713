"""REINFORCE with a baseline: the gradient of the policy itself, from its own decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from routing_gym.agents.bandit import BanditAgent, Outcomes, require_not_negative
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import softmax
from routing_gym.agents.policy import apply_mask
from routing_gym.agents.value_network import NetworkConfig, ValueNetwork, adamw, as_tensor


@dataclass(frozen=True)
class REINFORCEConfig(NetworkConfig):
    """Settings of REINFORCE, beside those of its network.

    Parameters
    ----------
    budget
        Five times that of the other bandits, as no outcome is used twice.
    entropy_coefficient
        Weight of the policy's entropy in the objective, at least 0.
    baseline_coefficient
        Weight of the baseline's squared error in the loss, at least 0.
    """

    budget: float = 2.0
    entropy_coefficient: float = 0.01
    baseline_coefficient: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "entropy_coefficient", "baseline_coefficient")


class REINFORCEAgent(BanditAgent):
    r"""Raise the probability of what paid more than expected; one gradient step per batch.

    Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement
    learning* (Machine Learning 1992); the learner of BaRP (Wei et al., *Learning to route LLMs from
    bandit feedback*, arXiv:2510.07429, 2025), here under one fixed reward. It descends

    .. math:: L = -\frac 1B \sum_i \left[(r_i - b(x_i)) \log \pi_\theta(a_i | x_i)
        + c_H H(\pi_\theta(\cdot | x_i))\right] + \frac{c_b}{B} \sum_i (b(x_i) - r_i)^2,

    where the baseline b counts as a constant in the first term. Changed: the baseline is an output
    of the same network; AdamW takes the place of plain ascent. The gradient is unbiased only for
    decisions that the policy itself drew, so every outcome is used once: no replay, and hence more
    outcomes than the bandits that regress rewards. The trained policy is the softmax; ``decide``
    without an ``rng`` takes its mode.
    """

    name: ClassVar[str] = "reinforce"
    config_class: ClassVar[type[Any]] = REINFORCEConfig
    config: REINFORCEConfig

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the softmax policy."""
        return self._policy(self._contexts(observations))

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the softmax policy to a graph; the baseline stays behind."""
        outputs = self._network.to_onnx(graph, self._projection.to_onnx(graph, observations))
        logits = graph.columns(outputs, stop=len(self.adapters))
        return OnnxOutput(softmax(graph, logits), "probabilities")

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Initialise the network, K logits and the baseline."""
        self._network = ValueNetwork(width, len(self.adapters) + 1, config=self.config)
        self._optimizer = adamw(self._network, self.config)

    def _policy(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the softmax of the logits."""
        logits = self._network.evaluate(contexts)[:, :-1]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return the softmax over the allowed adapters."""
        return apply_mask(self._policy(contexts), allowed)

    def _learn(self, batch: Outcomes) -> None:
        """Take one gradient step on the batch."""
        self._optimizer.zero_grad()
        self._loss(batch).backward()
        self._optimizer.step()

    def _loss(self, batch: Outcomes) -> torch.Tensor:
        """Return L, a scalar."""
        outputs = self._network(as_tensor(batch.contexts))
        # what was forbidden had no probability and gets no gradient
        forbidden = torch.from_numpy(batch.probabilities == 0)
        log_policy = functional.log_softmax(outputs[:, :-1].masked_fill(forbidden, -1e9), dim=1)
        rewards, baseline = as_tensor(batch.rewards), outputs[:, -1]
        chosen = log_policy.gather(1, torch.from_numpy(batch.actions)[:, None])[:, 0]
        entropy = -(log_policy.exp() * log_policy).sum(dim=1)
        gain = (rewards - baseline.detach()) * chosen + self.config.entropy_coefficient * entropy
        error = functional.mse_loss(baseline, rewards)
        return -gain.mean() + self.config.baseline_coefficient * error

    def _learned(self) -> dict[str, np.ndarray]:
        """Return the weights."""
        return self._network.arrays()

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fill the network."""
        self._network.fill(arrays)
