"""The best that any policy could have reached on a stream of AdapterCache-v0, in hindsight."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from routing_gym.envs.adapter_cache import AdapterCacheScenario
from routing_gym.envs.scenario_vector import ScenarioVectorEnv

MAX_STATES = 5_000


@dataclass(frozen=True)
class CacheStates:
    """Every content that the slots can have, and how actions lead from one to another.

    Parameters
    ----------
    following
        int64 (S, A), the state after an action; state 0 is that of empty slots.
    swaps
        bool (S, A), whether the action loads an adapter.
    allowed
        bool (S, A), the scenario's masks.
    adapters
        int64 (A,), the adapter of each action.
    """

    following: np.ndarray
    swaps: np.ndarray
    allowed: np.ndarray
    adapters: np.ndarray


def cache_states(scenario: AdapterCacheScenario) -> CacheStates:
    """List the contents of the slots in order of use, with the scenario's own transitions.

    Every state is put on one lane of a copy of the scenario and every action is taken there, so
    that the bound plays by the very rules of the environment.

    Parameters
    ----------
    scenario
        Its options count; its lanes are left alone.

    Raises
    ------
    ValueError
        If there are more than `MAX_STATES` states.
    """
    count, slots = scenario.num_adapters, scenario.slots
    swapped = np.flatnonzero(~scenario.always_resident).tolist()
    total = sum(_falling(len(swapped), filled) for filled in range(slots + 1))
    if total > MAX_STATES:
        raise ValueError(
            f"slots={slots} of {len(swapped)} adapters have {total} contents, more than "
            f"{MAX_STATES}: bound a smaller cache."
        )
    held = np.array(
        [
            (count,) * (slots - filled) + order
            for filled in range(slots + 1)
            for order in permutations(swapped, filled)
        ],
        dtype=np.int64,
    ).reshape(total, slots)
    index = {tuple(row): state for state, row in enumerate(held.tolist())}
    actions = int(scenario.action_space.n)
    following = np.zeros((total, actions), dtype=np.int64)
    swaps = np.zeros((total, actions), dtype=np.bool_)
    for action in range(actions):
        after, swaps[:, action] = scenario.after(held, np.full(total, action))
        following[:, action] = [index[tuple(row)] for row in after.tolist()]
    return CacheStates(
        following,
        swaps,
        allowed=scenario.allowed(held),
        adapters=np.arange(actions) // scenario.places,
    )


def _falling(n: int, k: int) -> int:
    """Return n (n - 1) ... (n - k + 1), the number of ordered choices of k out of n."""
    return int(np.prod([n - i for i in range(k)], initial=1))


def hindsight_plan(
    scenario: AdapterCacheScenario, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Find the best actions for known streams by dynamic programming.

    Bellman's recursion backwards over the contents of the slots (Bellman 1957):

    .. math:: V_t(s) = \max_a \; v_{t, k(a)} - p \, (d_{t, k(a)} + 1[k(a) \notin s]\, c_{k(a)})
        + V_{t+1}(s'(s, a)), \quad V_T = 0.

    It is exact, as the stream does not depend on the actions; the time is linear in T.

    Parameters
    ----------
    scenario
        Gives values v, swap seconds c, decoding seconds d and the price p.
    rows
        int64 (E, T), the queries of E episodes in order.

    Returns
    -------
    tuple of np.ndarray
        Returns float64 (E,), an upper bound for every policy, and the actions int64 (E, T) that
        reach them.
    """
    states = cache_states(scenario)
    episodes, length = rows.shape
    price, arm = scenario.price_seconds, states.adapters
    worth = scenario.values - price * scenario.decode_seconds  # (N, K)
    swap = price * states.swaps * scenario.swap_seconds[arm]  # (S, A)
    blocked = np.where(states.allowed, 0.0, -np.inf)
    ahead = np.zeros((episodes, len(states.swaps)))
    choices = np.zeros((length, episodes, len(states.swaps)), dtype=np.int16)
    for step in reversed(range(length)):
        gains = worth[rows[:, step]][:, None, arm] - swap + blocked  # (E, S, A)
        gains += ahead[:, states.following]
        choices[step] = gains.argmax(axis=2)
        ahead = gains.max(axis=2)
    state = np.zeros(episodes, dtype=np.int64)
    actions = np.zeros((episodes, length), dtype=np.int64)
    for step in range(length):
        actions[:, step] = choices[step, np.arange(episodes), state]
        state = states.following[state, actions[:, step]]
    return ahead[:, 0], actions


def stream_rows(env: ScenarioVectorEnv, *, episodes: int, seed: int) -> np.ndarray:
    """Return the queries of the episodes that `scenario_rollout.rollout` plays with this seed.

    Parameters
    ----------
    env
        L lanes of AdapterCache-v0, which are reset.
    episodes
        E, at least 1.
    seed
        s, at least 0; episode e is that of seed s + e.

    Returns
    -------
    np.ndarray
        int64 (E, T), query numbers.
    """
    scenario = _cache_of(env)
    groups = []
    for first in range(0, episodes, env.num_envs):
        env.reset(seed=seed + first)
        rows = np.zeros((env.num_envs, scenario.length), dtype=np.int64)
        for step in range(scenario.length):
            rows[:, step] = scenario.rows
            env.step(np.zeros(env.num_envs, dtype=np.int64))
        groups.append(rows)
    return np.concatenate(groups)[:episodes]


def hindsight_returns(env: ScenarioVectorEnv, *, episodes: int, seed: int) -> np.ndarray:
    """Return the best reachable return of each episode that a rollout with this seed plays.

    Parameters
    ----------
    env, episodes, seed
        See `stream_rows`.

    Returns
    -------
    np.ndarray
        float64 (E,).

    Raises
    ------
    ValueError
        If the environment is another scenario, or has too many contents of its slots.
    """
    returns, _ = hindsight_plan(_cache_of(env), stream_rows(env, episodes=episodes, seed=seed))
    return returns


def _cache_of(env: ScenarioVectorEnv) -> AdapterCacheScenario:
    """Take the scenario of an environment, which must be that of the cache."""
    if not isinstance(env.scenario, AdapterCacheScenario):
        raise ValueError(
            f"env plays {type(env.scenario).__name__}: the bound is that of AdapterCache-v0."
        )
    return env.scenario
