"""Few adapters fit in memory: a stream with sticky topics, in which a swap costs seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from routing_gym.envs.cache_options import Profile, resident_of, swap_seconds_of, values_of
from routing_gym.envs.data import RoutingData
from routing_gym.envs.scenario import Scenario, Transition, require_count, require_number
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.topics import Topics

Eviction = Literal["lru", "chosen"]
EVICTIONS: tuple[Eviction, ...] = ("lru", "chosen")


class AdapterCacheScenario(Scenario):
    """Adapters in the slots of L lanes, and what it takes to swap them; see `AdapterCacheEnv`.

    Parameters
    ----------
    data
        The priced split.
    length, slots, stickiness, price_seconds, eviction, resident, profile, value, charge_decoding
        See `AdapterCacheEnv`.

    Attributes
    ----------
    topics
        The split's domains.
    swap_seconds
        float64 (K,), what loading and activating each adapter takes; 0 for those always resident.
    always_resident
        bool (K,), the adapters that need no slot.
    slots_held
        int64 (L, M), the adapters in memory, the least recently used first; K where a slot is
        empty, and empty slots come before all others.

    Raises
    ------
    ValueError
        If an option is of a wrong type or impossible, or a cost was not measured.
    """

    quantities = ("swap", "hit", "seconds", "accuracy", "regret")

    def __init__(
        self,
        data: RoutingData,
        *,
        length: int = 64,
        slots: int = 2,
        stickiness: float = 0.8,
        price_seconds: float = 1.5,
        eviction: Eviction = "lru",
        resident: Sequence[str] | None = None,
        profile: Profile | None = None,
        value: str = "reward",
        charge_decoding: bool = False,
    ) -> None:
        super().__init__(data)
        self.length = require_count("length", length)
        self.stickiness = require_number("stickiness", stickiness, high=1.0)
        self.price_seconds = require_number("price_seconds", price_seconds, high=1e9)
        self.always_resident = resident_of(data.adapters, resident)
        swapped = int((~self.always_resident).sum())
        if swapped < 2:
            raise ValueError(
                f"resident={resident!r} leaves {swapped} adapter to swap: keep at least 2 out of "
                f"it, of {', '.join(data.adapters)}."
            )
        self.slots = require_count("slots", slots, most=swapped - 1)
        if eviction not in EVICTIONS:
            raise ValueError(f"eviction={eviction!r} must be one of {', '.join(EVICTIONS)}.")
        self.eviction: Eviction = eviction
        self.values = values_of(data, value)
        if not isinstance(charge_decoding, bool):
            raise ValueError(f"charge_decoding={charge_decoding!r} must be True or False.")
        if charge_decoding:
            self.require_costs("seconds")
        self.decode_seconds = (
            np.asarray(data.costs["seconds"], dtype=np.float64)
            if charge_decoding
            else np.zeros_like(self.values)
        )
        self.swap_seconds = swap_seconds_of(data.adapters, self.always_resident, profile)
        self.topics = Topics(data.domains)
        self._chain = self.topics.sticky(self.stickiness)
        self.state_names = (
            *(f"resident_{name}" for name in data.adapters),
            *(f"recency_{name}" for name in data.adapters),
            "left",
        )
        self._adapters = np.array(data.adapters, dtype=object)
        self._recency = np.arange(1, self.slots + 1) / self.slots

    @property
    def observation_space(self) -> gym.spaces.Box:
        """A float32 Box (D + 2K + 1,): the embedding, residency, recency, what is left."""
        entries = len(self.state_names)
        return self.box([0.0] * entries, [1.0] * entries)

    @property
    def action_space(self) -> gym.spaces.Discrete:
        """Discrete(K), or Discrete(K * M) where the evicted slot is chosen too."""
        return gym.spaces.Discrete(self.num_adapters * self.places)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Adapters; with the slot that makes room, the least recently used being slot 0."""
        if self.eviction == "lru":
            return self.data.adapters
        return tuple(f"{name}/{slot}" for name in self.data.adapters for slot in range(self.slots))

    @property
    def places(self) -> int:
        """Actions per adapter: M where the evicted slot is chosen, else 1."""
        return self.slots if self.eviction == "chosen" else 1

    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes, with empty slots."""
        self.num_lanes = lanes
        self.rows = np.zeros(lanes, dtype=np.int64)
        self.done = np.zeros(lanes, dtype=np.int64)
        self.slots_held = np.full((lanes, self.slots), self.num_adapters, dtype=np.int64)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Empty the slots of these lanes, int64 (M,), and draw a topic and a query."""
        self.slots_held[lanes] = self.num_adapters
        self.done[lanes] = 0
        topics = streams.choice(lanes, self.topics.shares)
        self.rows[lanes] = self.topics.draw(lanes, topics, streams)

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Show embeddings, residency, recency and what is left, float32 (M, D + 2K + 1)."""
        count = self.num_adapters
        # Column K takes the empty slots and is then overwritten with the share that is left.
        recency = np.zeros((len(lanes), count + 1), dtype=np.float32)
        np.put_along_axis(recency, self.slots_held[lanes], self._recency[None, :], axis=1)
        recency[:, count] = 1 - self.done[lanes] / self.length
        resident = (recency[:, :count] > 0) | self.always_resident
        return self.join(self.rows[lanes], np.concatenate([resident, recency], axis=1))

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Bring the chosen adapters into memory, let them answer, and draw the next queries."""
        chosen = actions // self.places
        held, swapped = self.after(self.slots_held, actions)
        swap = np.where(swapped, self.swap_seconds[chosen], 0.0)
        seconds = swap + self.decode_seconds[self.rows, chosen]
        rewards = self.values[self.rows, chosen] - self.price_seconds * seconds
        best = self.net_values().max(axis=1)
        info: dict[str, Any] = {"action": actions.copy(), "adapter": self._adapters[chosen]}
        info |= self.named(self.rows)
        info |= {"swap": swapped.astype(np.int64), "hit": (~swapped).astype(np.int64)}
        info |= {"seconds": seconds, "swap_seconds": swap}
        info["accuracy"] = self.data.accuracy[self.rows, chosen].astype(np.float64)
        info |= {"oracle_reward": best, "regret": best - rewards}
        self.slots_held = held
        self.done += 1
        ended = self.done >= self.length
        lanes = np.arange(self.num_lanes)
        topics = streams.choice(lanes, self._chain[self.topics.of_query[self.rows]])
        following = self.topics.draw(lanes, topics, streams)
        self.rows = np.where(ended, self.rows, following)
        truncated = np.zeros(self.num_lanes, dtype=np.bool_)
        return Transition(rewards, terminated=ended, truncated=truncated, info=info)

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Name the queries."""
        return self.named(self.rows[lanes])

    def masks(self) -> np.ndarray:
        """Allow every adapter; a slot only where it has to be chosen, else slot 0 alone."""
        return self.allowed(self.slots_held)

    def allowed(self, held: np.ndarray) -> np.ndarray:
        """Say which actions are allowed with contents (L, M), as `slots_held`: bool (L, A)."""
        if self.eviction == "lru":
            return np.ones((len(held), self.num_adapters), dtype=np.bool_)
        full = held[:, 0] < self.num_adapters
        evicts = ~self._in_memory(held) & full[:, None]  # (L, K)
        masks = np.repeat(evicts[:, :, None], self.slots, axis=2)
        masks[:, :, 0] = True
        return masks.reshape(len(held), -1)

    def after(self, held: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say what actions do to the slots.

        Parameters
        ----------
        held
            int64 (L, M), as `slots_held`.
        actions
            int64 (L,).

        Returns
        -------
        tuple of np.ndarray
            The contents afterwards, int64 (L, M), and whether an adapter was loaded, bool (L,).
        """
        chosen, place = actions // self.places, actions % self.places
        at = held == chosen[:, None]
        found, slotted = at.any(axis=1), ~self.always_resident[chosen]
        place = np.where(found, at.argmax(axis=1), place)
        moved = held.copy()
        for slot in range(self.slots - 1):
            shifted = slotted & (slot >= place)
            moved[:, slot] = np.where(shifted, held[:, slot + 1], held[:, slot])
        moved[:, -1] = np.where(slotted, chosen, held[:, -1])
        return moved, slotted & ~found

    def resident(self) -> np.ndarray:
        """Say which adapters are in memory, bool (L, K)."""
        return self._in_memory(self.slots_held)

    def net_values(self) -> np.ndarray:
        """Return what each adapter would bring now, swap included, float64 (L, K); privileged."""
        swap = np.where(self.resident(), 0.0, self.swap_seconds)
        seconds = swap + self.decode_seconds[self.rows]
        return self.values[self.rows] - self.price_seconds * seconds

    def _in_memory(self, held: np.ndarray) -> np.ndarray:
        """Mark the adapters that slots hold, or that need none, bool (L, K)."""
        marked = np.zeros((len(held), self.num_adapters + 1), dtype=np.bool_)
        np.put_along_axis(marked, held, True, axis=1)
        return marked[:, :-1] | self.always_resident


class AdapterCacheEnv(ScenarioEnv):
    """Choose adapters for a stream of queries while only a few of them fit in memory.

    ## Description

    T queries come one after the other; their topic is sticky. The base model is always in memory
    and M slots hold adapters beside it. Choosing an adapter that is in memory costs nothing;
    choosing another one loads it, which takes its *measured* seconds, and puts one out. What a
    swap takes comes from the pool's profile (`scripts/measure_pool_costs.py`), what an answer is
    worth from the table.

    A swap pays only over several queries. At the default price a swap of the embedded pool (half
    a second of one core) costs .8, which is more than the right adapter's answer gains over the
    base's (.43 to .68 on average, by domain) and less than a topic's five queries do: an agent
    that maximises each step's reward swaps too rarely, one that ignores the price too often.

    ## Action Space

    `Discrete(K)`: the adapter that answers; a new one evicts the least recently used. With
    `eviction="chosen"` `Discrete(K * M)`: action `a * M + m` lets adapter `a` answer and, if it
    has to be loaded, evicts slot m, where the slots are ordered by use and 0 is the least recently
    used. `action_masks()` then allows only `m = 0` where nothing is evicted: the adapter is in
    memory, or a slot is empty.

    ## Observation Space

    A float32 `Box` (D + 2K + 1,): the query's embedding, then

    * `resident_<adapter>`: 1 if it is in memory, else 0 (always 1 for those that need no slot);
    * `recency_<adapter>`: its place by use, 1 the last, 1/M the first to go, 0 without a slot;
    * `left`: the share of the episode's queries that is left, this one included.

    The topic is not given; it shows in the embedding.

    ## Rewards

    `value - price_seconds * seconds`: what the answer is worth less the price of the seconds of
    the swap (and, with `charge_decoding`, of the answer's own measured seconds). In
    [-price_seconds * slowest swap, 1] for values in [0, 1].

    `info` after `step` holds `action`, `adapter`, `query_id`, `task`, `domain`, `complexity`,
    `swap` and `hit` (0 or 1), `seconds`, `swap_seconds`, `accuracy`, `oracle_reward` (the greedy
    oracle's: the best reward that this step could have brought) and `regret` (`oracle_reward`
    minus the reward; a plan that swaps early has some on purpose). `info` after `reset` holds
    the query's names.

    ## Starting State

    Empty slots, and a query drawn uniformly from the split.

    ## Episode End

    Terminates after T queries, with the last query's observation; never truncated.

    ## Arguments

    ```python
    gym.make("RoutingGym/AdapterCache-v0", table="results/table", split="train",
             slots=2, stickiness=0.8, price_seconds=1.5, eviction="lru")
    ```

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table, data, split, reward, render_mode
        As for `routing_gym.envs.routing.RoutingEnv`.
    length
        T, queries per episode, at least 1.
    slots
        M, adapters that fit in memory beside those that are always there: at least 1, and fewer
        than the adapters that need a slot.
    stickiness
        Probability in [0, 1] that the next query keeps the domain; else it is of another one, in
        proportion to the domains' queries.
    price_seconds
        What a second costs, in units of value, at least 0.
    eviction
        ``"lru"``: the least recently used adapter goes. ``"chosen"``: the action says which.
    resident
        Adapters that need no slot; ``None`` is the bare model ``"base"`` where the table has it.
    profile
        The pool's profile: its path, a `routing_gym.adapters.profile.PoolProfile`, a mapping from
        adapter to the seconds of a swap, or ``None`` for that of the embedded pool.
    value
        What an answer is worth: ``"reward"``, or the name of one of the table's scores.
    charge_decoding
        Whether the seconds of the answer itself are charged too.

    Raises
    ------
    ValueError
        If an argument is invalid, the table is faulty, or a swap was not measured.
    FileNotFoundError
        If the profile does not exist.
    """

    scenario_class = AdapterCacheScenario


class AdapterCacheVectorEnv(ScenarioVectorEnv):
    """`AdapterCacheEnv` over L lanes; see there and `ScenarioVectorEnv`.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    table, data, split, reward, render_mode
        As for `ScenarioVectorEnv`.
    **options
        As for `AdapterCacheEnv`.
    """

    scenario_class = AdapterCacheScenario
