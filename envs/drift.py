"""The world changes: the mix of queries shifts, and an adapter is no longer what it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.drift_options import (
    DRAWN,
    MIXES,
    Event,
    Mix,
    changes_of,
    events_of,
    expected_of,
    window_of,
)
from routing_gym.envs.scenario import Scenario, Transition, require_count, require_number
from routing_gym.envs.scenario_env import ScenarioEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv
from routing_gym.envs.streams import LaneStreams
from routing_gym.envs.topics import Topics


class DriftScenario(Scenario):
    """A shifting mix and one event per episode, over L lanes; see `DriftEnv`.

    Parameters
    ----------
    data
        The priced split.
    length, mix, phases, events, window, delay, smoothing, expected
        See `DriftEnv`.

    Attributes
    ----------
    columns
        int64 (L, K), the table's column from which each adapter's answers come now.
    available
        bool (L, K), the adapters that can be chosen now.
    event_time
        int64 (L,), the step before which the event happens; T where there is none.

    Raises
    ------
    ValueError
        If an option is of a wrong type or impossible.
    """

    quantities = ("accuracy", "regret", "drifted", "chose_changed")

    def __init__(
        self,
        data: RoutingData,
        *,
        length: int = 128,
        mix: Mix = "piecewise",
        phases: int = 4,
        events: Sequence[Event] = DRAWN,
        window: tuple[float, float] = (0.2, 0.6),
        delay: int = 0,
        smoothing: float = 0.2,
        expected: np.ndarray | Literal["observations"] | None = None,
    ) -> None:
        super().__init__(data)
        self.length = require_count("length", length)
        if mix not in MIXES:
            raise ValueError(f"mix={mix!r} must be one of {', '.join(MIXES)}.")
        self.mix: Mix = mix
        self.phases = require_count("phases", phases, most=self.length)
        self.window = window_of(window)
        self.delay = require_count("delay", delay, least=0)
        self.smoothing = require_number("smoothing", smoothing, high=1.0, open_low=True)
        self.values = data.rewards.astype(np.float64)
        self.expected = expected_of(data, expected)
        self.events = events_of(events)
        self._changes = [changes_of(self.values, event) for event in self.events]
        self.topics = Topics(data.domains)
        groups = ("residual", "heard", "available")
        names = [f"{group}_{name}" for group in groups for name in data.adapters]
        self.state_names = (*names, "left")
        self._adapters = np.array(data.adapters, dtype=object)

    @property
    def observation_space(self) -> gym.spaces.Box:
        """A float32 Box (D + 3K + 1,): the embedding, own feedback, availability, what is left."""
        count = self.num_adapters
        return self.box([-1.0] * count + [0.0] * (2 * count + 1), [1.0] * (3 * count + 1))

    def allocate(self, lanes: int) -> None:
        """Make the state of L lanes."""
        count, topics = self.num_adapters, len(self.topics.names)
        self.num_lanes = lanes
        self.rows = np.zeros(lanes, dtype=np.int64)
        self.done = np.zeros(lanes, dtype=np.int64)
        self.columns = np.tile(np.arange(count), (lanes, 1))
        self.available = np.ones((lanes, count), dtype=np.bool_)
        self.event_kind = np.zeros(lanes, dtype=np.int64)
        self.event_pair = np.zeros((lanes, 2), dtype=np.int64)
        self.event_time = np.zeros(lanes, dtype=np.int64)
        self.mixes = np.zeros((lanes, self.phases, topics))
        self.shifts = np.zeros((lanes, self.phases - 1), dtype=np.int64)
        self.residual = np.zeros((lanes, count))
        self.heard = np.zeros((lanes, count), dtype=np.int64)
        self._waiting = np.zeros((lanes, self.delay + 1))
        self._waiting_for = np.zeros((lanes, self.delay + 1), dtype=np.int64)

    def start(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Draw the mixes, the event and a query for these lanes, int64 (M,)."""
        self.done[lanes] = 0
        self.residual[lanes], self.heard[lanes] = 0.0, 0
        self.columns[lanes] = np.arange(self.num_adapters)
        self.available[lanes] = True
        self._draw_event(lanes, streams)
        for phase in range(self.phases):
            for topic in range(len(self.topics.names)):
                # Exponential weights, normalised, are uniform on the simplex.
                self.mixes[lanes, phase, topic] = -np.log1p(-streams.uniform(lanes))
            if phase > 0:
                self.shifts[lanes, phase - 1] = streams.integers(lanes, self.length)
        # Weights that are all zero have no draw; the split's own shares are as good as any.
        empty = self.mixes[lanes].sum(axis=2, keepdims=True) <= 0
        mixes = np.where(empty, self.topics.shares, self.mixes[lanes])
        self.mixes[lanes] = mixes / mixes.sum(axis=2, keepdims=True)
        self._happen(lanes)
        self.rows[lanes] = self._next_rows(lanes, streams)

    def observe(self, lanes: np.ndarray) -> np.ndarray:
        """Show embeddings, own feedback, availability and what is left, (M, D + 3K + 1)."""
        left = 1 - self.done[lanes] / self.length
        state = [
            np.clip(self.residual[lanes], -1.0, 1.0),
            self.heard[lanes] / self.length,
            self.available[lanes],
            left[:, None],
        ]
        return self.join(self.rows[lanes], np.concatenate(state, axis=1))

    def advance(self, actions: np.ndarray, streams: LaneStreams) -> Transition:
        """Let the chosen adapters answer as they are now; deliver feedback; draw what comes."""
        lanes = np.arange(self.num_lanes)
        columns = self.columns[lanes, actions]
        rewards = self.values[self.rows, columns]
        best = self.current_values().max(axis=1)
        drifted = (self.done >= self.event_time).astype(np.int64)
        changed = (actions[:, None] == self.event_pair).any(axis=1) & (drifted > 0)
        info: dict[str, Any] = {"action": actions.copy(), "adapter": self._adapters[actions]}
        info |= self.named(self.rows)
        info["accuracy"] = self.data.accuracy[self.rows, columns].astype(np.float64)
        info |= {"oracle_reward": best, "regret": best - rewards}
        info |= {"drifted": drifted, "chose_changed": changed.astype(np.int64)}
        self._deliver(lanes, actions, rewards - self.expected[self.rows, actions])
        self.done += 1
        ended = self.done >= self.length
        self._happen(lanes)
        following = self._next_rows(lanes, streams)
        self.rows = np.where(ended, self.rows, following)
        truncated = np.zeros(self.num_lanes, dtype=np.bool_)
        return Transition(rewards, terminated=ended, truncated=truncated, info=info)

    def context(self, lanes: np.ndarray) -> dict[str, Any]:
        """Name the queries."""
        return self.named(self.rows[lanes])

    def masks(self) -> np.ndarray:
        """Allow the adapters that are there: bool (L, K)."""
        return self.available

    def current_values(self) -> np.ndarray:
        """Return what each adapter would earn now, float64 (L, K), -inf if absent; privileged."""
        values = self.values[self.rows[:, None], self.columns]
        return np.where(self.available, values, -np.inf)

    def mix_now(self, lanes: np.ndarray) -> np.ndarray:
        """Return the domains' probabilities of the next query, float64 (M, C); privileged."""
        if self.mix == "piecewise":
            phase = (self.shifts[lanes] <= self.done[lanes, None]).sum(axis=1)
            return self.mixes[lanes, phase]
        place = self.done[lanes] * (self.phases - 1) / self.length
        before = place.astype(np.int64)
        after = np.minimum(before + 1, self.phases - 1)
        share = (place - before)[:, None]
        return (1 - share) * self.mixes[lanes, before] + share * self.mixes[lanes, after]

    def _next_rows(self, lanes: np.ndarray, streams: LaneStreams) -> np.ndarray:
        """Draw a topic from the mix and a query of it."""
        return self.topics.draw(lanes, streams.choice(lanes, self.mix_now(lanes)), streams)

    def _draw_event(self, lanes: np.ndarray, streams: LaneStreams) -> None:
        """Draw what happens, to which adapters, and when."""
        kinds = streams.integers(lanes, len(self.events))
        level, moment = streams.uniform(lanes), streams.uniform(lanes)
        early, late = (share * self.length for share in self.window)
        self.event_kind[lanes] = kinds
        self.event_time[lanes] = np.ceil(early + moment * (late - early)).astype(np.int64)
        for kind, event in enumerate(self.events):
            part = kinds == kind
            changes = self._changes[kind]
            picked = changes[(level[part] * len(changes)).astype(np.int64)]
            self.event_pair[lanes[part]] = picked
            if event == "appear":
                self.available[lanes[part], picked[:, 0]] = False
            if event == "none":
                self.event_time[lanes[part]] = self.length

    def _happen(self, lanes: np.ndarray) -> None:
        """Let the events of this step happen."""
        now = lanes[self.event_time[lanes] == self.done[lanes]]
        for kind, event in enumerate(self.events):
            part = now[self.event_kind[now] == kind]
            first, second = self.event_pair[part, 0], self.event_pair[part, 1]
            if event in ("degrade", "exchange"):
                self.columns[part, first] = second
            if event == "exchange":
                self.columns[part, second] = first
            if event == "appear":
                self.available[part, first] = True

    def _deliver(self, lanes: np.ndarray, actions: np.ndarray, residuals: np.ndarray) -> None:
        """Queue what was learned and take in what was learned `delay` steps before."""
        write = self.done % (self.delay + 1)
        self._waiting[lanes, write], self._waiting_for[lanes, write] = residuals, actions
        read = (self.done + 1) % (self.delay + 1)  # written `delay` steps ago
        arrived = self.done >= self.delay
        at, adapters = lanes[arrived], self._waiting_for[lanes, read][arrived]
        old = self.residual[at, adapters]
        self.residual[at, adapters] = old + self.smoothing * (
            self._waiting[lanes, read][arrived] - old
        )
        self.heard[at, adapters] += 1


class DriftEnv(ScenarioEnv):
    """Choose adapters while the queries and the adapters change, seeing only one's own outcomes.

    ## Description

    T queries come one after the other. Their mix of domains shifts, and in the course of an
    episode one thing happens to the pool, at a time and to an adapter that are drawn anew:

    * `degrade`: an adapter's answers are from then on those of another, worse one;
    * `exchange`: two adapters answer under each other's name, as after a faulty deployment;
    * `appear`: an adapter that could not be chosen before becomes available;
    * `none`: nothing, as a control.

    Every outcome is a measured one: a changed adapter takes another column of the table on the
    same queries. The agent is not told. It learns of the change from the rewards of its own
    choices alone, `delay` steps late if asked. So what it should do depends on what it saw before:
    the problem is partially observed. The observation sums the past up in a running average per
    adapter; a recurrent policy can do better than that.

    ## Action Space

    `Discrete(K)`: the adapter that answers. `action_masks()` leaves out the one that has yet to
    appear.

    ## Observation Space

    A float32 `Box` (D + 3K + 1,): the query's embedding, then

    * `residual_<adapter>`: exponential average of its rewards that have arrived, each less what
      was `expected`, from 0 at the start; in [-1, 1];
    * `heard_<adapter>`: how many of its rewards have arrived, over T;
    * `available_<adapter>`: 1 if it can be chosen, else 0;
    * `left`: the share of the episode's queries that is left, this one included.

    ## Rewards

    The reward of the chosen adapter's answer, as it answers now; in [0, 1] with the default
    reward. It is returned at once, as learning needs it; only the observation's feedback waits.

    `info` after `step` holds `action`, `adapter`, `query_id`, `task`, `domain`, `complexity`,
    `accuracy`, `oracle_reward` (the best adapter's, as they answer now), `regret`, `drifted` (1
    from the event on) and `chose_changed` (1 if the event has happened to the chosen adapter).
    `info` after `reset` holds the query's names.

    ## Starting State

    Mixes drawn uniformly from the simplex, one per phase, and a query from the first.

    ## Episode End

    Terminates after T queries. Episodes are never truncated. The last observation is that of the
    query just answered.

    ## Arguments

    ```python
    gym.make("RoutingGym/Drift-v0", table="results/table", split="train",
             length=128, mix="piecewise", events=["degrade", "exchange"], delay=8)
    ```

    ## Version History

    * v0: Initial version.

    Parameters
    ----------
    table, data, split, reward, render_mode
        As for `routing_gym.envs.routing.RoutingEnv`.
    length
        T, queries per episode, at least 1.
    mix
        ``"piecewise"``: the mix jumps at times drawn uniformly. ``"continuous"``: it moves on
        straight lines between mixes at equal distances in time.
    phases
        Mixes per episode, 1 to T; 1 is a mix that does not shift.
    events
        What may happen, one drawn per episode; a name given twice is twice as likely.
    window
        Shares of the episode between which the event falls, 0 <= early <= late <= 1.
    delay
        Steps that feedback comes late by, at least 0.
    smoothing
        Weight of the newest reward in the exponential average, in (0, 1].
    expected
        float (N, K), what each adapter was expected to earn on each query, to be taken off its
        reward; ``"observations"`` takes the first K entries of the data's observations, for data
        that show predictions in place of embeddings; ``None`` takes nothing off.

    Raises
    ------
    ValueError
        If an argument is invalid or the table is faulty.
    """

    scenario_class = DriftScenario


class DriftVectorEnv(ScenarioVectorEnv):
    """`DriftEnv` over L lanes; see there and `ScenarioVectorEnv`.

    Parameters
    ----------
    num_envs
        L, the number of lanes.
    table, data, split, reward, render_mode
        As for `ScenarioVectorEnv`.
    **options
        As for `DriftEnv`.
    """

    scenario_class = DriftScenario
