"""LinUCB: a ridge regression per adapter, and a bonus for what it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import best_of, require_not_negative
from routing_gym.agents.ridge_bandit import RidgeBandit, RidgeConfig


@dataclass(frozen=True)
class LinUCBConfig(RidgeConfig):
    """Settings of LinUCB, beside those of its regressions.

    Parameters
    ----------
    alpha
        Width of the confidence bound in standard errors at unit noise, at least 0; 0 is greedy.
    """

    alpha: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "alpha")


class LinUCBAgent(RidgeBandit):
    r"""Take the adapter with the highest upper confidence bound on its reward.

    Li, Chu, Langford and Schapire, *A contextual-bandit approach to personalized news article
    recommendation* (WWW 2010), algorithm 1, disjoint models:

    .. math:: a_t = \arg\max_a \hat\theta_a^\top x_t
        + \alpha \sqrt{x_t^\top (\lambda I + D_a^\top D_a)^{-1} x_t}.

    Changed: the penalty :math:`\lambda` is free instead of 1, and the regressions start from a
    ``prior`` reward instead of 0; outcomes arrive in batches, within which the bounds do not move;
    equal bounds are drawn between; and the covariance is updated by Woodbury's identity instead of
    inverted. The trained policy takes the highest prediction.
    """

    name: ClassVar[str] = "linucb"
    config_class: ClassVar[type[Any]] = LinUCBConfig
    config: LinUCBConfig

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Put all mass on the highest upper confidence bound."""
        return best_of(self._model.upper_bounds(contexts, alpha=self.config.alpha), allowed)

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Take the highest bound; where there are equals, all is left to the base class."""
        action, alone = self._model.highest_bound(context, alpha=self.config.alpha)
        return (action, 1.0) if alone else super().choose_one(context, rng=rng)

    def choose_many(
        self, contexts: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the highest bounds; where there are equals, all is left to the base class."""
        bounds = self._model.upper_bounds(contexts, alpha=self.config.alpha)
        actions = bounds.argmax(axis=1)
        best = bounds == bounds[np.arange(len(bounds)), actions][:, None]
        if np.count_nonzero(best) > len(bounds):
            return super().choose_many(contexts, rng=rng)
        return actions, best.astype(np.float64)
