"""Epsilon-greedy: the best prediction, but now and then any adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import (
    best_of,
    require_not_negative,
    require_positive,
    require_share,
)
from routing_gym.agents.ridge_bandit import RidgeBandit, RidgeConfig


@dataclass(frozen=True)
class EpsilonGreedyConfig(RidgeConfig):
    """Settings of epsilon-greedy, beside those of its regressions.

    Parameters
    ----------
    epsilon
        Share of decisions that are uniform at the start, in [0, 1].
    horizon
        Outcomes after which the share begins to fall, above 0.
    decay
        Power of its fall, at least 0; 0 keeps it constant, 1/3 is the worst case's rate.
    """

    epsilon: float = 1.0
    horizon: float = 30.0
    decay: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_share(self, "epsilon")
        require_not_negative(self, "decay")
        require_positive(self, "horizon")

    def share(self, outcomes: int) -> float:
        """Return the share of uniform decisions after so many outcomes."""
        return self.epsilon * (1 + outcomes / self.horizon) ** -self.decay


class EpsilonGreedyAgent(RidgeBandit):
    r"""Take the best prediction with probability 1 - epsilon, else any adapter.

    .. math:: \pi_t(a | x) = (1 - \epsilon_t) [a = \arg\max_b \hat\theta_b^\top x] + \epsilon_t / K,
        \qquad \epsilon_t = \epsilon_0 (1 + t / h)^{-p}.

    Auer, Cesa-Bianchi and Fischer, *Finite-time analysis of the multiarmed bandit problem* (Machine
    Learning 2002), figure 3, with their falling :math:`\epsilon_t`; contexts and the power 1/3
    after Langford and Zhang, *The epoch-greedy algorithm* (NeurIPS 2007). Changed: predictions are
    ridge regressions per adapter, and exploring outcomes are learned from like all others. The
    trained policy takes the best prediction.
    """

    name: ClassVar[str] = "epsilon_greedy"
    config_class: ClassVar[type[Any]] = EpsilonGreedyConfig
    config: EpsilonGreedyConfig

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Mix the greedy choice with the uniform one."""
        epsilon = self.config.share(self.outcomes)
        greedy = best_of(self._estimates(contexts), allowed)
        return (1 - epsilon) * greedy + epsilon * allowed / allowed.sum(axis=1, keepdims=True)
