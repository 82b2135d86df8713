"""NeuralTS: Thompson sampling around a network's prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import require_positive
from routing_gym.agents.neural_ucb import GradientBandit
from routing_gym.agents.thompson import best_draw_probabilities
from routing_gym.agents.value_network import ReplayConfig


@dataclass(frozen=True)
class NeuralTSConfig(ReplayConfig):
    r"""Settings of NeuralTS, beside those of its network.

    Parameters
    ----------
    noise
        Factor on the standard deviation of the draws (the paper's :math:`\nu`), above 0.
    ridge
        :math:`\lambda`, where the matrix of gradients starts, above 0.
    """

    noise: float = 1.0
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "noise", "ridge")


class NeuralTSAgent(GradientBandit):
    r"""Draw each adapter's reward around a network's prediction and take the best draw.

    Zhang, Zhou, Li and Gu, *Neural Thompson sampling* (ICLR 2021), algorithm 1:

    .. math:: \tilde r_a \sim N(f_a(x_t; \theta), \nu^2 \sigma_a^2), \qquad
        \sigma_a^2 = \lambda\, g_a^\top Z^{-1} g_a / H, \qquad a_t = \arg\max_a \tilde r_a.

    Changed as in `NeuralUCBAgent`: Z is diagonal, one network has an output per adapter, and it is
    trained on by AdamW with dropout. Adapters are drawn from the exact probabilities of the highest
    draw (`best_draw_probabilities`). The trained policy takes the highest prediction.
    """

    name: ClassVar[str] = "neural_ts"
    config_class: ClassVar[type[Any]] = NeuralTSConfig
    config: NeuralTSConfig

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return the probability that each adapter's draw is the highest."""
        scales = self.config.noise * np.sqrt(self.config.ridge) * self._spread(contexts)
        return best_draw_probabilities(self._estimates(contexts), scales, allowed)
