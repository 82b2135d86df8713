"""Neural-linear: Thompson sampling in a linear model of what a network has learned to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from routing_gym.agents.bandit import Outcomes, require_at_least, require_positive
from routing_gym.agents.disjoint_ridge import DisjointRidge
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import product, times, with_intercept
from routing_gym.agents.thompson import best_draw_probabilities
from routing_gym.agents.value_network import NetworkBandit, ReplayConfig, as_tensor


@dataclass(frozen=True)
class NeuralLinearConfig(ReplayConfig):
    r"""Settings of neural-linear, beside those of its network.

    Parameters
    ----------
    refit_every
        Outcomes after which all that was paid for is seen through the new hidden layer, at least 1.
    ridge
        Penalty of the regressions on the hidden layer, above 0.
    shape, rate
        Of the inverse gamma prior of the noise's variance, above 0; its mode is about rate / shape.
    """

    refit_every: int = 64
    ridge: float = 10.0
    shape: float = 3.0
    rate: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "refit_every")
        require_positive(self, "ridge", "shape", "rate")


class NeuralLinearAgent(NetworkBandit):
    r"""Bayesian linear regression on a network's hidden layer, one per adapter.

    Riquelme, Tucker and Snoek, *Deep Bayesian bandits showdown* (ICLR 2018), section 3 and
    equations 1 and 2, with :math:`\phi(x)` the hidden layer and an intercept:

    .. math:: \theta_a | \sigma_a^2 \sim N(\mu_a, \sigma_a^2 \Sigma_a), \quad
        \sigma_a^2 \sim IG(\alpha_a, \beta_a), \quad
        \alpha_a = \alpha_0 + \tfrac n2, \quad
        \beta_a = \beta_0 + \tfrac 12 (r^\top r - \mu_a^\top \Sigma_a^{-1} \mu_a).

    Changed: the network goes on training after every batch, and the regressions are recomputed at
    intervals, not both at once; each query has a draw of its own, whose values are independent
    Student t variables, and adapters are drawn from the exact probabilities of the highest one
    (`best_draw_probabilities`). The trained policy takes the best posterior mean.
    """

    name: ClassVar[str] = "neural_linear"
    config_class: ClassVar[type[Any]] = NeuralLinearConfig
    config: NeuralLinearConfig

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Initialise the network, its frozen hidden layer and the regressions."""
        super()._begin(width=width, rng=rng)
        self._refit()

    def _estimates(self, contexts: np.ndarray) -> np.ndarray:
        """Return the posterior means."""
        return self._model.predict(self._seen(contexts))

    def estimates_to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add the frozen hidden layer and the posterior means to a graph."""
        scaled = times(graph, graph.single(contexts), self._network.scale, np.float32)
        hidden = graph.node("Relu", product(graph, scaled, self._body.numpy().T, np.float32))
        return product(graph, with_intercept(graph, graph.double(hidden)), self._model.weights.T)

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return the probability that each adapter's draw is the highest."""
        seen = self._seen(contexts)
        shape = self.config.shape + self._model.counts / 2
        rate = self.config.rate + self._model.squared_error / 2
        scales = np.sqrt(rate / shape) * self._model.spread(seen)
        return best_draw_probabilities(
            self._model.predict(seen), scales, allowed, degrees=2 * shape
        )

    def _learn(self, batch: Outcomes) -> None:
        """Update the regressions, train the network, and now and then look through it anew."""
        self._model.update(self._seen(batch.contexts), batch.actions, batch.rewards)
        super()._learn(batch)
        self._since_refit += len(batch.actions)
        if self._since_refit >= self.config.refit_every:
            self._refit()

    def _finish(self) -> None:
        """Look at everything through the last hidden layer."""
        self._refit()

    def _refit(self) -> None:
        """Freeze the hidden layer and regress all that was paid for on it."""
        self._body = self._network.body.weight.detach().clone()
        self._since_refit = 0
        width = self.config.hidden_dim + 1
        self._model = DisjointRidge(len(self.adapters), width, ridge=self.config.ridge)
        if self._replay.size:
            contexts, actions, rewards = (held.numpy() for held in self._replay.held())
            self._model.update(self._seen(contexts), actions, rewards.astype(np.float64))

    def _seen(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, H + 1), an intercept and the frozen hidden layer."""
        hidden = torch.relu(self._network.scale * as_tensor(contexts) @ self._body.T)
        return np.column_stack([np.ones(len(contexts)), hidden.double().numpy()])

    def _learned(self) -> dict[str, np.ndarray]:
        """Return the weights, the frozen hidden layer and the regressions."""
        body = {"frozen.body": self._body.numpy().copy()}
        return super()._learned() | body | self._model.arrays()

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take them back."""
        super()._relearn(arrays)
        self._body = torch.from_numpy(arrays["frozen.body"].copy())
        self._model = DisjointRidge.from_arrays(arrays)
