"""Ways to step the routing environment, each behind the same small interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import Observation
from routing_gym.envs.routing import RoutingEnv
from routing_gym.envs.routing_vector import InfoLevel, RoutingVectorEnv

LOOPED = 8  # environments in a loop or in processes, as users have them
LANES = (1024, 2048, 4096)
ACTIONS = 32  # different batches of actions, drawn before the clock starts


class Track(Protocol):
    """Something that steps; ``lanes`` queries are answered per step."""

    lanes: int

    def advance(self, actions: np.ndarray) -> Any:
        """Answer the queries that wait, with integers (L,); return the rewards, (L,)."""

    def workers(self) -> list[int]:
        """List the processes that work beside this one."""

    def close(self) -> None:
        """End."""


class ScalarTrack:
    """One `RoutingEnv`: a step and a reset per query."""

    lanes = 1

    def __init__(self, data: RoutingData) -> None:
        self._env = RoutingEnv(data=data)
        self._env.reset(seed=0)

    def advance(self, actions: np.ndarray) -> Any:
        """Answer one query."""
        _, reward, *_ = self._env.step(actions[0])
        self._env.reset()
        return reward

    def workers(self) -> list[int]:
        """List none."""
        return []

    def close(self) -> None:
        """End."""
        self._env.close()


class GymnasiumTrack:
    """A vector environment of Gymnasium, or ours."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.lanes = int(env.num_envs)
        env.reset(seed=0)

    def advance(self, actions: np.ndarray) -> Any:
        """Step all lanes."""
        return self._env.step(actions)[1]

    def workers(self) -> list[int]:
        """List the processes of an ``AsyncVectorEnv``."""
        return [process.pid for process in getattr(self._env, "processes", [])]

    def close(self) -> None:
        """End, with the processes."""
        self._env.close()


class StableBaselinesTrack:
    """A ``VecEnv`` of Stable-Baselines3."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self.lanes = int(env.num_envs)
        env.seed(0)
        env.reset()

    def advance(self, actions: np.ndarray) -> Any:
        """Step all environments."""
        return self._env.step(actions)[1]

    def workers(self) -> list[int]:
        """List the processes of a ``SubprocVecEnv``."""
        return [process.pid for process in getattr(self._env, "processes", [])]

    def close(self) -> None:
        """End, with the processes."""
        self._env.close()


@dataclass(frozen=True)
class Entry:
    """A competitor.

    Parameters
    ----------
    name, label
        Key, and text in tables and figures.
    steps
        Queries to answer per measurement.
    make
        Data -> what steps.
    own
        Whether it is ours.
    """

    name: str
    label: str
    steps: int
    make: Callable[[RoutingData], Track]
    own: bool = False


def entries() -> tuple[Entry, ...]:
    """Return all competitors, from the usual ones to ours."""
    return (
        Entry("scalar", "one RoutingEnv", 30_000, ScalarTrack),
        Entry("sync", "gymnasium SyncVectorEnv(8)", 12_000, _sync),
        Entry("async", "gymnasium AsyncVectorEnv(8)", 4_000, _async),
        Entry("dummy", "SB3 DummyVecEnv(8)", 16_000, partial(_dummy, monitored=False)),
        Entry("dummy_monitor", "SB3 DummyVecEnv(8), Monitor", 12_000, partial(_dummy)),
        Entry("subproc", "SB3 SubprocVecEnv(8)", 4_000, _subproc),
        Entry("sb3_native", "our VecEnv for SB3 (2,048)", 200_000, _sb3_native, own=True),
        *(
            Entry(
                native_name(lanes, observation, info),
                f"ours ({lanes:,}), {observation}s, {info} info".replace("indexs", "indices"),
                steps,
                partial(_native, lanes=lanes, observation=observation, info=info),
                own=True,
            )
            for observation, info, steps in _NATIVE
            for lanes in LANES
        ),
    )


_NATIVE: tuple[tuple[Observation, InfoLevel, int], ...] = (
    ("embedding", "full", 400_000),
    ("embedding", "light", 1_000_000),
    ("index", "full", 1_000_000),
    ("index", "light", 5_000_000),
    ("index", "none", 10_000_000),
)


def native_name(lanes: int, observation: str, info: str) -> str:
    """Name our environment's entry."""
    return f"native_{lanes}_{observation}_{info}"


def draw_actions(track: Track, *, arms: int, seed: int) -> list[np.ndarray]:
    """Draw batches of uniform actions, int64 (L,) each."""
    rng = np.random.default_rng(seed)
    return [rng.integers(arms, size=track.lanes) for _ in range(ACTIONS)]


def advance(track: Track, actions: Sequence[np.ndarray], *, steps: int) -> tuple[int, float]:
    """Answer at least that many queries; return how many and their mean reward.

    Parameters
    ----------
    track
        What steps.
    actions
        From `draw_actions`.
    steps
        Queries, rounded up to whole steps of all lanes.
    """
    rounds = -(-steps // track.lanes)
    total, step, batches = 0.0, track.advance, len(actions)
    for index in range(rounds):
        rewards = step(actions[index % batches])
        total += rewards if track.lanes == 1 else rewards.sum()
    return rounds * track.lanes, float(total) / (rounds * track.lanes)


def cpu_of(processes: Sequence[int]) -> float | None:
    """Return the CPU seconds of other processes so far; None where the system does not tell."""
    total = 0.0
    for process in processes:
        path = Path(f"/proc/{process}/schedstat")
        try:
            total += int(path.read_text("ascii").split()[0]) * 1e-9
        except (OSError, ValueError, IndexError):
            return None
    return total


def _scalars(data: RoutingData) -> list[Callable[[], RoutingEnv]]:
    """Return the makers of 8 scalar environments."""
    return [partial(RoutingEnv, data=data)] * LOOPED


def _sync(data: RoutingData) -> Track:
    """Make Gymnasium's loop."""
    return GymnasiumTrack(SyncVectorEnv(_scalars(data), autoreset_mode=AutoresetMode.SAME_STEP))


def _async(data: RoutingData) -> Track:
    """Start Gymnasium's processes."""
    return GymnasiumTrack(
        AsyncVectorEnv(_scalars(data), context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    )


def _dummy(data: RoutingData, *, monitored: bool = True) -> Track:
    """Make Stable-Baselines3's loop; ``make_vec_env`` puts the monitors in."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv

    if monitored:
        return StableBaselinesTrack(make_vec_env(partial(RoutingEnv, data=data), LOOPED))
    return StableBaselinesTrack(DummyVecEnv(list(_scalars(data))))


def _subproc(data: RoutingData) -> Track:
    """Start Stable-Baselines3's processes."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    return StableBaselinesTrack(SubprocVecEnv(list(_scalars(data)), start_method="spawn"))


def _sb3_native(data: RoutingData) -> Track:
    """Make our environment behind Stable-Baselines3's interface."""
    from routing_gym.envs.sb3 import RoutingVecEnv

    return StableBaselinesTrack(RoutingVecEnv(2048, data=data))


def _native(data: RoutingData, *, lanes: int, observation: Observation, info: InfoLevel) -> Track:
    """Make our environment."""
    return GymnasiumTrack(RoutingVectorEnv(lanes, data=data, observation=observation, info=info))
