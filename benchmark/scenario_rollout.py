"""Play a policy on a scenario; the episodes are the same for every policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.envs.scenario_vector import ScenarioVectorEnv


@dataclass(frozen=True)
class RolloutResult:
    """What a policy reached on E episodes.

    Parameters
    ----------
    returns
        float64 (E,), or (E, M) where the reward is a vector; the undiscounted sum of rewards.
    lengths
        int64 (E,), steps.
    quantities
        Name -> float64 (E,): the scenario's ``quantities``, as means over an episode's steps;
        those of ``episode_quantities`` as their value at the episode's end.
    actions
        float64 (E, A), how often each action was taken.
    """

    returns: np.ndarray
    lengths: np.ndarray
    quantities: Mapping[str, np.ndarray]
    actions: np.ndarray


def rollout(
    policy: ScenarioPolicy, env: ScenarioVectorEnv, *, episodes: int, seed: int
) -> RolloutResult:
    """Play episodes, several at once; episode e is that of the scalar environment's seed s + e.

    So a comparison of policies is paired episode by episode, whatever they do and however many
    lanes there are. Between groups of L episodes the policy begins anew.

    Parameters
    ----------
    policy
        What decides; it is bound to the environment's scenario.
    env
        L lanes, which are reset.
    episodes
        E, at least 1; a multiple of L wastes no step.
    seed
        s, at least 0.

    Raises
    ------
    ValueError
        If there is no episode to play, or the policy lacks predictions in the observations.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes} must be at least 1.")
    policy.bind(env.scenario)
    groups = [
        _play(policy, env, seed=seed + first, count=min(env.num_envs, episodes - first))
        for first in range(0, episodes, env.num_envs)
    ]
    return RolloutResult(
        returns=np.concatenate([group.returns for group in groups]),
        lengths=np.concatenate([group.lengths for group in groups]),
        quantities={
            name: np.concatenate([group.quantities[name] for group in groups])
            for name in env.scenario.quantities
        },
        actions=np.concatenate([group.actions for group in groups]),
    )


def _play(
    policy: ScenarioPolicy, env: ScenarioVectorEnv, *, seed: int, count: int
) -> RolloutResult:
    """Play one episode on each lane and keep those of the first `count` lanes."""
    lanes, scenario = env.num_envs, env.scenario
    observations, _ = env.reset(seed=seed)
    policy.begin(lanes)
    playing = np.arange(lanes) < count
    lengths = np.zeros(lanes, dtype=np.int64)
    taken = np.zeros((lanes, int(scenario.action_space.n)))
    totals = {name: np.zeros(lanes) for name in scenario.quantities}
    returns: np.ndarray | None = None
    while playing.any():
        actions = policy.act(observations, env.action_masks())
        following, rewards, terminated, truncated, info = env.step(actions)
        ended = terminated | truncated
        policy.learn(observations, actions, rewards, ended, info)
        returns = np.zeros_like(rewards, dtype=np.float64) if returns is None else returns
        returns[playing] += rewards[playing]
        lengths[playing] += 1
        taken[np.flatnonzero(playing), actions[playing]] += 1
        for name, total in totals.items():
            values = step_values(info, name, ended)
            if name in scenario.episode_quantities:
                total[playing] = values[playing]
            else:
                total[playing] += values[playing]
        playing &= ~ended
        observations = following
    for name in set(totals) - set(scenario.episode_quantities):
        totals[name] /= np.maximum(lengths, 1)
    assert returns is not None
    kept = {name: total[:count] for name, total in totals.items()}
    return RolloutResult(returns[:count], lengths[:count], kept, taken[:count])


def step_values(info: Mapping[str, Any], name: str, ended: np.ndarray) -> np.ndarray:
    """Read a quantity of the last step on every lane, also of the lanes whose episode ended.

    Parameters
    ----------
    info
        Of a vector environment's step.
    name
        One of the scenario's ``quantities``.
    ended
        bool (L,), the lanes whose episode ended with the step.

    Returns
    -------
    np.ndarray
        float64 (L,).
    """
    if ended.all():
        return np.asarray(info["final_info"][name], dtype=np.float64)
    values = np.array(info[name], dtype=np.float64)
    if ended.any():
        values[ended] = info["final_info"][name][ended]
    return values
