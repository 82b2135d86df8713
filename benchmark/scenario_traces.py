"""What a policy did, step by step: the material of pictures that explain it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_rollout import step_values
from routing_gym.envs.scenario_vector import ScenarioVectorEnv

Look = Callable[[Any], Mapping[str, np.ndarray]]
"""Scenario -> name -> array (L, ...), read before each choice."""


@dataclass(frozen=True)
class Trace:
    """T steps of L lanes, each lane's first episode alone.

    Parameters
    ----------
    observations
        float32 (T, L, D + S).
    actions
        int64 (T, L).
    rewards
        float64 (T, L).
    playing
        bool (T, L), False once the lane's episode is over; nothing else counts there.
    quantities
        Name -> float64 (T, L), the scenario's quantities.
    seen
        Name -> (T, L, ...), what `Look` returned.
    state_names
        What the last S entries of an observation are.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    playing: np.ndarray
    quantities: Mapping[str, np.ndarray]
    seen: Mapping[str, np.ndarray]
    state_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """D, the entries of an observation before the state."""
        return self.observations.shape[2] - len(self.state_names)

    def state(self, name: str) -> np.ndarray:
        """Return an entry of the state, float32 (T, L)."""
        return np.asarray(self.observations[:, :, self.width + self.state_names.index(name)])

    def states(self, group: str) -> np.ndarray:
        """Return the entries ``group_*`` of the state, float32 (T, L, K)."""
        names = enumerate(self.state_names)
        found = [self.width + i for i, name in names if name.startswith(f"{group}_")]
        return np.asarray(self.observations[:, :, found])


def record(
    policy: ScenarioPolicy, env: ScenarioVectorEnv, *, seed: int, look: Look | None = None
) -> Trace:
    """Play one episode on every lane and keep every step.

    Parameters
    ----------
    policy
        What decides.
    env
        L lanes, which are reset.
    seed
        Lane i plays the episode of seed s + i, as in `scenario_rollout.rollout`.
    look
        What else to keep of the scenario.
    """
    scenario = env.scenario
    policy.bind(scenario)
    observations, _ = env.reset(seed=seed)
    policy.begin(env.num_envs)
    playing = np.ones(env.num_envs, dtype=np.bool_)
    steps: list[dict[str, np.ndarray]] = []
    looks: list[dict[str, np.ndarray]] = []
    while playing.any():
        if look is not None:
            looks.append({name: np.array(values) for name, values in look(scenario).items()})
        actions = policy.act(observations, env.action_masks())
        following, rewards, terminated, truncated, info = env.step(actions)
        ended = terminated | truncated
        policy.learn(observations, actions, rewards, ended, info)
        step = {"observations": observations, "actions": actions, "rewards": rewards}
        quantities = {name: step_values(info, name, ended) for name in scenario.quantities}
        steps.append(step | {"playing": playing} | quantities)
        playing = playing & ~ended
        observations = following
    kept = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
    return Trace(
        observations=kept.pop("observations"),
        actions=kept.pop("actions"),
        rewards=kept.pop("rewards"),
        playing=kept.pop("playing"),
        quantities=kept,
        seen={name: np.stack([step[name] for step in looks]) for name in looks[0]} if looks else {},
        state_names=tuple(scenario.state_names),
    )
