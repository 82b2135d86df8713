"""What a sequential scenario is: the dynamics of L lanes, from which every kind of env is made.

A scenario writes its rules once, over arrays with one row per lane. `routing_gym.envs.scenario_env`
makes the scalar Gymnasium environment of it (one lane), `routing_gym.envs.scenario_vector` the
native vector environment, and `routing_gym.envs.scenario_sb3` what Stable-Baselines3 takes.
"""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.streams import LaneStreams

_JOIN_BYTES = 2**28  # embeddings up to this size are kept a second time, with room for the state


@dataclass(frozen=True)
class Transition:
    """What one step of all lanes brought.

    Parameters
    ----------
    rewards
        float64 (L,), or (L, M) where the reward is a vector.
    terminated, truncated
        bool (L,), the lanes whose episodes end with this step.
    info
        Name -> array (L,) of float64, int64 or object, or a dictionary of such.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: Mapping[str, Any] = field(default_factory=dict)


class Scenario(ABC):
    """The rules of a decision problem over a priced split, for L lanes at once.

    Subclasses keep their state in arrays whose first axis is the lane, made in ``allocate``.
    Nothing that was computed from an answer that has not been paid for may enter ``observe``.

    Parameters
    ----------
    data
        The priced split.

    Attributes
    ----------
    data
        The same.
    quantities
        Names in ``info`` (of ``advance``) that tell how the scenario goes, for curves: float64 or
        int64 (L,) each. Their mean over steps is what is shown.
    episode_quantities
        Those among them of which the value at an episode's end is what is shown.
    state_names
        What the entries of an observation after the embedding are, in their order.
    lean
        Whether ``named`` leaves out the names of queries, which cost more than the rest of a step.
    """

    quantities: ClassVar[tuple[str, ...]] = ()
    episode_quantities: ClassVar[tuple[str, ...]] = ()
    state_names: tuple[str, ...] = ()

    def __init__(self, data: RoutingData) -> None:
        self.data = data
        self.num_queries, self.num_adapters = data.rewards.shape
        self.num_lanes = 0
        self.lean = False
        self.embeddings = np.ascontiguousarray(data.observations, dtype=np.float32)
        self._joined: np.ndarray | None = None
        self._names_of_queries: dict[str, np.ndarray] = {}

    @property
    @abstractmethod
    def observation_space(self) -> gym.spaces.Box:
        """A float32 Box (D + S,): the embedding first, then the scenario's state."""

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """Discrete(K), the adapters; scenarios with further actions append them."""
        return gym.spaces.Discrete(self.num_adapters)

    @property
    def action_names(self) -> tuple[str, ...]:
        """What each action is called, the adapters first."""
        return self.data.adapters

    @abstractmethod
    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes and set ``num_lanes``; no episode has begun."""

    @abstractmethod
    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Begin new episodes on these lanes, int64 (M,), drawing from their streams."""

    @abstractmethod
    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Return what these lanes see, float32 (M, D + S), a fresh array."""

    @abstractmethod
    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Take one step on every lane.

        Parameters
        ----------
        actions
            int64 (L,), each allowed by `masks`.
        streams
            Where the lanes draw from.

        Returns
        -------
        Transition
            Of the step. Lanes whose episodes end keep their last state until `start`.
        """

    @abstractmethod
    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Return the info that comes with `observe`: name -> array (M,)."""

    def masks(self) -> np.ndarray:
        """Say which actions are allowed now: bool (L, A), at least one True per lane."""
        return np.ones((self.num_lanes, int(self.action_space.n)), dtype=np.bool_)

    def join(self, rows: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Put embeddings and state side by side, copying the embeddings once.

        Parameters
        ----------
        rows
            int64 (M,), query numbers.
        state
            (M, S), what follows the embedding.

        Returns
        -------
        np.ndarray
            float32 (M, D + S), fresh.
        """
        width = self.embeddings.shape[1]
        if self.embeddings.nbytes > _JOIN_BYTES:  # too large to keep a second time
            return np.concatenate([self.embeddings[rows], state.astype(np.float32)], axis=1)
        if self._joined is None or self._joined.shape[1] != width + state.shape[1]:
            padding = np.zeros((self.num_queries, state.shape[1]), dtype=np.float32)
            self._joined = np.concatenate([self.embeddings, padding], axis=1)
        joined = self._joined.take(rows, axis=0)
        joined[:, width:] = state
        return joined

    def named(self, rows: np.ndarray) -> dict[str, Any]:
        """Name queries: ``query_id``, ``task``, ``domain`` (object) and ``complexity`` (int64).

        Nothing where ``lean`` is set.
        """
        if self.lean:
            return {}
        if not self._names_of_queries:  # text made into objects once, not at every step
            self._names_of_queries = {
                "query_id": self.data.query_ids.astype(object),
                "task": self.data.tasks.astype(object),
                "domain": self.data.domains.astype(object),
                "complexity": self.data.complexity.astype(np.int64),
            }
        return {name: values.take(rows) for name, values in self._names_of_queries.items()}

    def box(self, low: list[float], high: list[float]) -> gym.spaces.Box:
        """Make the observation space: the embedding's bounds, then those of the state's entries."""
        bound = 2.0 ** np.ceil(np.log2(max(1.0, float(np.abs(self.embeddings).max()))))
        width = self.embeddings.shape[1]
        return gym.spaces.Box(
            np.array([-bound] * width + low, dtype=np.float32),
            np.array([bound] * width + high, dtype=np.float32),
            dtype=np.float32,
        )

    def require_costs(self, *names: str) -> None:
        """Refuse a table in which a cost that the scenario is about was not measured.

        Raises
        ------
        ValueError
            Naming the cost and the remedy; also if a cell of it is not a finite number >= 0.
        """
        for name in names:
            if name not in self.data.costs:
                raise ValueError(
                    f"the table has no measured {name!r} (it has {sorted(self.data.costs)}): "
                    "collect it with scripts/collect_outcomes.py, or import a table with a cost "
                    "column."
                )
            faulty = ~(np.isfinite(self.data.costs[name]) & (self.data.costs[name] >= 0))
            if faulty.any():
                row, arm = np.argwhere(faulty)[0]
                raise ValueError(
                    f"costs[{name!r}] of query {str(self.data.query_ids[row])!r} with adapter "
                    f"{self.data.adapters[arm]!r} is {self.data.costs[name][row, arm]}, no "
                    "measured cost: repair that cell of the table."
                )


def make_scenario(
    scenario_class: type[Scenario], data: RoutingData, options: Mapping[str, Any]
) -> Scenario:
    """Build a scenario from options.

    Raises
    ------
    ValueError
        If an option is unknown; the nearest known one is named.
    """
    known = [name for name in inspect.signature(scenario_class).parameters if name != "data"]
    for option in options:
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(f"unknown option {option!r}: known are {', '.join(known)}{hint}")
    return scenario_class(data, **options)


def require_count(name: str, value: Any, *, least: int = 1, most: int | None = None) -> int:
    """Return an option that must be a whole number in a range.

    Raises
    ------
    ValueError
        Naming the option, its value and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name}={value!r} is a {type(value).__name__}: give a whole number.")
    if value < least or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}={value} is impossible here: give {allowed}.")
    return int(value)


def require_number(
    name: str, value: Any, *, low: float = 0.0, high: float = float("inf"), open_low: bool = False
) -> float:
    """Return an option that must be a real number in a range.

    Raises
    ------
    ValueError
        Naming the option, its value and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"{name}={value!r} is a {type(value).__name__}: give a number.")
    if not (low < value if open_low else low <= value) or not value <= high:
        bound = f"above {low}" if open_low else f"at least {low}"
        most = "" if high == float("inf") else f" and at most {high}"
        raise ValueError(f"{name}={value} is impossible here: give a number {bound}{most}.")
    return float(value)
