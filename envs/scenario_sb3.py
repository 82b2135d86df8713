"""The vector environment of a scenario as Stable-Baselines3 wants it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from routing_gym.envs.scenario_vector import ScenarioVectorEnv


class ScenarioVecEnv(VecEnv):
    """`ScenarioVectorEnv` behind Stable-Baselines3's ``VecEnv`` interface.

    Info dictionaries hold only what SB3 reads: ``terminal_observation`` and ``episode`` (``r``,
    ``l``, ``t``, as ``Monitor`` writes them) where an episode ended, and ``TimeLimit.truncated``.
    The scenario's own quantities of the last step are in `last_step`, as arrays.

    Parameters
    ----------
    env
        The lanes of a scenario with a scalar reward.

    Attributes
    ----------
    last_step : dict of str to np.ndarray
        Arrays (L,) of the last step: ``action``, ``reward`` and the scenario's ``quantities``.
    ended : np.ndarray
        bool (L,), the lanes whose episode ended with it.
    """

    def __init__(self, env: ScenarioVectorEnv) -> None:
        self.env, num_envs = env, env.num_envs
        self.last_step: dict[str, np.ndarray] = {}
        self.ended = np.zeros(num_envs, dtype=np.bool_)
        self._actions = np.zeros(num_envs, dtype=np.int64)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)
        self._start = time.time()
        super().__init__(num_envs, self.env.single_observation_space, self.env.single_action_space)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K."""
        return self.env.adapters

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed now: bool (L, A)."""
        return self.env.action_masks()

    def reset(self) -> Any:
        """Begin an episode on every lane, with the seeds of a preceding `seed`."""
        seeds = None if all(lane is None for lane in self._seeds) else self._seeds
        observations, _ = self.env.reset(seed=seeds)
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, integers (L,), for `step_wait`.

        Algorithms that know no masks may choose what is forbidden: it becomes the lane's first
        allowed action.
        """
        masks = self.env.action_masks()
        allowed = masks[np.arange(self.num_envs), actions]
        self._actions = np.where(allowed, actions, masks.argmax(axis=1))

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """Take one action on every lane.

        Returns
        -------
        tuple
            Next observations (L, ...), rewards float32 (L,), dones bool (L,), infos.

        Raises
        ------
        ValueError
            If the scenario's reward is a vector.
        """
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        if rewards.ndim != 1:
            raise ValueError(
                f"the reward is a vector of {rewards.shape[1]} numbers, and Stable-Baselines3 "
                "learns from one: make the scenario with a scalar reward."
            )
        dones = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        self._keep(rewards, info, dones)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        elapsed = round(time.time() - self._start, 6)
        for lane in np.flatnonzero(dones):
            infos[lane] = {
                "terminal_observation": info["final_obs"][lane],
                "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane]),
                "episode": {
                    "r": float(self._returns[lane]),
                    "l": int(self._lengths[lane]),
                    "t": elapsed,
                },
            }
        self._returns[dones], self._lengths[dones] = 0.0, 0
        return observations, rewards.astype(np.float32), dones, infos

    def _keep(self, rewards: np.ndarray, info: dict[str, Any], dones: np.ndarray) -> None:
        """Collect the quantities of lanes that go on and of those that ended."""
        self.last_step = {"action": self._actions.copy(), "reward": rewards}
        self.ended = dones.copy()
        for name in self.env.scenario.quantities:
            values = info[name].copy() if name in info else np.zeros(self.num_envs)
            if dones.any():
                values[dones] = info["final_info"][name][dones]
            self.last_step[name] = values

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Read an attribute, once per lane; the lanes share it."""
        return [getattr(self.env, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all lanes; they share it, so a part of them cannot be set.

        Raises
        ------
        ValueError
            If ``indices`` names only a part of the lanes.
        """
        if len(self._chosen(indices)) != self.num_envs:
            raise ValueError(f"indices={indices!r}: the lanes share {attr_name!r}, set all.")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method whose result has one row per lane, such as ``action_masks``."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result[lane] for lane in self._chosen(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Say True for ``Monitor``, whose ``episode`` records are here, else False."""
        return [issubclass(wrapper_class, Monitor)] * len(self._chosen(indices))

    def _chosen(self, indices: int | Iterable[int] | None) -> Sequence[int]:
        """List the lanes that SB3's ``indices`` mean."""
        return list(self._get_indices(indices))
