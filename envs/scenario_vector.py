"""The native vector environment of a scenario: L lanes in one numpy step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import Scenario, make_scenario
from routing_gym.envs.scenario_env import refuse_masked
from routing_gym.envs.source import routing_data
from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import RewardFunction


class ScenarioVectorEnv(VectorEnv[Any, Any, np.ndarray]):
    """L lanes of a scenario; lane i with seed s + i is the scalar environment with that seed.

    It returns what ``SyncVectorEnv`` over L scalar environments returns with
    ``AutoresetMode.SAME_STEP``, without a loop over the lanes. Where an episode ends, the returned
    observation is that of the next episode; the last one is in ``info["final_obs"]`` and its info
    in ``info["final_info"]``, with their ``_name`` masks. No returned array is ever reused.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    table, data, split, reward
        As for `routing_gym.envs.routing.RoutingEnv`.
    render_mode
        ``None``; lanes are not rendered.
    lean
        Leaves the names of queries out of info, which cost more than the rest of a step.
    **options
        The scenario's own.

    Raises
    ------
    ValueError
        If there is no lane, a render mode is asked for, or an argument is invalid.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    scenario_class: ClassVar[type[Scenario]]

    def __init__(
        self,
        num_envs: int = 1,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        render_mode: str | None = None,
        lean: bool = False,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1.")
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r}: render the scalar environment instead.")
        priced = routing_data(table, data=data, split=split, reward=reward)
        self.scenario = scenario = make_scenario(self.scenario_class, priced, options)
        scenario.lean = lean
        scenario.allocate(num_envs)
        self.num_envs = num_envs
        self.single_observation_space = scenario.observation_space
        self.single_action_space = scenario.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._lanes = np.arange(num_envs, dtype=np.int64)
        self._streams = LaneStreams(num_envs)
        self._num_actions = int(scenario.action_space.n)
        self._running = False

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K; the first K actions choose them."""
        return self.scenario.data.adapters

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed now: bool (L, A)."""
        return self.scenario.masks().copy()

    def reset(  # type: ignore[override]
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode on every lane.

        Parameters
        ----------
        seed
            An integer s gives lane i the sequence of seed s + i; a sequence gives each lane its
            own seed (``None`` continues); ``None`` continues all.
        options
            ``{"reset_mask": bool (L,)}`` resets only the lanes that it marks.

        Returns
        -------
        tuple
            Observations (L, ...) and info.

        Raises
        ------
        ValueError
            If there are not L seeds, or the mask is not bool (L,) with a lane to reset.
        """
        mask = self._reset_mask(options or {})
        if seed is None or isinstance(seed, (int, np.integer)):
            super().reset(seed=None if seed is None else int(seed))
        if not self._running:
            self._streams.seed(int(self.np_random.integers(2**63)))
        if seed is not None:
            self._streams.seed(seed, mask)
        self.scenario.start(self._lanes[mask], self._streams)
        self._running = True
        info = self._batched(self.scenario.context(self._lanes), mask)
        return self.scenario.observe(self._lanes), info

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action on every lane; lanes whose episode ends begin the next one.

        Parameters
        ----------
        actions
            integers (L,), each allowed by `action_masks`.

        Returns
        -------
        tuple
            Next observations (L, ...), rewards float64 (L,) or (L, M), terminated, truncated, info.

        Raises
        ------
        ValueError
            If the actions are not L integers from 0 to A - 1, or one is not allowed now.
        gymnasium.error.ResetNeeded
            Before the first reset.
        """
        if not self._running:
            raise gym.error.ResetNeeded("no episode is running: call reset() first.")
        actions = self._checked(actions)
        done = self.scenario.advance(actions, self._streams)
        ended = done.terminated | done.truncated
        going = ~ended
        info = self._batched(dict(done.info), going) if going.any() else {}
        if ended.any():
            lanes = self._lanes[ended]
            last = self._blank_observations()
            last[ended] = self.scenario.observe(lanes)
            final = self._batched(dict(done.info), ended)
            self.scenario.start(lanes, self._streams)
            fresh = _spread(self.scenario.context(lanes), lanes, self.num_envs)
            info = _merged(info, self._batched(fresh, ended))
            info |= {"final_obs": last, "_final_obs": ended.copy()}
            info |= {"final_info": final, "_final_info": ended.copy()}
        observations = self.scenario.observe(self._lanes)
        return observations, done.rewards.copy(), done.terminated, done.truncated, info

    def _blank_observations(self) -> np.ndarray:
        """Return zeros in the shape of all lanes' observations."""
        return np.zeros(self.observation_space.shape or (), dtype=np.float32)

    def _reset_mask(self, options: dict[str, Any]) -> np.ndarray:
        """Read which lanes to reset: all, unless the options say otherwise."""
        mask = options.get("reset_mask")
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"options['reset_mask']={mask!r} must be a bool array with a True in it."
            )
        if mask.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask'] has shape {mask.shape}, not (L,) = ({self.num_envs},)."
            )
        if not self._running and not mask.all():
            raise ValueError(
                "options['reset_mask'] leaves out lanes at the first reset: reset all."
            )
        return mask

    def _batched(self, values: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
        """Pair every array with its mask, and blank what the mask leaves out."""
        batch: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, dict):
                value = self._batched(value, mask)
            elif not mask.all():
                value = value.copy()
                value[~mask] = None if value.dtype == object else 0
            batch[name], batch[f"_{name}"] = value, mask.copy()
        return batch

    def _checked(self, actions: Any) -> np.ndarray:
        """Read actions as int64 (L,), or say what is wrong with them."""
        array = np.asarray(actions)
        if array.shape != (self.num_envs,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"actions have shape {array.shape} and dtype {array.dtype}, "
                f"not integers ({self.num_envs},), one per lane."
            )
        count = self._num_actions
        if array.min() < 0 or array.max() >= count:
            lane = int(np.argmax((array < 0) | (array >= count)))
            raise ValueError(
                f"action={array[lane]} of lane {lane} must be from 0 to {count - 1}: "
                f"{', '.join(self.scenario.action_names)}."
            )
        array = array.astype(np.int64)
        refuse_masked(self.scenario, array)
        return array


def _spread(values: dict[str, Any], lanes: np.ndarray, num_lanes: int) -> dict[str, Any]:
    """Put arrays (M,) of some lanes into arrays (L,) of all."""
    spread: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            spread[name] = _spread(value, lanes, num_lanes)
        else:
            spread[name] = np.zeros((num_lanes, *value.shape[1:]), dtype=value.dtype)
            spread[name][lanes] = value
    return spread


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Join the infos of two disjoint groups of lanes."""
    merged = dict(first)
    for name, value in second.items():
        if name.startswith("_"):
            merged[name] = first[name] | value if name in first else value
        elif name not in first:
            merged[name] = value
        elif isinstance(value, dict):
            merged[name] = _merged(first[name], value)
        else:
            mask = second[f"_{name}"]
            merged[name] = first[name].copy()
            merged[name][mask] = value[mask]
    return merged
