"""Queries that arrive with a preference between quality and cost, for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from routing_gym.agents.trade_off import TradeOff, check_preference, preference_rewards
from routing_gym.envs.data import RoutingData
from routing_gym.envs.sb3 import RoutingVecEnv


class PreferenceVecEnv(RoutingVecEnv):
    """A `RoutingVecEnv` whose queries come with a preference, which prices the answer.

    Observations are float32 (L, D + 1), the embedding and then the weight of the cost, newly drawn
    for every query. In ``last_step``, ``reward``, ``oracle_reward`` and ``regret`` are those of the
    lane's preference, and ``preference`` is that preference.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    data
        The split.
    trade_off
        What quality and cost mean.
    concentration
        Both parameters of the preferences' Beta distribution.
    rng
        Draws the preferences.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        data: RoutingData,
        trade_off: TradeOff,
        concentration: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(num_envs, data=data, observation="index")
        self._embeddings = np.asarray(data.observations, dtype=np.float32)
        self._quality, self._cost = trade_off.columns(data)
        self._concentration, self._rng = concentration, rng
        bound = max(1.0, float(np.abs(self._embeddings).max()))
        width = self._embeddings.shape[1] + 1
        self.observation_space = spaces.Box(-bound, bound, (width,), np.float32)

    def reset(self) -> np.ndarray:
        """Draw every lane's next query and preference; observations float32 (L, D + 1)."""
        return self._observe(super().reset())

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """Answer every lane's query; see `RoutingVecEnv.step_wait`."""
        rows, preferences, answered = self._rows, self._preferences, self._observations
        numbers, _, dones, infos = super().step_wait()
        worth = preference_rewards(self._quality[rows], self._cost[rows], preference=preferences)
        rewards = worth[np.arange(self.num_envs), self.last_step["action"]]
        oracle = worth.max(axis=1)
        self.last_step |= {
            "reward": rewards,
            "oracle_reward": oracle,
            "regret": oracle - rewards,
            "preference": preferences,
        }
        for info, last, reward in zip(infos, answered, rewards.tolist(), strict=True):
            info["terminal_observation"] = last
            info["episode"]["r"] = reward
        return self._observe(numbers), rewards.astype(np.float32), dones, infos

    def _observe(self, rows: np.ndarray) -> np.ndarray:
        """Draw preferences for these queries and return what is seen of both."""
        self._rows = rows
        self._preferences = self._rng.beta(
            self._concentration, self._concentration, size=self.num_envs
        )
        self._observations = with_preference(self._embeddings[rows], self._preferences)
        return self._observations


def with_preference(observations: np.ndarray, preference: float | np.ndarray) -> np.ndarray:
    """Append preferences to embeddings.

    Parameters
    ----------
    observations
        float32 (N, D), query embeddings.
    preference
        Weight of the cost in [0, 1], one for all queries or float (N,).

    Returns
    -------
    np.ndarray
        float32 (N, D + 1).

    Raises
    ------
    ValueError
        If a preference is outside [0, 1], or there are not N of them.
    """
    weights = check_preference(preference, len(observations))
    return np.column_stack([observations, weights]).astype(np.float32)
