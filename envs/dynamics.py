"""What the scalar and the vectorised environment share: the draw of queries and the outcomes.

Which query comes next is a pure function of a lane's seed and of how many queries it has seen: the
counter-based generator below, after Steele, Lea and Flood, "Fast splittable pseudorandom number
generators" (OOPSLA 2014). So a scalar environment and a lane of a vectorised one, given the same
seed, meet the same queries, and a step of many lanes needs no loop over them.
"""

from __future__ import annotations

import mmap
import os
from functools import cached_property
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.mapped import is_mapped

Observation = Literal["embedding", "index"]
OBSERVATIONS: tuple[Observation, ...] = ("embedding", "index")

_NAMED: dict[str, tuple[str, Any]] = {  # name in info -> attribute of the data, dtype
    "query_id": ("query_ids", object),
    "task": ("tasks", object),
    "domain": ("domains", object),
    "complexity": ("complexity", np.int64),
}
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: splitmix64's increment


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit words: splitmix64's finaliser, a bijection.

    Parameters
    ----------
    values
        uint64, any shape.

    Returns
    -------
    np.ndarray
        uint64, same shape.
    """
    values = values ^ (values >> np.uint64(30))  # a new array, then changed in place
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def stream_keys(seed: int, lanes: int = 1) -> np.ndarray:
    """Give lane i the stream of seed ``seed + i``.

    Parameters
    ----------
    seed
        A non-negative integer, taken modulo 2**64.
    lanes
        L, the number of streams.

    Returns
    -------
    np.ndarray
        uint64 (L,), well mixed, so that the streams of neighbouring seeds are unrelated.
    """
    seeds = np.full(lanes, seed % 2**64, dtype=np.uint64) + np.arange(lanes, dtype=np.uint64)
    return mix(mix(seeds) + _GOLDEN)


def draw(keys: np.ndarray, counters: np.ndarray, *, high: int) -> np.ndarray:
    """Draw one integer per stream, uniformly and with replacement.

    Parameters
    ----------
    keys
        uint64 (L,) from `stream_keys`; or (1,), for L draws of one stream.
    counters
        uint64 (L,), the position of each integer in its stream.
    high
        Number of values, 1 to 2**32.

    Returns
    -------
    np.ndarray
        int64 (L,) in [0, high).
    """
    words = mix(keys + (counters + np.uint64(1)) * _GOLDEN) >> np.uint64(32)
    # multiply and shift in place of a modulo (Lemire 2019); bias below high / 2**32
    return ((words * np.uint64(high)) >> np.uint64(32)).astype(np.int64)


class RoutingDynamics:
    """One-step episodes over a `RoutingData`: observe a query, choose an adapter, get its outcome.

    Every method takes integers for one lane or int64 (L,) for many, and returns fresh arrays.

    Parameters
    ----------
    data
        The priced split.
    observation
        ``"embedding"`` or ``"index"``.

    Raises
    ------
    ValueError
        If ``observation`` is neither.
    """

    def __init__(self, data: RoutingData, *, observation: Observation = "embedding") -> None:
        if observation not in OBSERVATIONS:
            raise ValueError(f"observation={observation!r} must be one of {OBSERVATIONS}.")
        self.data = data
        self.observation = observation
        self.num_queries, self.num_adapters = data.rewards.shape
        self.score_names = tuple(data.scores)
        self.cost_names = tuple(data.costs)
        self._adapters = np.array(data.adapters, dtype=object)
        self._mapped = is_mapped(data.rewards)
        if self._mapped:  # on disk: nothing is read before a lane meets it
            self._embeddings = data.observations
            return
        self._cells = np.stack([c.ravel() for c in _columns(data)], axis=1)  # (N K, C)
        self._rewards = np.ascontiguousarray(data.rewards).ravel()  # (N K,): one line per look-up
        self._embeddings = np.ascontiguousarray(data.observations, dtype=np.float32)

    @cached_property
    def _context(self) -> dict[str, np.ndarray]:
        """Every query's names, made when somebody asks: a million strings take their time."""
        return {
            name: getattr(self.data, source).astype(kind) for name, (source, kind) in _NAMED.items()
        }

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Box (D,) within the least power of two (at least 1) that bounds it, or Discrete(N).

        On disk the Box has no bounds, as finding them would read everything.
        """
        if self.observation == "index":
            return gym.spaces.Discrete(self.num_queries)
        if self._mapped:
            return gym.spaces.Box(-np.inf, np.inf, (self._embeddings.shape[1],), np.float32)
        largest = max(1.0, float(np.abs(self._embeddings).max()))
        bound = 2.0 ** np.ceil(np.log2(largest))
        return gym.spaces.Box(-bound, bound, (self._embeddings.shape[1],), np.float32)

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """Discrete(K)."""
        return gym.spaces.Discrete(self.num_adapters)

    def observe(self, rows: Any) -> Any:
        """Give the observations of queries.

        Parameters
        ----------
        rows
            Query numbers, int or int64 (L,).

        Returns
        -------
        np.ndarray
            float32 (D,) or (L, D) for ``"embedding"``; int64, the numbers, for ``"index"``.
        """
        if self.observation == "index":
            return rows.copy() if isinstance(rows, np.ndarray) else np.int64(rows)
        if self._mapped and isinstance(rows, np.ndarray):
            return _read_rows(self._embeddings, rows).astype(np.float32)
        taken = self._embeddings.take(rows, axis=0)  # a copy, for one row too
        return np.array(taken, dtype=np.float32) if self._mapped else taken

    def context(self, rows: Any) -> dict[str, Any]:
        """Name the queries: ``query_id``, ``task``, ``domain``, ``complexity``.

        Parameters
        ----------
        rows
            Query numbers, int or int64 (L,).
        """
        if self._mapped:
            taken = {
                name: np.array(getattr(self.data, source).take(rows), dtype=kind)
                for name, (source, kind) in _NAMED.items()
            }
            if isinstance(rows, np.ndarray):
                return taken
            return {name: values.item() for name, values in taken.items()}
        if isinstance(rows, np.ndarray):
            return {name: values.take(rows) for name, values in self._context.items()}
        return {name: values.item(rows) for name, values in self._context.items()}

    def reward(self, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Look up the rewards alone.

        Parameters
        ----------
        rows, actions
            Query numbers and adapter numbers, int64 (L,).

        Returns
        -------
        np.ndarray
            float64 (L,).
        """
        if self._mapped:
            return np.array(self.data.rewards[rows, actions], dtype=np.float64)
        return self._rewards.take(rows * self.num_adapters + actions).astype(np.float64)

    def measures(self, rows: Any, actions: Any) -> tuple[Any, dict[str, Any]]:
        """Look up what is a number: the rewards, and what they were made of.

        Parameters
        ----------
        rows, actions
            Query numbers and adapter numbers, int or int64 (L,).

        Returns
        -------
        tuple
            The rewards, and ``oracle_reward``, ``regret``, ``accuracy`` and the dictionaries
            ``scores`` and ``cost``; every leaf is a float, or float64 (L,).
        """
        values: Any = self._gather(rows, actions)
        if isinstance(rows, np.ndarray):
            values = values.T.astype(np.float64, order="C")  # (C, L)
        else:
            values = values.tolist()
        reward, oracle, accuracy = values[:3]
        first_cost = 3 + len(self.score_names)
        return reward, {
            "oracle_reward": oracle,
            "regret": oracle - reward,
            "accuracy": accuracy,
            "scores": dict(zip(self.score_names, values[3:first_cost], strict=True)),
            "cost": dict(zip(self.cost_names, values[first_cost:], strict=True)),
        }

    def outcome(self, rows: Any, actions: Any) -> tuple[Any, dict[str, Any]]:
        """Look up what the chosen adapters' answers were worth, and name everything.

        Parameters
        ----------
        rows, actions
            Query numbers and adapter numbers, int or int64 (L,).

        Returns
        -------
        tuple
            The rewards, and the info: ``action``, ``adapter``, the context of the queries,
            and what `measures` says; every leaf is a Python number or str, or float64, int64 or
            object (L,).
        """
        reward, measured = self.measures(rows, actions)
        if isinstance(rows, np.ndarray):
            named = {"action": actions.copy(), "adapter": self._adapters.take(actions)}
        else:
            named = {"action": int(actions), "adapter": self._adapters[actions]}
        return reward, named | self.context(rows) | measured

    def _gather(self, rows: Any, actions: Any) -> np.ndarray:
        """Return (C,) or (L, C): every column of some cells."""
        if not self._mapped:
            return self._cells.take(rows * self.num_adapters + actions, axis=0)
        data, lanes = self.data, np.atleast_1d(rows)
        rewards = np.array(data.rewards[lanes])  # (L, K)
        chosen = rewards[np.arange(len(lanes)), actions]
        others = [data.accuracy, *data.scores.values(), *data.costs.values()]
        columns = [chosen, rewards.max(axis=1), *(c[lanes, actions] for c in others)]
        cells = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
        return cells if isinstance(rows, np.ndarray) else cells[0]


def _read_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Read rows (L,) of a mapped matrix from its file, past the mapping.

    A row that is read through the mapping makes up to 2 MB around it resident, so that a few
    thousand random rows bring in a whole file; reading costs half a microsecond more per row.
    """
    whole = isinstance(values, np.memmap) and isinstance(values.base, mmap.mmap)
    if not whole or not hasattr(os, "pread") or not values.flags.c_contiguous:
        return values.take(rows, axis=0)
    assert isinstance(values, np.memmap)
    size, start = values.shape[1] * values.itemsize, values.offset
    with open(str(values.filename), "rb", buffering=0) as file:
        number = file.fileno()
        parts = [os.pread(number, size, start + size * row) for row in rows.tolist()]
    return np.frombuffer(b"".join(parts), dtype=values.dtype).reshape(len(rows), -1)


def _columns(data: RoutingData) -> list[np.ndarray]:
    """List what is known of every cell, (N, K) each; stacked, they take their common type."""
    oracle = np.broadcast_to(data.rewards.max(axis=1, keepdims=True), data.rewards.shape)
    return [data.rewards, oracle, data.accuracy, *data.scores.values(), *data.costs.values()]
