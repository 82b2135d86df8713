"""What a rule is: the base class of the policies that play a sequential scenario by formula."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from routing_gym.envs.scenario import Scenario

Self = TypeVar("Self", bound="ScenarioPolicy")


class ScenarioPolicy(ABC):
    """Decides for L lanes of a scenario at once, from what the lanes observe.

    A rule plays on data whose observations are predictions: the first K columns are the value
    that each adapter's answer is expected to have, the next K, where a rule says that it needs
    them, the expected cost. So rules and learned policies see the same input. `bind`, then
    `begin`, then `act` and `learn` in turn.

    Attributes
    ----------
    name
        What the rule is called in every result.
    privileged
        Whether it reads outcomes that no answer has been paid for: a yardstick, not a competitor.
    grid
        The values of its parameter to tune over on validation, each given as the constructor's
        first argument; empty for a rule without a parameter.
    needs
        Groups of K columns that the observations must begin with: 1 for values, 2 for values
        and costs, 0 for neither.
    num_lanes
        L, since `begin`.
    num_adapters
        K, since `bind`.
    width
        D, the number of an observation's entries before the scenario's state, since `bind`.
    """

    name: ClassVar[str]
    privileged: ClassVar[bool] = False
    grid: ClassVar[tuple[float, ...]] = ()
    needs: ClassVar[int] = 0

    num_lanes: int = 0
    num_adapters: int = 0
    width: int = 0

    def bind(self: Self, scenario: Scenario) -> Self:
        """Learn the shape of what is observed; privileged rules keep the scenario itself.

        Parameters
        ----------
        scenario
            Whose lanes are played.

        Returns
        -------
        ScenarioPolicy
            The same rule.

        Raises
        ------
        ValueError
            If the observations have too few columns for the predictions that the rule needs.
        """
        self.num_adapters = scenario.num_adapters
        self.width = scenario.embeddings.shape[1]
        if self.width < self.needs * self.num_adapters:
            raise ValueError(
                f"rule {self.name!r} needs {self.needs} columns per adapter, so "
                f"{self.needs * self.num_adapters} of predictions, and the observations have "
                f"{self.width}: play it on data whose observations are predicted values"
                f"{' and costs' if self.needs > 1 else ''}."
            )
        self._positions = {name: self.width + i for i, name in enumerate(scenario.state_names)}
        self._scenario = scenario if self.privileged else None
        return self

    def begin(self, lanes: int) -> None:
        """Forget everything; L lanes begin their episodes."""
        self.num_lanes = lanes

    @abstractmethod
    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Choose one action per lane.

        Parameters
        ----------
        observations
            float32 (L, D + S).
        masks
            bool (L, A), True where an action is allowed.

        Returns
        -------
        np.ndarray
            int64 (L,), each allowed.
        """

    def learn(  # noqa: B027 - most rules have nothing to learn
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Take in what a step brought; most rules ignore it.

        Parameters
        ----------
        observations
            float32 (L, D + S), what `act` saw.
        actions
            int64 (L,), what it chose.
        rewards
            float64 (L,).
        ended
            bool (L,), lanes whose next observation begins another episode.
        info
            Of the vector environment's step.
        """

    @property
    def scenario(self) -> Any:
        """The scenario that is played, for privileged rules.

        Raises
        ------
        RuntimeError
            If the rule is not privileged, or not bound.
        """
        if getattr(self, "_scenario", None) is None:
            raise RuntimeError(
                f"rule {self.name!r} sees no scenario: set privileged = True and call bind first."
            )
        return self._scenario

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return the predicted values, float64 (L, K)."""
        return observations[:, : self.num_adapters].astype(np.float64)

    def costs(self, observations: np.ndarray) -> np.ndarray:
        """Return the predicted costs, float64 (L, K), none below 0."""
        columns = observations[:, self.num_adapters : 2 * self.num_adapters]
        return np.maximum(columns.astype(np.float64), 0.0)

    def state(self, observations: np.ndarray, name: str) -> np.ndarray:
        """Return an entry of the scenario's state by its name, float64 (L,).

        Raises
        ------
        ValueError
            If the scenario has no such entry.
        """
        if name not in self._positions:
            raise ValueError(f"state {name!r} is none of {', '.join(self._positions)}.")
        return observations[:, self._positions[name]].astype(np.float64)

    def states(self, observations: np.ndarray, group: str) -> np.ndarray:
        """Return the K entries ``group_<adapter>`` of the state, float64 (L, K), in their order."""
        found = [at for name, at in self._positions.items() if name.startswith(f"{group}_")]
        if len(found) != self.num_adapters:
            raise ValueError(f"state has {len(found)} entries {group}_*, not {self.num_adapters}.")
        return observations[:, found].astype(np.float64)


def best_allowed(scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Take the allowed action of the highest score, the first of equals.

    Parameters
    ----------
    scores
        float (L, A).
    masks
        bool (L, A), at least one True per lane.

    Returns
    -------
    np.ndarray
        int64 (L,).
    """
    return np.where(masks, scores, -np.inf).argmax(axis=1)


def require_parameter(rule: str, name: str, value: float) -> float:
    """Return a rule's parameter, a finite number of at least 0.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}={value} of rule {rule!r} must be finite and at least 0.")
    return float(value)
