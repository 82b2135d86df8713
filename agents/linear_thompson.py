"""Linear Thompson sampling: act on one draw from what is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import require_positive
from routing_gym.agents.ridge_bandit import RidgeBandit, RidgeConfig
from routing_gym.agents.thompson import best_draw_probabilities


@dataclass(frozen=True)
class LinearThompsonConfig(RidgeConfig):
    """Settings of linear Thompson sampling, beside those of its regressions.

    Parameters
    ----------
    noise
        Standard deviation of the posterior draws at unit covariance (the paper's v), above 0.
    """

    noise: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "noise")


class LinearThompsonAgent(RidgeBandit):
    r"""Draw each adapter's parameters from their posterior and take the best under the draw.

    Agrawal and Goyal, *Thompson sampling for contextual bandits with linear payoffs* (ICML 2013),
    algorithm 1:

    .. math:: \tilde\theta_a \sim N(\hat\theta_a, v^2 B_a^{-1}), \qquad
        a_t = \arg\max_a x_t^\top \tilde\theta_a.

    Changed: every adapter has parameters of its own, where the paper shares one vector between
    arms with contexts of their own; :math:`B_a` starts at :math:`\lambda I` and
    :math:`\hat\theta_a` at a ``prior`` reward; outcomes arrive in batches. Every query has a draw
    of its own. Its values :math:`x^\top \tilde\theta_a` are independent normals, so that the
    probability of each adapter is a one-dimensional integral (`best_draw_probabilities`); the
    adapter is drawn from these probabilities, and the propensities are thereby exact. The trained
    policy takes the best posterior mean.
    """

    name: ClassVar[str] = "linear_thompson"
    config_class: ClassVar[type[Any]] = LinearThompsonConfig
    config: LinearThompsonConfig

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return the probability that each adapter's draw is the highest."""
        scales = self.config.noise * self._model.spread(contexts)
        return best_draw_probabilities(self._estimates(contexts), scales, allowed)
