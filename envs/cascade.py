"""The cascade: try an adapter, look at its answer's score, accept it or pay for another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import Scenario, Transition, require_count, require_number
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams

SIGNALS = ("certainty", "weakest_token")  # what the model's own token probabilities say


class CascadeScenario(Scenario):
    """The rules of `CascadeEnv`, which documents the options."""

    quantities: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "value",
        "tries",
        "cost",
        "completion_tokens",
        "seconds",
        "regret",
    )
    episode_quantities: ClassVar[tuple[str, ...]] = quantities

    def __init__(
        self,
        data: RoutingData,
        *,
        price_tokens: float = 1e-3,
        price_seconds: float = 0.05,
        seen: Sequence[str] = ("quality",),
        signals: Sequence[str] | None = None,
        value: str = "quality",
        max_tries: int | None = None,
    ) -> None:
        super().__init__(data)
        k = self.num_adapters
        self.price_tokens = require_number("price_tokens", price_tokens)
        self.price_seconds = require_number("price_seconds", price_seconds)
        self.max_tries = k if max_tries is None else require_count("max_tries", max_tries, most=k)
        seen = _columns(data, "seen", seen)
        if signals is None:
            signals = [name for name in SIGNALS if name in data.scores and name not in seen]
        columns = (*seen, *_columns(data, "signals", signals))
        if not seen or len(set(columns)) != len(columns):
            raise ValueError(f"seen={seen} and signals={signals} must name columns, each once.")
        self.values = value_matrix(data, value)
        self.prices = self._priced()
        first = data.scores[seen[0]].astype(np.float32)
        doubt = 1.0 - np.abs(2.0 * first - 1.0)
        shown = [np.ones_like(first), *(data.scores[name] for name in columns), doubt]
        # one row per (query, adapter): what a try reveals
        self._revealed = np.stack([c.astype(np.float32).ravel() for c in shown], axis=1)  # (N K, G)
        groups = ("tried", *columns, "doubt")
        self.state_names = tuple(f"{g}_{a}" for g in groups for a in data.adapters)
        self.state_names += ("best", "tries", "cost")
        self.oracle = (self.values - self.prices).max(axis=1)  # (N,)
        self._names = np.array(self.action_names, dtype=object)

    def _priced(self) -> np.ndarray:
        """Return what a try costs in units of reward, float64 (N, K)."""
        prices = {"completion_tokens": self.price_tokens, "seconds": self.price_seconds}
        self.require_costs(*(name for name, price in prices.items() if price > 0))
        self._measured = {n: c.astype(np.float64).ravel() for n, c in self.data.costs.items()}
        total = np.zeros(self.data.rewards.shape)
        for name, price in prices.items():
            if price > 0:
                total += price * self.data.costs[name].astype(np.float64)
        return total

    @property
    def observation_space(self) -> gym.spaces.Box:
        """Box (D + S,), S = (2 + columns) K + 3; the cost's bound is a power of two."""
        largest = max(1.0, float(self.prices.sum(axis=1).max()))
        high = [1.0] * (len(self.state_names) - 1) + [2.0 ** float(np.ceil(np.log2(largest)))]
        return self.box([0.0] * len(self.state_names), high)

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """Discrete(K + 1): the adapters, then accept."""
        return gym.spaces.Discrete(self.num_adapters + 1)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The adapters, then ``accept``."""
        return (*self.data.adapters, "accept")

    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes."""
        self.num_lanes = lanes
        self.rows = np.zeros(lanes, dtype=np.int64)
        self._best = np.zeros(lanes, dtype=np.int64)  # the (query, adapter) that would be accepted
        self._tries = np.zeros(lanes, dtype=np.int64)
        self._paid = np.zeros((3, lanes))  # in reward, in tokens, in seconds
        self._state = np.zeros((lanes, len(self.state_names)), dtype=np.float32)
        # the same memory, (L, G, K)
        self._grid = self._state[:, :-3].reshape(lanes, -1, self.num_adapters)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Draw a query for each of these lanes; nothing has been tried."""
        self.rows[lanes] = streams.integers(lanes, self.num_queries)
        self._best[lanes] = self.rows[lanes] * self.num_adapters
        self._tries[lanes] = 0
        self._paid[:, lanes] = 0.0
        self._state[lanes] = 0.0

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Return the embedding and what the tries so far have revealed."""
        return self.join(self.rows[lanes], self._state[lanes])

    def masks(self) -> np.ndarray:
        """Allow each adapter once while tries are left, and accept after the first try."""
        masks = np.empty((self.num_lanes, self.num_adapters + 1), dtype=np.bool_)
        masks[:, :-1] = (self._grid[:, 0] == 0) & (self._tries < self.max_tries)[:, None]
        masks[:, -1] = self._tries > 0
        return masks

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Pay for a try and see its score, or accept the best-scored answer so far."""
        accepted = actions == self.num_adapters
        rewards = self.values.ravel()[self._best]
        lanes = np.flatnonzero(~accepted)
        if lanes.size:
            rewards[lanes] = -self._try(lanes, actions[lanes])
        rows, value = self.rows, self.values.ravel()[self._best]
        info: dict[str, Any] = self.named(rows)
        if not self.lean:
            info["adapter"] = self._names[actions]
        info |= {
            "accuracy": self.data.accuracy.ravel()[self._best].astype(np.float64),
            "value": value,
            "tries": self._tries.copy(),
            "cost": self._paid[0].copy(),
            "completion_tokens": self._paid[1].copy(),
            "seconds": self._paid[2].copy(),
            "oracle_reward": self.oracle[rows],
            "regret": self.oracle[rows] - (value - self._paid[0]),
        }
        return Transition(rewards, accepted, np.zeros(self.num_lanes, dtype=np.bool_), info)

    def _try(self, lanes: np.ndarray, adapters: np.ndarray) -> np.ndarray:
        """Generate answers: pay, reveal their scores, keep the best; return the prices (M,)."""
        cells = self.rows[lanes] * self.num_adapters + adapters
        prices = self.prices.ravel()[cells]
        self._paid[0, lanes] += prices
        for place, name in enumerate(("completion_tokens", "seconds"), start=1):
            if name in self._measured:
                self._paid[place, lanes] += self._measured[name][cells]
        revealed = self._revealed[cells]  # (M, G)
        self._grid[lanes, :, adapters] = revealed
        state = self._state
        better = (revealed[:, 1] > state[lanes, -3]) | (self._tries[lanes] == 0)
        self._best[lanes[better]] = cells[better]
        state[lanes, -3] = np.maximum(state[lanes, -3], revealed[:, 1])
        self._tries[lanes] += 1
        state[lanes, -2] = self._tries[lanes] / self.num_adapters
        state[lanes, -1] = self._paid[0, lanes]
        return prices

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Name the queries."""
        return self.named(self.rows[lanes])


def value_matrix(data: RoutingData, value: str) -> np.ndarray:
    """Return what an answer is worth, before costs.

    Parameters
    ----------
    data
        The priced split.
    value
        ``"reward"``, ``"accuracy"`` or the name of a score column.

    Returns
    -------
    np.ndarray
        float64 (N, K).

    Raises
    ------
    ValueError
        If the table has no such column; the known ones are named.
    """
    known = {"reward": data.rewards, "accuracy": data.accuracy} | dict(data.scores)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"value={value!r} must be one of {', '.join(sorted(known))}.")
    return known[value].astype(np.float64)


def _columns(data: RoutingData, option: str, names: Any) -> tuple[str, ...]:
    """Check names of score columns that an answer reveals; the verified truth is none of them."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"{option}={names!r} must be a list of score columns.")
    known = [name for name in data.scores if not name.startswith("accuracy")]
    for name in names:
        if name not in known:
            raise ValueError(
                f"{option}={list(names)}: {name!r} is no score that an answer reveals; known are "
                f"{', '.join(known)}."
            )
        if not (np.isfinite(data.scores[name]) & (data.scores[name] >= 0)).all():
            raise ValueError(f"{option}={list(names)}: column {name!r} is not within [0, 1].")
        if data.scores[name].max() > 1:
            raise ValueError(f"{option}={list(names)}: column {name!r} is not within [0, 1].")
    return tuple(names)


class CascadeEnv(ScenarioEnv):
    """Try adapters one after the other until an answer's score is good enough.

    ## Description

    A query arrives. The agent lets an adapter answer it, pays the tokens and seconds that this
    answer took, and sees the self-evaluator's score of it (never the verified truth). Then it
    accepts the best-scored answer so far, or pays for another adapter's. Trying on is worth it
    where the answer looks wrong and another adapter may well be right; on a query that no adapter
    answers it is money lost. Costs and scores are those measured in the outcome table.

    ## Action Space

    `Discrete(K + 1)`: the position of an adapter, or K, which accepts. `action_masks()` rules out
    adapters already tried, `accept` before the first try, and every adapter once `max_tries` are
    used up.

    ## Observation Space

    A float32 `Box` (D + S,): the query's embedding, then, for each adapter, whether it was tried
    (`tried_*`), the scores of its answer by the columns of `seen` and `signals` (such as
    `quality_*`, `certainty_*`, `weakest_token_*`) and how undecided the first of them is
    (`doubt_*`, 1 - |2 q - 1|), all 0 where it was not tried; then the best first score so far
    (`best`), the number of tries over K (`tries`) and what they cost in units of reward (`cost`).
    All but the last are in [0, 1]; `scenario.state_names` lists them.

    ## Rewards

    A try: minus its price, `price_tokens` x completion tokens + `price_seconds` x seconds, as
    measured. Accepting: the value (column `value`) of the answer tried that has the highest first
    score in `seen`; the earlier of equals.

    `info` after `step` holds `adapter` (or `"accept"`), the query's `query_id`, `task`, `domain`
    and `complexity`, then for the answer that is or would be accepted `accuracy` and `value`; so
    far `tries`, `cost` (in units of reward), `completion_tokens` and `seconds`; `oracle_reward`,
    the best return that the query allows (one try of the right adapter), and `regret`, by how much
    accepting now falls short of it.

    ## Starting State

    A query drawn uniformly, with replacement, from the split; the sequence is a pure function of
    the seed. Nothing has been tried.

    ## Episode End

    Accepting terminates the episode, after at most `max_tries` + 1 steps. Never truncated.

    ## Arguments

    ```python
    gym.make("RoutingGym/Cascade-v0", table="results/table", split="train",
             price_tokens=1e-3, price_seconds=0.05, value="accuracy")
    ```

    By the default prices an answer of the embedded table costs .010 to .047 of a right one. There
    the adapter with the best prediction fails on 40 % of the validation queries, and then the next
    one is right on 7 %, the one after on 5 %: whether another try pays differs by query.

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table, data, split, reward
        As for `routing_gym.envs.routing.RoutingEnv`; the reward counts only as ``value="reward"``.
    render_mode
        ``None``, or ``"ansi"`` for one line of text per `render()`.
    price_tokens, price_seconds
        Price of a completion token and of a second in units of reward, at least 0.
    seen
        Score columns that a try reveals; the first decides which answer is accepted.
    signals
        Further columns that a try reveals; ``None`` takes ``certainty`` and ``weakest_token``
        where the table has them.
    value
        What the accepted answer is worth: ``"reward"``, ``"accuracy"`` or a score column.
    max_tries
        1 to K; ``None`` is K.

    Raises
    ------
    ValueError
        If an option is invalid, or a priced cost is missing from the table.
    """

    scenario_class: ClassVar[type[Scenario]] = CascadeScenario


class CascadeVectorEnv(ScenarioVectorEnv):
    """L lanes of `CascadeEnv`, stepped at once."""

    scenario_class: ClassVar[type[Scenario]] = CascadeScenario
