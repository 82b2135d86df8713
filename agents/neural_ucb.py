"""NeuralUCB: a network's prediction, and a bonus for gradients that it has not yet learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from routing_gym.agents.bandit import Outcomes, best_of, require_not_negative, require_positive
from routing_gym.agents.value_network import NetworkBandit, ReplayConfig, as_tensor

_LAYERS = ("body", "head", "bias")


@dataclass(frozen=True)
class NeuralUCBConfig(ReplayConfig):
    r"""Settings of NeuralUCB, beside those of its network.

    Parameters
    ----------
    gamma
        Width of the confidence bound, at least 0; 0 is greedy.
    ridge
        :math:`\lambda`, where the matrix of gradients starts, above 0; small, so that every adapter
        is tried.
    """

    gamma: float = 0.1
    ridge: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "gamma")
        require_positive(self, "ridge")


class GradientBandit(NetworkBandit):
    r"""A network bandit that keeps the sum of its squared gradients.

    With :math:`g_a(x) = \nabla_\theta f_a(x; \theta)` and H hidden units, the matrix
    :math:`Z = \lambda I + \frac 1H \sum_t g_{a_t}(x_t) g_{a_t}(x_t)^\top` is kept as its diagonal,
    as in the papers' own experiments: exact inversion costs the cube of the number of weights.
    Where gradients are correlated, the diagonal overstates the width, so factors on it are to be
    chosen smaller than theory says. The gradients are written out for the one hidden layer.
    """

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Initialise the network and the diagonal."""
        super()._begin(width=width, rng=rng)
        hidden, arms, ridge = self.config.hidden_dim, len(self.adapters), self.config.ridge
        shapes = ((hidden, width), (arms, hidden), (arms,))
        self._diagonal = {
            layer: np.full(shape, ridge) for layer, shape in zip(_LAYERS, shapes, strict=True)
        }

    def _spread(self, contexts: np.ndarray) -> np.ndarray:
        r"""Return float64 (N, K), :math:`\sqrt{g^\top Z^{-1} g / H}`."""
        hidden, slopes = self._gradients(contexts)
        inverse = {layer: 1 / values for layer, values in self._diagonal.items()}
        through_body = ((contexts**2) @ inverse["body"].T) * (hidden > 0)  # (N, H)
        squares = through_body @ (slopes**2).T + (hidden**2) @ inverse["head"].T + inverse["bias"]
        return np.sqrt(squares / self.config.hidden_dim)

    def _learn(self, batch: Outcomes) -> None:
        """Add the gradients of the chosen adapters, then train."""
        hidden, slopes = self._gradients(batch.contexts)
        share = 1 / self.config.hidden_dim
        through_body = (slopes[batch.actions] * (hidden > 0)) ** 2  # (B, H)
        self._diagonal["body"] += share * through_body.T @ batch.contexts**2
        np.add.at(self._diagonal["head"], batch.actions, share * hidden**2)
        np.add.at(self._diagonal["bias"], batch.actions, share)
        super()._learn(batch)

    def _gradients(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the hidden layer (N, H), and (K, H) the slope of each output in W x, if active."""
        with torch.no_grad():
            hidden = self._network.hidden(as_tensor(contexts)).double().numpy()
            slopes = self._network.scale * self._network.head.weight.double().numpy()
        return hidden, slopes

    def _learned(self) -> dict[str, np.ndarray]:
        """Return the weights and the diagonal."""
        return super()._learned() | {f"diagonal.{k}": v for k, v in self._diagonal.items()}

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the weights and the diagonal back."""
        super()._relearn(arrays)
        self._diagonal = {layer: arrays[f"diagonal.{layer}"].copy() for layer in _LAYERS}


class NeuralUCBAgent(GradientBandit):
    r"""Take the adapter with the highest upper confidence bound on a network's prediction.

    Zhou, Li and Gu, *Neural contextual bandits with UCB-based exploration* (ICML 2020),
    algorithm 1:

    .. math:: a_t = \arg\max_a f_a(x_t; \theta)
        + \gamma \sqrt{g_a(x_t; \theta)^\top Z^{-1} g_a(x_t; \theta) / H}.

    Changed: Z is diagonal (see `GradientBandit`); one network has an output per adapter, where the
    paper gives one output K contexts padded with zeros; it is trained on by AdamW from where it
    stands, with dropout, instead of from its start by gradient descent; :math:`\gamma` is constant.
    The trained policy takes the highest prediction.
    """

    name: ClassVar[str] = "neural_ucb"
    config_class: ClassVar[type[Any]] = NeuralUCBConfig
    config: NeuralUCBConfig

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Put all mass on the highest upper confidence bound."""
        return best_of(
            self._estimates(contexts) + self.config.gamma * self._spread(contexts), allowed
        )
