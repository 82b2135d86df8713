"""What PPO shows and keeps while it learns: curves, the best policy, a progress bar."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from tqdm import tqdm

from routing_gym.agents.curves import (
    CurveLog,
    quantities_on,
    routing_quantities,
    score_names,
)
from routing_gym.agents.ppo_network import actor_probabilities
from routing_gym.envs.data import RoutingData
from routing_gym.envs.sb3 import RoutingVecEnv


class TrainCurves(BaseCallback):
    """Records what the sampled decisions of each rollout brought; see ``routing_quantities``.

    Parameters
    ----------
    train
        The split that is trained on; only its names of adapters and scores are read.
    curves
        Where the points go, as split ``"train"``.
    """

    def __init__(self, train: RoutingData, *, curves: CurveLog) -> None:
        super().__init__()
        self._adapters = train.adapters
        self._scores = score_names(train)
        self._curves = curves
        self._steps: list[dict[str, np.ndarray]] = []

    def _on_rollout_start(self) -> None:
        """Forget the rollout before."""
        self._steps = []

    def _on_step(self) -> bool:
        """Keep the outcomes of one step of all environments."""
        env = self.training_env
        assert isinstance(env, RoutingVecEnv)
        self._steps.append(env.last_step)
        return True

    def _on_rollout_end(self) -> None:
        """Average the rollout and record it."""
        outcomes = {
            name: np.concatenate([step[name] for step in self._steps])
            for name in ("action", "reward", "accuracy", "regret", *self._scores)
        }
        buffer = _algorithm(self).rollout_buffer
        observations = buffer.observations.reshape(-1, buffer.observations.shape[-1])
        quantities = routing_quantities(
            adapters=self._adapters,
            actions=outcomes["action"],
            probabilities=actor_probabilities(_algorithm(self).policy, observations),
            rewards=outcomes["reward"],
            accuracy=outcomes["accuracy"],
            regret=outcomes["regret"],
            scores={name: outcomes[name] for name in self._scores},
        )
        self._curves.record("train", step=self.num_timesteps, quantities=quantities)


class ValidationCurves(BaseCallback):
    """Evaluates the greedy policy on the validation split and keeps the best weights.

    Subclasses may measure more (``quantities``) and judge by another quantity (``criterion``).

    Parameters
    ----------
    validation
        The split.
    curves
        Where the points go, as split ``"validation"``.
    every
        Updates between evaluations, at least 1.

    Attributes
    ----------
    criterion
        The quantity that decides.
    reward
        The criterion at the last evaluation: the greedy policy's reward.
    best_reward
        The highest so far; minus infinity before the first evaluation.
    weights
        A copy of the policy's state at ``best_reward``.
    """

    criterion: ClassVar[str] = "reward"

    def __init__(self, validation: RoutingData, *, curves: CurveLog, every: int) -> None:
        super().__init__()
        self._validation = validation
        self._curves = curves
        self._every = every
        self._rollouts = 0
        self.reward = -math.inf
        self.best_reward = -math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def _on_step(self) -> bool:
        """Nothing to do within a rollout."""
        return True

    def _on_rollout_start(self) -> None:
        """Evaluate after each ``every``-th update; the first rollout has none before it."""
        if self._rollouts and self._rollouts % self._every == 0:
            self._evaluate()
        self._rollouts += 1

    def _on_training_end(self) -> None:
        """Evaluate the last update."""
        self._evaluate()

    def quantities(self, policy: ActorCriticPolicy) -> dict[str, float]:
        """Measure the greedy policy on the split; see ``routing_quantities``."""
        observations = np.asarray(self._validation.observations, dtype=np.float32)
        probabilities = actor_probabilities(policy, observations)
        return quantities_on(
            self._validation, actions=probabilities.argmax(axis=1), probabilities=probabilities
        )

    def _evaluate(self) -> None:
        """Record the greedy policy's quantities and keep its weights if it is the best."""
        policy = _algorithm(self).policy
        policy.set_training_mode(False)
        quantities = self.quantities(policy)
        self._curves.record("validation", step=self.num_timesteps, quantities=quantities)
        self.reward = quantities[self.criterion]
        if self.reward >= self.best_reward:  # of equals the later
            self.best_reward = self.reward
            self.weights = {k: v.detach().clone() for k, v in policy.state_dict().items()}


class ProgressBar(BaseCallback):
    """Shows steps, steps per second and the validation reward on stderr.

    Parameters
    ----------
    validation
        The callback that knows the validation reward.
    total_steps
        Where the bar ends.
    """

    def __init__(self, validation: ValidationCurves, *, total_steps: int) -> None:
        super().__init__()
        self._validation = validation
        self._total = total_steps
        self._bar = tqdm(total=total_steps, desc="ppo", unit="step", unit_scale=True)

    def _on_step(self) -> bool:
        """Advance the bar."""
        self._bar.update(min(self.num_timesteps, self._total) - self._bar.n)
        return True

    def _on_rollout_end(self) -> None:
        """Show the last evaluation."""
        if math.isfinite(self._validation.reward):
            self._bar.set_postfix(
                validation_reward=f"{self._validation.reward:.4f}",
                best=f"{self._validation.best_reward:.4f}",
            )

    def _on_training_end(self) -> None:
        """Leave the bar standing."""
        self._on_rollout_end()
        self._bar.close()


def _algorithm(callback: BaseCallback) -> OnPolicyAlgorithm:
    """Return the algorithm behind a callback, as the type that it is here."""
    assert isinstance(callback.model, OnPolicyAlgorithm)
    return callback.model
