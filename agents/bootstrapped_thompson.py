"""Bootstrapped Thompson sampling: act on one of many models, each of which saw other outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing_gym.agents.bandit import Outcomes, best_of, require_at_least, require_not_negative
from routing_gym.agents.disjoint_ridge import DisjointRidge
from routing_gym.agents.online_bandit import OnlineBandit
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import mean, product
from routing_gym.agents.ridge_bandit import RidgeBandit, RidgeConfig


@dataclass(frozen=True)
class BootstrappedThompsonConfig(RidgeConfig):
    """Settings of bootstrapped Thompson sampling, beside those of its regressions.

    Parameters
    ----------
    replicates
        Models per adapter, at least 1.
    prior_scale
        Standard deviation of the coefficients that the models start from, around ``prior``, at
        least 0. At 0 they all start alike, and agree until outcomes tell them apart.
    """

    replicates: int = 10
    prior_scale: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "replicates")
        require_not_negative(self, "prior_scale")


class BootstrappedThompsonAgent(RidgeBandit):
    r"""Follow one of J bootstrap replicates, drawn anew for each query.

    Eckles and Kaptein, *Thompson sampling with the online bootstrap* (arXiv:1410.4009, 2014),
    algorithm 2, double-or-nothing: each outcome enters each replicate with a weight
    :math:`w_j \in \{0, 2\}`, each with probability 1/2, so that the replicates' spread stands for
    the posterior's. Replicate j of adapter a is

    .. math:: \theta_{ja} = \arg\min_\theta \sum_{t: a_t = a} w_{tj} (r_t - x_t^\top \theta)^2
        + \lambda \lVert \theta - \theta_{ja}^0 \rVert^2, \qquad
        \theta_{ja}^0 \sim N(\rho e_1, s^2 I),

    with the random start of Osband, Aslanides and Cassirer, *Randomized prior functions for deep
    reinforcement learning* (NeurIPS 2018), around the prior :math:`\rho`. Changed: replicates are
    ridge regressions; the replicate is drawn per query, not per round. Propensities are the shares
    of replicates that agree. The trained policy takes the best mean prediction.
    """

    name: ClassVar[str] = "bootstrapped_thompson"
    config_class: ClassVar[type[Any]] = BootstrappedThompsonConfig
    config: BootstrappedThompsonConfig

    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Draw where every replicate starts."""
        self._rng = rng
        config, models = self.config, self.config.replicates * len(self.adapters)
        self._model = DisjointRidge(models, width, ridge=config.ridge, prior=config.prior)
        self._model.weights += config.prior_scale * rng.normal(size=(models, width))

    def _votes(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, J, K), each replicate's predictions."""
        shape = (len(contexts), self.config.replicates, len(self.adapters))
        return self._model.predict(contexts).reshape(shape)

    def _estimates(self, contexts: np.ndarray) -> np.ndarray:
        """Return the replicates' mean predictions."""
        return self._votes(contexts).mean(axis=1)

    def estimates_to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add the replicates' mean predictions to a graph."""
        replicates = self.config.replicates
        shape = graph.constant([-1, replicates, len(self.adapters)], np.int64)
        votes = graph.node("Reshape", product(graph, contexts, self._model.weights.T), shape)
        return mean(graph, votes, axis=1, count=replicates)

    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return the share of replicates that each adapter is the best of."""
        votes = self._votes(contexts)
        n, replicates, k = votes.shape
        spread = np.repeat(allowed, replicates, axis=0)
        return best_of(votes.reshape(-1, k), spread).reshape(n, replicates, k).mean(axis=1)

    # one row is no shorter way than `_learn` here, for it goes to several models
    learn_one = OnlineBandit.learn_one
    learn_many = OnlineBandit.learn_many

    def _learn(self, batch: Outcomes) -> None:
        """Give each outcome twice or not at all to each replicate."""
        taken = self._rng.random((self.config.replicates, len(batch.actions))) < 0.5
        double = np.sqrt(2.0)  # a row and its reward times the root of the weight
        contexts, rewards = double * batch.contexts, double * batch.rewards
        for replicate, rows in enumerate(taken):
            models = replicate * len(self.adapters) + batch.actions[rows]
            self._model.update(contexts[rows], models, rewards[rows])
