"""The vectorised routing environment as Stable-Baselines3 wants it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import Observation
from routing_gym.envs.routing_vector import RoutingVectorEnv
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import RewardFunction


class RoutingVecEnv(VecEnv):
    """`RoutingVectorEnv` behind Stable-Baselines3's ``VecEnv`` interface.

    SB3 wants one info dictionary per lane and step. They hold only what SB3 reads:
    ``terminal_observation`` and ``episode`` (``r``, ``l``, ``t``, as ``Monitor`` writes them).
    Everything else of the last step is in `last_step`, as arrays, for callbacks.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    table, data, split, reward, observation
        As for `routing_gym.envs.routing.RoutingEnv`.

    Attributes
    ----------
    last_step : dict of str to np.ndarray
        Arrays (L,) of the last step: ``action``, ``reward``, ``oracle_reward``, ``regret``,
        every score by its name (``accuracy`` among them), every cost as ``cost_<name>``; empty
        before the first step.
    """

    def __init__(
        self,
        num_envs: int = 1,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        observation: Observation = "embedding",
    ) -> None:
        self.env = RoutingVectorEnv(
            num_envs,
            table,
            data=data,
            split=split,
            reward=reward,
            observation=observation,
            info="light",
        )
        self.last_step: dict[str, np.ndarray] = {}
        self._actions = np.zeros(num_envs, dtype=np.int64)
        self._start = time.time()
        super().__init__(num_envs, self.env.single_observation_space, self.env.single_action_space)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K; the position is the action."""
        return self.env.adapters

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed: bool (L, K)."""
        return self.env.action_masks()

    def reset(self) -> Any:
        """Draw every lane's next query, with the seeds of a preceding `seed`.

        Returns
        -------
        np.ndarray
            Observations (L, ...).
        """
        seeds = None if all(lane is None for lane in self._seeds) else self._seeds
        observations, _ = self.env.reset(seed=seeds)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, integers (L,), for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """Answer every lane's query.

        Returns
        -------
        tuple
            Next observations (L, ...), rewards float32 (L,), dones bool (L,), infos.
        """
        answered = self.env.dynamics.observe(self.env.rows)
        observations, rewards, dones, _, info = self.env.step(self._actions)
        final = info["final_info"]
        self.last_step = {
            "action": final["action"],
            "reward": rewards,
            "oracle_reward": final["oracle_reward"],
            "regret": final["regret"],
            "accuracy": final["accuracy"],
            **{name: final["scores"][name] for name in self.env.dynamics.score_names},
            **{f"cost_{name}": final["cost"][name] for name in self.env.dynamics.cost_names},
        }
        elapsed = round(time.time() - self._start, 6)
        infos = [
            {"terminal_observation": last, "episode": {"r": reward, "l": 1, "t": elapsed}}
            for last, reward in zip(answered, rewards.tolist(), strict=True)
        ]
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Read an attribute, once per lane; the lanes share it."""
        return [getattr(self.env, attr_name)] * len(self._lanes(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all lanes; they share it, so a part of them cannot be set.

        Raises
        ------
        ValueError
            If ``indices`` names only a part of the lanes.
        """
        if len(self._lanes(indices)) != self.num_envs:
            raise ValueError(f"indices={indices!r}: the lanes share {attr_name!r}, set all.")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method whose result has one row per lane, such as ``action_masks``."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result[lane] for lane in self._lanes(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Say True for ``Monitor``, whose ``episode`` records are here, else False."""
        return [issubclass(wrapper_class, Monitor)] * len(self._lanes(indices))

    def _lanes(self, indices: int | Iterable[int] | None) -> Sequence[int]:
        """List the lanes that SB3's ``indices`` mean."""
        return list(self._get_indices(indices))
