"""The scalar Gymnasium environment of a scenario: one lane."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import Scenario, make_scenario
from routing_gym.envs.source import routing_data
from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import RewardFunction

_LANE = np.zeros(1, dtype=np.int64)


class AllowedActions(gym.spaces.Discrete):
    """Discrete(A) whose samples are actions that the scenario's only lane allows now.

    It equals ``Discrete(A)`` and contains the same actions; random play and the checkers of
    Gymnasium and Stable-Baselines3, which sample it, take no forbidden action.

    Parameters
    ----------
    scenario
        Of one lane.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(int(scenario.action_space.n))
        self._scenario = scenario

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """Draw an action: uniform over those allowed now, unless a mask or probabilities are given.

        Parameters
        ----------
        mask
            int8 (A,), 1 where an action may be drawn; None takes the scenario's own.
        probability
            float64 (A,), summing to 1, in the place of a mask.
        """
        if mask is None and probability is None:
            allowed = self._scenario.masks()[0]
            mask = None if allowed.all() else allowed.astype(np.int8)
        return super().sample(mask, probability)


class ScenarioEnv(gym.Env[Any, Any]):
    """One lane of a scenario; each scenario's own subclass is its page of documentation.

    Parameters
    ----------
    table, data, split, reward
        As for `routing_gym.envs.routing.RoutingEnv`.
    render_mode
        ``None``, or ``"ansi"`` for one line of text per `render()`.
    **options
        The scenario's own.

    Raises
    ------
    ValueError
        If the render mode or an option is unknown, or an argument is invalid.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 4}  # type: ignore[misc]
    scenario_class: ClassVar[type[Scenario]]

    def __init__(
        self,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} must be None or 'ansi'.")
        priced = routing_data(table, data=data, split=split, reward=reward)
        self.scenario = make_scenario(self.scenario_class, priced, options)
        self.scenario.allocate(1)
        self.observation_space = self.scenario.observation_space
        self.action_space = AllowedActions(self.scenario)
        self.render_mode = render_mode
        self._streams = LaneStreams(1)
        self._seeded = self._running = False
        self._shown = ""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K; the first K actions choose them."""
        return self.scenario.data.adapters

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed now: bool (A,)."""
        return self.scenario.masks()[0].copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Parameters
        ----------
        seed
            Starts the sequence of this seed anew; ``None`` continues the present one.
        options
            Not used.

        Returns
        -------
        tuple
            Observation and info.
        """
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._streams.seed(self.np_random_seed if seed is None else seed)
            self._seeded = True
        self.scenario.start(_LANE, self._streams)
        self._running = True
        info = first_lane(self.scenario.context(_LANE))
        self._shown = f"new episode: {info}"
        return self.scenario.observe(_LANE)[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action.

        Parameters
        ----------
        action
            0 <= action < A, allowed by `action_masks`.

        Returns
        -------
        tuple
            Observation, reward (a float, or float64 (M,) where it is a vector), terminated,
            truncated, info.

        Raises
        ------
        ValueError
            If the action is not one of the A, or not allowed now.
        gymnasium.error.ResetNeeded
            Before the first reset and after an episode's end.
        """
        if not self._running:
            raise gym.error.ResetNeeded("no episode is running: call reset() first.")
        if not self.action_space.contains(action):
            names = self.scenario.action_names
            raise ValueError(
                f"action={action!r} must be an integer from 0 to {len(names) - 1}: "
                f"{', '.join(names)}."
            )
        refuse_masked(self.scenario, np.array([action], dtype=np.int64))
        done = self.scenario.advance(np.array([action], dtype=np.int64), self._streams)
        terminated, truncated = bool(done.terminated[0]), bool(done.truncated[0])
        self._running = not (terminated or truncated)
        info = first_lane(dict(done.info))
        reward = done.rewards[0]
        reward = float(reward) if done.rewards.ndim == 1 else reward.copy()
        self._shown = f"{self.scenario.action_names[int(action)]}: reward {reward}, {info}"
        return self.scenario.observe(_LANE)[0], reward, terminated, truncated, info

    def render(self) -> str | None:  # type: ignore[override]
        """Say in one line what happened last; ``None`` without a render mode."""
        return self._shown if self.render_mode is not None and self._shown else None


def refuse_masked(scenario: Scenario, actions: np.ndarray) -> None:
    """Refuse actions that are not allowed now, and masks that allow nothing.

    Parameters
    ----------
    scenario
        At its present state.
    actions
        int64 (L,).

    Raises
    ------
    ValueError
        Naming the lane, the action and what is allowed.
    """
    masks = scenario.masks()
    if masks.all():
        return
    if not masks.any(axis=1).all():
        lane = int(np.argmin(masks.any(axis=1)))
        raise ValueError(f"lane {lane} has no valid action: the scenario's options contradict.")
    taken = masks[np.arange(len(actions)), actions]
    if not taken.all():
        lane = int(np.argmin(taken))
        names = scenario.action_names
        allowed = ", ".join(names[i] for i in np.flatnonzero(masks[lane]))
        raise ValueError(
            f"action={actions[lane]} ({names[actions[lane]]}) of lane {lane} is not allowed now: "
            f"choose among {allowed} (see action_masks)."
        )


def first_lane(values: dict[str, Any]) -> dict[str, Any]:
    """Take lane 0 of an info: Python numbers, texts and arrays in the place of (L,) arrays."""
    taken: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            taken[name] = first_lane(value)
        else:
            taken[name] = value[0].item() if isinstance(value[0], np.generic) else value[0]
    return taken
