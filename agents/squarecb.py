"""SquareCB: probabilities that fall with the inverse of the predicted gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import require_not_negative, require_positive
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import first_best, highest, masked, times, total
from routing_gym.agents.policy import full_mask
from routing_gym.agents.ridge_bandit import RidgeBandit, RidgeConfig


@dataclass(frozen=True)
class SquareCBConfig(RidgeConfig):
    r"""Settings of SquareCB, beside those of its regressions.

    Parameters
    ----------
    gamma
        Greed at the start, above 0.
    exponent
        Power of its growth with the outcomes t, at least 0:
        :math:`\gamma_t = \gamma_0 (1 + t)^\rho`; 1/2 is the paper's rate.
    """

    gamma: float = 10.0
    exponent: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "exponent")
        require_positive(self, "gamma")


class SquareCBAgent(RidgeBandit):
    r"""Draw adapters with probabilities inverse to the gap of their predictions.

    Foster and Rakhlin, *Beyond UCB: optimal and efficient contextual bandits with regression
    oracles* (ICML 2020), algorithm 1: with predictions y and b the best of them,

    .. math:: p(a) = \frac{1}{\mu + \gamma_t (y_b - y_a)} \;\; (a \ne b), \qquad
        p(b) = 1 - \sum_{a \ne b} p(a), \qquad \mu = K.

    Changed: rewards in place of losses; the oracle is an exact ridge regression per adapter;
    :math:`\gamma` grows with the outcomes seen, as in Vowpal Wabbit, so that no horizon need be
    known; outcomes arrive in batches. Randomised by nature: the trained policy is this distribution
    at the last :math:`\gamma`, of which ``decide`` without an ``rng`` takes the mode, the best
    prediction.
    """

    name: ClassVar[str] = "squarecb"
    config_class: ClassVar[type[Any]] = SquareCBConfig
    config: SquareCBConfig

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the inverse-gap distribution over the allowed adapters."""
        contexts = self._contexts(observations)
        return self._behave(contexts, full_mask(mask, (len(contexts), len(self.adapters))))

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Weight the allowed adapters by their inverse gaps."""
        return inverse_gap(self._estimates(contexts), allowed, gamma=self._greed)

    @property
    def _greed(self) -> float:
        """Gamma after the outcomes so far."""
        return self.config.gamma * (1 + self.outcomes) ** self.config.exponent

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the inverse-gap distribution over the allowed adapters to a graph."""
        values = masked(graph, self.values_to_onnx(graph, observations))
        gaps = graph.node("Sub", highest(graph, values), values)  # infinite where forbidden
        counts = total(graph, graph.double(graph.mask()), axis=1, keep=True)
        scaled = graph.node("Add", counts, times(graph, gaps, self._greed))
        shares = graph.node("Reciprocal", scaled)
        best = first_best(graph, values, num_adapters=len(self.adapters))
        others = graph.node("Where", best, graph.constant(0.0, np.float64), shares)
        left = total(graph, others, axis=1, keep=True)
        rest = graph.node("Sub", graph.constant(1.0, np.float64), left)
        return OnnxOutput(graph.node("Where", best, rest, others), "probabilities")


def inverse_gap(values: np.ndarray, allowed: np.ndarray, *, gamma: float) -> np.ndarray:
    """Weight adapters by the inverse of their gap to the best one.

    Parameters
    ----------
    values
        float64 (N, K), predicted rewards.
    allowed
        bool (N, K), every row with at least one True; the others get nothing.
    gamma
        Greed, at least 0; 0 is uniform.

    Returns
    -------
    np.ndarray
        float64 (N, K), rows sum to 1; the best (the first of equals) takes what the others leave.
    """
    rows = np.arange(len(values))
    masked = np.where(allowed, values, -np.inf)
    best = masked.argmax(axis=1)
    gaps = np.where(allowed, values[rows, best][:, None] - values, np.inf)
    shares = (
        1 / (allowed.sum(axis=1, keepdims=True) + gamma * gaps)
        if gamma
        else (allowed / allowed.sum(axis=1, keepdims=True))
    )
    shares[rows, best] = 0.0
    shares[rows, best] = 1 - shares.sum(axis=1)
    return shares
