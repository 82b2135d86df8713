"""The contextual bandit: one query, one adapter, one reward."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import Observation, RoutingDynamics, draw, stream_keys
from routing_gym.envs.source import routing_data
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import RewardFunction

BLOCK = 256  # queries drawn at once; a draw of many costs as much as a draw of one


class RoutingEnv(gym.Env[Any, Any]):
    """Choose the adapter that answers a query; its answer's scores are the reward.

    ## Description

    A language model has K adapters, each good at something else. A query arrives; the agent sees
    its embedding and chooses the adapter that answers it. The answers were generated and scored
    beforehand, for every query under every adapter (an `OutcomeTable`), so a step is a look-up,
    and the best possible choice is known. The problem is a contextual bandit: the agent learns
    what the chosen adapter was worth, never what another one would have been.

    ## Action Space

    `Discrete(K)`: the position of an adapter in the table's order. `action_masks()` says which
    actions are allowed: here, always all.

    ## Observation Space

    With `observation="embedding"` a float32 `Box` (D,): the query's embedding, of norm 1 with the
    default encoder, so each entry is in [-1, 1]. With `observation="index"` a `Discrete(N)`: the
    number of the query in its split, for tabular methods. Nothing that was computed from an
    answer is ever observed.

    ## Rewards

    The weighted mean of the self-evaluator's scores for the chosen adapter's answer, each turned
    so that more is better; in [0, 1]. The verified `accuracy` is in `info` and not in the reward
    (unless the weights name it).

    `info` after `step` holds `action`, `adapter`, `query_id`, `task`, `domain`, `complexity`,
    `scores` (every score by name, in [0, 1]), `cost` (`prompt_tokens`, `completion_tokens`,
    `seconds`), `accuracy`, `oracle_reward` (the best adapter's reward) and `regret`
    (`oracle_reward` minus the reward). `info` after `reset` holds `query_id`, `task`, `domain`
    and `complexity`.

    ## Starting State

    A query drawn uniformly, with replacement, from the split. The sequence of queries is a pure
    function of the seed: `reset(seed=s)` starts it, `reset()` continues it.

    ## Episode End

    Every step terminates its episode; the last observation is that of the query just answered.
    Episodes are never truncated.

    ## Arguments

    ```python
    gym.make("RoutingGym/Routing-v0", table="results/table", split="train",
             reward={"relevance": 1.0, "tokens": 0.2}, observation="embedding")
    ```

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table
        An `OutcomeTable`, or its folder; ``None`` is the table in the repository.
    data
        A `RoutingData`, already priced, in place of ``table``, ``split`` and ``reward``.
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    reward
        A `RewardFunction`, its weights by score name, or ``None`` for the default reward.
    observation
        ``"embedding"`` or ``"index"``.
    render_mode
        ``None``, or ``"ansi"`` for one line of text per `render()`.

    Raises
    ------
    ValueError
        If an argument is invalid or the table is faulty.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 4}  # type: ignore[misc]

    def __init__(
        self,
        table: OutcomeTable | str | os.PathLike[str] | None = None,
        *,
        data: RoutingData | None = None,
        split: str = "train",
        reward: RewardFunction | Mapping[str, float] | None = None,
        observation: Observation = "embedding",
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} must be None or 'ansi'.")
        priced = routing_data(table, data=data, split=split, reward=reward)
        self.dynamics = RoutingDynamics(priced, observation=observation)
        self.observation_space = self.dynamics.observation_space
        self.action_space = self.dynamics.action_space
        self.render_mode = render_mode
        self._key: np.ndarray | None = None
        self._drawn = 0  # queries drawn from the stream so far
        self._queue: list[int] = []  # those that are still to come, the next one last
        self._row = -1  # the query that waits for an answer; -1 when none does
        self._shown: tuple[int, int | None] | None = None  # query and action, for render

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapter names, length K; the position is the action."""
        return self.dynamics.data.adapters

    def action_masks(self) -> np.ndarray:
        """Say which actions are allowed: bool (K,), all True."""
        return np.ones(self.dynamics.num_adapters, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw the next query.

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
        if seed is not None or self._key is None:
            self._key = stream_keys(self.np_random_seed if seed is None else seed)
            self._drawn, self._queue = 0, []
        if not self._queue:
            counters = np.arange(self._drawn, self._drawn + BLOCK, dtype=np.uint64)
            drawn = draw(self._key, counters, high=self.dynamics.num_queries)
            self._drawn, self._queue = self._drawn + BLOCK, drawn[::-1].tolist()
        self._row = self._queue.pop()
        self._shown = (self._row, None)
        return self.dynamics.observe(self._row), self.dynamics.context(self._row)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Let an adapter answer the query, which ends the episode.

        Parameters
        ----------
        action
            The adapter's position, 0 <= action < K.

        Returns
        -------
        tuple
            Observation, reward, terminated (True), truncated (False), info.

        Raises
        ------
        ValueError
            If the action is not one of the K.
        gymnasium.error.ResetNeeded
            If no query waits: before the first reset, or after the episode's only step.
        """
        if self._row < 0:
            raise gym.error.ResetNeeded("no query waits for an answer: call reset() first.")
        if not self.action_space.contains(action):
            raise ValueError(
                f"action={action!r} must be an integer from 0 to {len(self.adapters) - 1}, "
                f"the position of one of {self.adapters}."
            )
        row, self._row = self._row, -1
        self._shown = (row, int(action))
        reward, info = self.dynamics.outcome(row, int(action))
        return self.dynamics.observe(row), reward, True, False, info

    def render(self) -> str | None:  # type: ignore[override]
        """Say in one line what happened last; ``None`` without a render mode."""
        if self.render_mode is None or self._shown is None:
            return None
        row, action = self._shown
        if action is None:
            info = self.dynamics.context(row)
            return f"{info['query_id']} ({info['task']}): no adapter chosen yet"
        reward, info = self.dynamics.outcome(row, action)
        return (
            f"{info['query_id']} ({info['task']}): {info['adapter']} earns {reward:.3f}, "
            f"best {info['oracle_reward']:.3f}, accuracy {info['accuracy']:.2f}"
        )
