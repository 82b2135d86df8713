"""Many lanes of the routing environment in one numpy step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import Observation, RoutingDynamics, draw, stream_keys
from routing_gym.envs.source import routing_data
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import RewardFunction

InfoLevel = Literal["full", "light", "none"]
INFO_LEVELS: tuple[InfoLevel, ...] = ("full", "light", "none")


class RoutingVectorEnv(VectorEnv[Any, Any, np.ndarray]):
    """L lanes of `RoutingEnv`, stepped at once; lane i with seed s + i is that environment.

    It returns what ``SyncVectorEnv`` over L `RoutingEnv` returns with
    ``AutoresetMode.SAME_STEP``, without a loop over the lanes: a step answers every lane's query
    and draws every lane's next one. The observations are those of the next queries; what the
    answers were worth is in ``info["final_info"]`` (float64, int64 or object arrays (L,), each
    with its ``_name`` mask), and the answered queries' observations are in ``info["final_obs"]``
    (L, ...). No returned array is ever reused.

    All that is several times the cost of the step itself; ``info`` says how much of it is wanted.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    table, data, split, reward, observation
        As for `RoutingEnv`.
    render_mode
        ``None``; lanes are not rendered.
    info
        ``"full"``: everything, as ``SyncVectorEnv`` has it. ``"light"``: numbers only,
        ``info["final_info"]`` with ``action``, ``oracle_reward``, ``regret``, ``accuracy``,
        ``scores`` and ``cost``, without masks, as every lane ends in every step; no names and no
        ``final_obs``, which the step before has returned. ``"none"``: an empty dictionary.

    Raises
    ------
    ValueError
        If an argument is invalid or the table is faulty.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        observation: Observation = "embedding",
        render_mode: str | None = None,
        info: InfoLevel = "full",
    ) -> None:
        if info not in INFO_LEVELS:
            raise ValueError(f"info={info!r} must be one of {INFO_LEVELS}.")
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1.")
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r}: render the scalar RoutingEnv instead.")
        priced = routing_data(table, data=data, split=split, reward=reward)
        self.dynamics = RoutingDynamics(priced, observation=observation)
        self.num_envs = num_envs
        self.info_level: InfoLevel = info
        self.single_observation_space = self.dynamics.observation_space
        self.single_action_space = self.dynamics.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._keys = np.zeros(num_envs, dtype=np.uint64)
        self._counters = np.zeros(num_envs, dtype=np.uint64)
        self._rows = np.full(num_envs, -1, dtype=np.int64)  # -1 before a reset

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K; the position is the action."""
        return self.dynamics.data.adapters

    @property
    def rows(self) -> np.ndarray:
        """The queries that wait for an answer: int64 (L,), their numbers; -1 before a reset."""
        return self._rows.copy()

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed: bool (L, K), all True."""
        return np.ones((self.num_envs, self.dynamics.num_adapters), dtype=np.bool_)

    def reset(  # type: ignore[override]
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Draw every lane's next query.

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
        self._seed_lanes(seed, mask)
        self._draw(mask)
        observations = self.dynamics.observe(self._rows)
        if self.info_level != "full":
            return observations, {}
        return observations, self._batched(self.dynamics.context(self._rows), mask)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Answer every lane's query and draw every lane's next one.

        Parameters
        ----------
        actions
            integers (L,), the adapters' positions, 0 <= action < K.

        Returns
        -------
        tuple
            Next observations (L, ...), rewards float64 (L,), terminated (all True), truncated
            (all False), info.

        Raises
        ------
        ValueError
            If the actions are not L integers from 0 to K - 1.
        gymnasium.error.ResetNeeded
            Before the first reset.
        """
        if self._rows[0] < 0:
            raise gym.error.ResetNeeded("no queries wait for an answer: call reset() first.")
        actions = self._checked(actions)
        if self.info_level == "full":
            rewards, info = self._full(actions)
        elif self.info_level == "light":
            rewards, measured = self.dynamics.measures(self._rows, actions)
            rewards, info = rewards.copy(), {"final_info": {"action": actions, **measured}}
            self._draw()
        else:
            rewards, info = self.dynamics.reward(self._rows, actions), {}
            self._draw()
        observations = self.dynamics.observe(self._rows)
        ended = np.ones(self.num_envs, dtype=np.bool_)
        return observations, rewards, ended, np.zeros_like(ended), info

    def _full(self, actions: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Answer the queries and draw the next, with all that ``SyncVectorEnv`` would say."""
        every = np.ones(self.num_envs, dtype=np.bool_)
        rewards, outcome = self.dynamics.outcome(self._rows, actions)
        info: dict[str, Any] = {
            "final_obs": self.dynamics.observe(self._rows),
            "_final_obs": every.copy(),
            "final_info": self._batched(outcome, every),
            "_final_info": every.copy(),
        }
        self._draw()
        info |= self._batched(self.dynamics.context(self._rows), every)
        return rewards.copy(), info

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
        if self._rows[0] < 0 and not mask.all():
            raise ValueError(
                "options['reset_mask'] leaves out lanes at the first reset: reset all."
            )
        return mask

    def _seed_lanes(self, seed: int | Sequence[int | None] | None, mask: np.ndarray) -> None:
        """Start the streams of the marked lanes that get a seed, or that have none yet."""
        if self._rows[0] < 0:
            self._keys = stream_keys(int(self.np_random.integers(2**63)), self.num_envs)
        if seed is None:
            return
        if isinstance(seed, (int, np.integer)):
            keys, seeded = stream_keys(int(seed), self.num_envs), mask
        else:
            if len(seed) != self.num_envs:
                raise ValueError(f"seed has {len(seed)} entries, not L = {self.num_envs}.")
            keys = np.concatenate([stream_keys(lane or 0) for lane in seed])
            seeded = mask & np.array([lane is not None for lane in seed])
        self._keys = np.where(seeded, keys, self._keys)
        self._counters[seeded] = 0

    def _draw(self, mask: np.ndarray | None = None) -> None:
        """Draw the next query of the marked lanes; None is all."""
        drawn = draw(self._keys, self._counters, high=self.dynamics.num_queries)
        if mask is None:
            self._rows = drawn
            self._counters += np.uint64(1)
        else:
            self._rows = np.where(mask, drawn, self._rows)
            self._counters += mask.astype(np.uint64)

    def _batched(self, values: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
        """Pair every array with its mask, and blank what the mask leaves out."""
        batch: dict[str, Any] = {}
        whole = mask.all()
        for name, value in values.items():
            if isinstance(value, dict):
                value = self._batched(value, mask)
            elif not whole:
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
        if array.min() < 0 or array.max() >= self.dynamics.num_adapters:
            lane = int(np.argmax((array < 0) | (array >= self.dynamics.num_adapters)))
            raise ValueError(
                f"action={array[lane]} of lane {lane} must be from 0 to "
                f"{len(self.adapters) - 1}, the position of one of {self.adapters}."
            )
        return array.astype(np.int64)
