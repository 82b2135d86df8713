"""Rules for queries that come with weights: believe the weights, believe fixed ones, or cheat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy, best_allowed, require_parameter
from routing_gym.envs.preference import PreferenceScenario
from routing_gym.envs.preference_metrics import fixed_weights
from routing_gym.envs.scenario import Scenario

Self = TypeVar("Self", bound="_PreferenceRule")
Static = TypeVar("Static", bound="StaticWeights")


class _PreferenceRule(ScenarioPolicy):
    """A rule of `Preference-v0`; knows the metrics since `bind`."""

    reads_metrics: ClassVar[bool] = True

    def bind(self: Self, scenario: Scenario) -> Self:
        """Learn the metrics; see `ScenarioPolicy.bind`.

        Raises
        ------
        ValueError
            If the scenario has no weighted metrics, or the observations have not the M * K
            columns of predicted metrics that `predicted` reads.
        """
        if not isinstance(scenario, PreferenceScenario):
            raise ValueError(
                f"rule {self.name!r} weighs metrics, which {type(scenario).__name__} has not: "
                "play it on Preference-v0."
            )
        super().bind(scenario)
        self._metrics = scenario.metrics
        wanted = len(self._metrics) * self.num_adapters
        if self.reads_metrics and self.width < wanted:
            raise ValueError(
                f"rule {self.name!r} needs a column per metric and adapter, so {wanted} of "
                f"predictions, and the observations have {self.width}: play it on data whose "
                "observations are predicted metrics."
            )
        return self

    def predicted(self, observations: np.ndarray) -> np.ndarray:
        """Return the predicted metrics, float64 (L, M, K): K columns for each metric in turn."""
        columns = observations[:, : len(self._metrics) * self.num_adapters].astype(np.float64)
        return columns.reshape(len(columns), len(self._metrics), self.num_adapters)


class WeightedPredictions(_PreferenceRule):
    r"""Takes :math:`\arg\max_k \sum_m w_m \hat{v}_{mk}`: the best for the weights that it sees.

    With perfect predictions nothing is better; it has no parameter.
    """

    name = "weighted_predictions"

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Choose one action per lane; see `ScenarioPolicy.act`."""
        weights = np.stack(
            [self.state(observations, f"weight_{name}") for name in self._metrics], axis=1
        )
        scores = np.einsum("lm,lmk->lk", weights, self.predicted(observations))
        return best_allowed(scores, masks)


class StaticWeights(_PreferenceRule):
    """Weighs the predicted metrics alike for everybody, whatever weights it sees.

    What a service does that has one setting for all of its users.

    Parameters
    ----------
    weights
        The first metric's weight in [0, 1], of which the others share the rest evenly; or M
        weights, of which only proportions count.

    Raises
    ------
    ValueError
        If a weight is not a finite number of at least 0, or a single one above 1.
    """

    name = "static_weights"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

    def __init__(self, weights: float | Sequence[float]) -> None:
        if isinstance(weights, (int, float)):
            weights = require_parameter(self.name, "weights", weights)
            if weights > 1:
                raise ValueError(f"weights={weights} of rule {self.name!r} must be at most 1.")
        self.weights = weights
        self._shares = np.zeros(0)  # float64 (M,), since `bind`

    def bind(self: Static, scenario: Scenario) -> Static:
        """Spread the weights over the metrics; see `ScenarioPolicy.bind`.

        Raises
        ------
        ValueError
            Also if there are not M weights.
        """
        super().bind(scenario)
        if isinstance(self.weights, (int, float)):
            rest = (1.0 - self.weights) / (len(self._metrics) - 1)
            self._shares = np.array([self.weights, *[rest] * (len(self._metrics) - 1)])
        else:
            self._shares = fixed_weights(self.weights, self._metrics)
        return self

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Choose one action per lane; see `ScenarioPolicy.act`."""
        scores = np.einsum("m,lmk->lk", self._shares, self.predicted(observations))
        return best_allowed(scores, masks)


class PreferenceOracle(_PreferenceRule):
    """Takes the adapter whose measured metrics are best for the lane's weights; the bound."""

    name = "preference_oracle"
    privileged = True
    reads_metrics = False

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Choose one action per lane; see `ScenarioPolicy.act`."""
        return best_allowed(self.scenario.worth(), masks)
