"""What PPO needs beside itself on a scenario: scaled rewards, a common scale, a start, a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper
from tqdm import tqdm

from routing_gym.agents.curves import CurveLog
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.envs.scenario_sb3 import ScenarioVecEnv

_CLIP = 5.0  # standard deviations
_SMOOTHING = 0.1  # probability that imitation leaves to all allowed actions


class ScaledRewards(VecEnvWrapper):
    """Multiplies rewards by a constant.

    Parameters
    ----------
    env
        The lanes.
    scale
        The constant.
    """

    def __init__(self, env: ScenarioVecEnv, *, scale: float) -> None:
        super().__init__(env)
        self._scale = scale

    def reset(self) -> Any:
        """Begin an episode on every lane."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Take one step; see `ScenarioVecEnv.step_wait`."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards * self._scale, dones, infos


class Standardised(BaseFeaturesExtractor):
    """Subtracts a mean and divides by a deviation, both fixed before training and saved with it.

    Parameters
    ----------
    observation_space
        Box of shape (D + S,).
    """

    def __init__(self, observation_space: spaces.Box) -> None:
        width = math.prod(observation_space.shape)
        super().__init__(observation_space, features_dim=width)
        self.centre: torch.Tensor
        self.factor: torch.Tensor
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, D + S)."""
        return ((observations - self.centre) * self.factor).clamp(-_CLIP, _CLIP)

    def settle(self, observations: np.ndarray) -> None:
        """Take mean and deviation from observations (N, D + S); what does not vary is left."""
        deviation = observations.std(axis=0)
        factor = 1.0 / np.where(deviation > 1e-6, deviation, 1.0)
        self.centre.copy_(torch.as_tensor(observations.mean(axis=0)))
        self.factor.copy_(torch.as_tensor(factor))


class Play:
    """What a policy did on some steps of all lanes: the material of imitation.

    Parameters
    ----------
    env
        Lanes, which are reset.
    steps
        T.
    rng
        Chooses actions where there is no teacher.
    teacher
        Chooses actions; None takes any allowed one.

    Attributes
    ----------
    observations
        float32 (T, L, D + S).
    masks
        bool (T, L, A).
    actions
        int64 (T, L).
    returns
        float64 (T, L), rewards from the step to the episode's end, discounted; nan where the play
        ended before the episode.
    """

    def __init__(
        self,
        env: ScenarioVecEnv,
        *,
        steps: int,
        rng: np.random.Generator,
        teacher: ScenarioPolicy | None = None,
        discount: float = 1.0,
    ) -> None:
        lanes, actions = env.num_envs, int(env.action_space.n)  # type: ignore[attr-defined]
        seen = env.reset()
        self.observations = np.zeros((steps, *seen.shape), dtype=np.float32)
        self.masks = np.zeros((steps, lanes, actions), dtype=np.bool_)
        self.actions = np.zeros((steps, lanes), dtype=np.int64)
        rewards, ended = np.zeros((steps, lanes)), np.zeros((steps, lanes), dtype=np.bool_)
        if teacher is not None:
            teacher.bind(env.env.scenario).begin(lanes)
        for step in range(steps):
            masks = env.action_masks()
            if teacher is None:
                chosen = np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)
            else:
                chosen = teacher.act(seen, masks)
            self.observations[step], self.masks[step] = seen, masks
            self.actions[step] = chosen
            before = seen
            seen, rewards[step], ended[step], _ = env.step(chosen)
            if teacher is not None:
                teacher.learn(before, chosen, rewards[step], ended[step], {})
        self.returns = returns_to_go(rewards, ended, discount=discount)


def returns_to_go(rewards: np.ndarray, ended: np.ndarray, *, discount: float) -> np.ndarray:
    """Sum rewards from each step to the end of its episode.

    Parameters
    ----------
    rewards
        float (T, L).
    ended
        bool (T, L), the steps that end an episode.
    discount
        In (0, 1].

    Returns
    -------
    np.ndarray
        float64 (T, L); nan for an episode that has not ended.
    """
    totals = np.empty(rewards.shape)
    ahead = np.full(rewards.shape[1], np.nan)
    for step in range(len(rewards) - 1, -1, -1):
        ahead = rewards[step] + discount * np.where(ended[step], 0.0, ahead)
        totals[step] = ahead
    return totals


def imitate(
    policy: Any, play: Play, *, steps: int, batch_size: int, learning_rate: float, scale: float
) -> None:
    """Fit an actor to a teacher's choices and its critic to what they returned.

    The targets give every allowed action some probability, so that there is something left to
    explore: behaviour cloning with label smoothing (Szegedy et al. 2016, section 7).

    Parameters
    ----------
    policy
        Actor and critic of Stable-Baselines3, without memory.
    play
        What the teacher did.
    steps
        Gradient steps.
    batch_size
        Decisions per step.
    learning_rate
        Of Adam.
    scale
        What rewards are multiplied by.
    """
    known = np.isfinite(play.returns)
    observations = torch.as_tensor(play.observations[known])
    masks = torch.as_tensor(play.masks[known])
    actions = torch.as_tensor(play.actions[known])
    returns = torch.as_tensor(play.returns[known] * scale, dtype=torch.float32)
    smooth = masks.float() / masks.sum(dim=1, keepdim=True)
    targets = (1 - _SMOOTHING) * torch.nn.functional.one_hot(actions, masks.shape[1])
    targets = targets + _SMOOTHING * smooth
    optimiser = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    policy.set_training_mode(True)
    for _ in range(steps):
        rows = torch.randint(len(actions), (batch_size,))
        logits = policy.get_distribution(observations[rows]).distribution.logits
        logits = torch.where(masks[rows], logits, torch.tensor(-1e8))
        log_probabilities = torch.log_softmax(logits, dim=1)
        error = policy.predict_values(observations[rows]).flatten() - returns[rows]
        loss = -(targets[rows] * log_probabilities).sum(dim=1).mean() + 0.5 * (error**2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


class KeepBest(BaseCallback):
    """Records the scenario's quantities, measures on validation, keeps the best weights.

    Parameters
    ----------
    env
        The lanes behind what the algorithm sees.
    measure
        Quantities of the present policy on validation, its ``return`` among them.
    curves
        Where the points go.
    total_steps
        Where the progress bar ends.
    every
        Updates between measurements.
    progress
        Whether there is a bar on stderr.

    Attributes
    ----------
    best
        The highest return so far.
    weights
        The policy's state then.
    """

    def __init__(
        self,
        env: ScenarioVecEnv,
        *,
        measure: Callable[[], Mapping[str, float]],
        curves: CurveLog,
        total_steps: int,
        every: int,
        progress: bool,
    ) -> None:
        super().__init__()
        self._env, self._measure, self._curves, self._every = env, measure, curves, every
        self._bar = tqdm(total=total_steps, unit="step", unit_scale=True, disable=not progress)
        self._rollout: dict[str, list[float]] = {}
        self._updates = 0
        self.best = -math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def _on_step(self) -> bool:
        """Keep one step of all lanes; of what counts at an episode's end, only the ended ones."""
        env = self._env
        for name, values in env.last_step.items():
            if name in env.env.scenario.episode_quantities:
                values = values[env.ended]
            if name != "action" and len(values):
                self._rollout.setdefault(name, []).append(float(np.mean(values)))
        self._bar.update(env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        """Record the rollout's means."""
        means = {name: float(np.mean(steps)) for name, steps in self._rollout.items()}
        self._curves.record("train", step=self.num_timesteps, quantities=means)
        self._rollout = {}

    def _on_rollout_start(self) -> None:
        """Measure before the first update and after each so many."""
        if self._updates % self._every == 0:
            self._evaluate()
        self._updates += 1

    def _on_training_end(self) -> None:
        """Measure the last update."""
        self._evaluate()
        self._bar.close()

    def _evaluate(self) -> None:
        """Record the greedy policy's return on validation; keep its weights if it is the best."""
        policy = self.model.policy
        policy.set_training_mode(False)
        quantities = self._measure()
        value = quantities["return"]
        self._curves.record("validation", step=self.num_timesteps, quantities=quantities)
        self._bar.set_postfix(validation_return=f"{value:.4f}")
        if value >= self.best:
            self.best = value
            self.weights = {k: v.detach().clone() for k, v in policy.state_dict().items()}
