"""What the linear bandits share: one exact ridge regression per adapter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import BanditConfig, Outcomes, ValueBandit, require_positive
from routing_gym.agents.disjoint_ridge import DisjointRidge
from routing_gym.agents.online_bandit import OnlineBandit
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import product


@dataclass(frozen=True)
class RidgeConfig(BanditConfig):
    """Settings of the regressions, beside those of every bandit.

    Parameters
    ----------
    ridge
        Penalty of the regressions, above 0.
    prior
        Reward that an adapter is expected to bring before it was asked; the middle of the rewards'
        range by default. Where it lies below what adapters really bring, a learner that is not
        curious enough stays with the first one that it tried.
    """

    ridge: float = 1.0
    prior: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "ridge")
        if not math.isfinite(self.prior):
            raise ValueError(f"prior={self.prior} is not finite: give a reward, such as 0.5.")


class RidgeBandit(OnlineBandit, ValueBandit):
    """A bandit whose predictions are those of `DisjointRidge`."""

    config_class: ClassVar[type[Any]] = RidgeConfig
    config: Any

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Start from the prior."""
        config = self.config
        self._model = DisjointRidge(
            len(self.adapters), width, ridge=config.ridge, prior=config.prior
        )

    def _estimates(self, contexts: np.ndarray) -> np.ndarray:
        """Return the ridge predictions."""
        return self._model.predict(contexts)

    def estimates_to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add the ridge predictions to a graph."""
        return product(graph, contexts, self._model.weights.T)

    def _learn(self, batch: Outcomes) -> None:
        """Update the regressions of the chosen adapters."""
        self._model.update(batch.contexts, batch.actions, batch.rewards)

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Update the regression of the chosen adapter; the propensity does not matter to it."""
        self._model.absorb_one(action, context, reward)
        self.outcomes += 1

    def learn_many(
        self,
        contexts: np.ndarray,
        actions: np.ndarray,
        *,
        rewards: np.ndarray,
        propensities: np.ndarray,
    ) -> None:
        """Update the regressions of the chosen adapters."""
        self._model.update(contexts, actions, rewards)
        self.outcomes += len(actions)

    def _learned(self) -> dict[str, np.ndarray]:
        """Return the regressions."""
        return self._model.arrays()

    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the regressions back."""
        self._model = DisjointRidge.from_arrays(arrays)
