"""Stacking: several routers' predictions, mixed by weights that held-out queries decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import nnls

from routing_gym.agents.agent import Feedback
from routing_gym.agents.forest import ForestAgent
from routing_gym.agents.gumbel import RegressionAgent
from routing_gym.agents.knn import KNNAgent
from routing_gym.agents.matrix_factorisation import MatrixFactorisationAgent
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.onnx_layers import mean, plus, times
from routing_gym.agents.ridge import RidgeAgent
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData

# each predicts a number per adapter; the mix does not mind their units
MEMBERS: dict[str, type[Any]] = {
    agent.name: agent
    for agent in (RidgeAgent, ForestAgent, KNNAgent, RegressionAgent, MatrixFactorisationAgent)
}
"""Name of a member -> class."""


@dataclass(frozen=True)
class StackingConfig:
    """Settings of the stack.

    Parameters
    ----------
    members
        Names in ``MEMBERS``, each once, at least one, with their default settings.
    folds
        Parts of the train split that are held out in turn, at least 2.
    blocks
        Widths of the embedding's parts where encoders were joined, summing to D, handed to the
        members that ask for them; empty means one part.
    """

    members: tuple[str, ...] = ("ridge", "forest", "knn")
    folds: int = 5
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.members if name not in MEMBERS]
        if unknown or not self.members or len(set(self.members)) < len(self.members):
            raise ValueError(
                f"members={self.members!r} must be names, each once, of {', '.join(MEMBERS)}."
            )
        if self.folds < 2:
            raise ValueError(f"folds={self.folds} is too small: give at least 2.")
        if any(width < 1 for width in self.blocks):
            raise ValueError(f"blocks={self.blocks} must all be widths of at least 1.")


class StackingAgent(ValueAgent):
    r"""Predict each adapter's reward as a weighted sum of what other routers predict.

    Wolpert, *Stacked generalization* (Neural Networks 1992), with Breiman's weights (*Stacked
    regressions*, Machine Learning 1996, section 2):

    .. math:: \hat w = \arg\min_{w \ge 0} \sum_i \sum_a \left( \tilde r_{ia} -
        \sum_m w_m \tilde f_m^{(-i)}(x_i, a) \right)^2,

    where :math:`f_m^{(-i)}` is member m trained without the fold of query i, so that a member which
    learns by heart earns no weight. The members are then trained on the whole train split. Changed:
    the tilde takes from rewards and predictions alike each adapter's mean train reward and then
    each query's mean, as only differences between adapters decide; with no weight at all the best
    single adapter is left. Validation chooses the members' own settings, never the weights.
    """

    name: ClassVar[str] = "stacking"
    feedback: ClassVar[Feedback] = "full"
    config_class: ClassVar[type[Any]] = StackingConfig
    config: StackingConfig

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the predicted rewards up to a number per query."""
        observations = self._checked(observations)
        predictions = np.stack([member.values(observations) for member in self._members])
        mixed = np.tensordot(self._weights, _advantages(predictions, self._mean), axes=1)
        return np.asarray(self._mean + mixed)

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add every member and the mixture to a graph."""
        mixed = graph.constant(self._mean, np.float64)
        for weight, member in zip(self._weights, self._members, strict=True):
            values = plus(graph, member.values_to_onnx(graph, observations), -self._mean)
            centre = mean(graph, values, axis=1, count=len(self.adapters), keep=True)
            advantages = graph.node("Sub", values, centre)
            mixed = graph.node("Add", mixed, times(graph, advantages, weight))
        return mixed

    def weights(self) -> dict[str, float]:
        """Return how much each member counts."""
        return dict(zip(self.config.members, self._weights.tolist(), strict=True))

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Predict every fold without it, weigh the members by that, and train them on all."""
        if len(train) < self.config.folds:
            raise ValueError(
                f"folds={self.config.folds} need as many train queries, there are {len(train)}: "
                "give fewer folds."
            )
        self._mean = train.rewards.mean(axis=0, dtype=np.float64)
        held_out = np.empty((len(self.config.members), *train.rewards.shape))
        order = np.random.default_rng(seed).permutation(len(train))
        for fold in np.array_split(order, self.config.folds):
            rest = train.take(np.setdiff1d(order, fold))
            for predicted, member in zip(held_out, self._make(), strict=True):
                member.train(rest, validation=validation, seed=seed)
                predicted[fold] = member.values(train.observations[fold])
        self._weights = stacking_weights(held_out, train.rewards, self._mean)
        self._members = self._make()
        for member in self._members:
            member.train(train, validation=validation, seed=seed)

    def _make(self) -> list[ValueAgent]:
        """Make untrained members."""
        members = []
        for name in self.config.members:
            takes_blocks = hasattr(MEMBERS[name].config_class(), "blocks")
            options = {"blocks": self.config.blocks} if takes_blocks else {}
            members.append(MEMBERS[name](**options))
        return members

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the weights and every member's state."""
        values: dict[str, Any] = {}
        arrays = {"mean": self._mean, "weights": self._weights}
        for member in self._members:
            values[member.name], own = member._state()
            arrays |= {f"{member.name}/{key}": value for key, value in own.items()}
        return values, arrays

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take them back."""
        self._mean, self._weights = arrays["mean"], arrays["weights"]
        self._members = self._make()
        for member in self._members:
            member.adapters, member.num_features = self.adapters, self.num_features
            prefix = f"{member.name}/"
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            member._restore(values[member.name], own)


def stacking_weights(predictions: np.ndarray, rewards: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Find the weights that explain the adapters' differences best, none of them negative.

    Parameters
    ----------
    predictions
        float64 (M, N, K), of M members on queries that they have not seen.
    rewards
        float (N, K), what the adapters earned there.
    mean
        float64 (K,), the adapters' mean rewards, which the weights do not touch.

    Returns
    -------
    np.ndarray
        float64 (M,).
    """
    columns = _advantages(predictions, mean).reshape(len(predictions), -1).T
    return np.asarray(nnls(columns, _advantages(rewards, mean).ravel())[0])


def _advantages(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Take the adapters' means (K,) and then each query's mean from values (..., N, K)."""
    values = values - mean
    return np.asarray(values - values.mean(axis=-1, keepdims=True))
