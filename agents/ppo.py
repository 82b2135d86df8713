"""PPO on the vectorised routing environment: learning from the chosen adapter's reward alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from routing_gym.agents.agent import Agent, Feedback
from routing_gym.agents.curves import CurveLog
from routing_gym.agents.onnx_graph import OnnxGraph, OnnxOutput
from routing_gym.agents.onnx_layers import softmax, times
from routing_gym.agents.ppo_callbacks import ProgressBar, TrainCurves, ValidationCurves
from routing_gym.agents.ppo_network import ScaledEmbedding, actor_probabilities, actor_to_onnx
from routing_gym.agents.seeding import isolated_seed
from routing_gym.envs.data import RoutingData
from routing_gym.envs.sb3 import RoutingVecEnv


@dataclass(frozen=True)
class PPOConfig:
    r"""Settings of PPO for one-step episodes.

    Parameters
    ----------
    total_steps
        Queries answered while training, at least ``num_envs * steps_per_update``; rounded up to
        whole updates.
    num_envs
        Environments that step at once, at least 1.
    steps_per_update
        Steps of every environment between updates, at least 1. Longer rollouts bring nothing
        where each step ends its episode.
    batch_size
        Decisions per gradient step, at least 2.
    epochs
        Passes over each rollout, at least 1.
    learning_rate
        Of AdamW at the start, above 0; it falls linearly to ``final_learning_rate_share`` of it.
    final_learning_rate_share
        In [0, 1]; 1 keeps the learning rate constant.
    entropy_coefficient
        Weight of the policy's entropy in the objective, at least 0.
    weight_decay
        Of AdamW, at least 0; what keeps the network from learning small train splits by heart.
    clip_range
        The clipping parameter epsilon, in (0, 1).
    hidden_sizes
        Widths of the hidden layers of the policy and of the value network, each at least 1.
    embedding_scale
        Factor on the embeddings before the network, above 0. Unit-norm embeddings have entries of
        about :math:`1 / \sqrt D`; scaled up, learning is faster, and by much more (:math:`\sqrt D`)
        the network learns small train splits by heart.
    evaluate_every
        Updates between evaluations on validation, at least 1.
    """

    total_steps: int = 122_880
    num_envs: int = 2048
    steps_per_update: int = 1
    batch_size: int = 512
    epochs: int = 4
    learning_rate: float = 1e-3
    final_learning_rate_share: float = 0.1
    entropy_coefficient: float = 0.01
    weight_decay: float = 5.0
    clip_range: float = 0.2
    hidden_sizes: tuple[int, ...] = (64,)
    embedding_scale: float = 4.0
    evaluate_every: int = 1

    def __post_init__(self) -> None:
        for name in ("num_envs", "steps_per_update", "epochs", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")
        if not 2 <= self.batch_size <= self.rollout:
            raise ValueError(
                f"batch_size={self.batch_size} does not fit: give 2 to num_envs * "
                f"steps_per_update = {self.rollout}."
            )
        if self.total_steps < self.rollout:
            raise ValueError(
                f"total_steps={self.total_steps} is less than one update: give at least num_envs "
                f"* steps_per_update = {self.rollout}."
            )
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes={self.hidden_sizes!r}: give widths of at least 1.")
        self._check_reals()

    def _check_reals(self) -> None:
        """Refuse real numbers outside their ranges."""
        for name in ("learning_rate", "embedding_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} is not above 0: give a positive.")
        for name in ("entropy_coefficient", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} is negative: give 0 or more.")
        if not 0 < self.clip_range < 1:
            raise ValueError(f"clip_range={self.clip_range} is outside (0, 1): 0.2 is usual.")
        if not 0 <= self.final_learning_rate_share <= 1:
            raise ValueError(
                f"final_learning_rate_share={self.final_learning_rate_share} is outside [0, 1]: "
                "give 1 for a constant learning rate."
            )

    @property
    def rollout(self) -> int:
        """Decisions per update."""
        return self.num_envs * self.steps_per_update

    def scheduled_rate(self, remaining: float) -> float:
        """Return the learning rate when this share of the steps remains, in [0, 1]."""
        final = self.final_learning_rate_share
        return self.learning_rate * (final + (1 - final) * remaining)


class PPOAgent(Agent):
    r"""Proximal policy optimisation, from bandit feedback.

    Schulman et al., *Proximal Policy Optimization Algorithms* (arXiv:1707.06347, 2017),
    equations 7 and 9, in the implementation of Stable-Baselines3. It maximises

    .. math:: E\left[\min(\rho A, \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A)
        - \tfrac 12 (V(x) - r)^2 + c\,H(\pi_\theta(\cdot | x))\right],
        \qquad \rho = \pi_\theta(a | x) / \pi_{old}(a | x).

    Changed for routing: an episode is one query, so the return is the reward, the advantage is
    :math:`A = r - V(x)` (standardised per batch), and the discount and GAE's lambda play no part.
    One vector step over many environments is a rollout. AdamW with strong decay takes Adam's
    place, the learning rate falls, embeddings are scaled up, and the policy with the highest greedy
    reward on the validation split is kept: train splits are small, and a policy that knows them by
    heart routes worse. Relatives of PPO replace ``algorithm_class`` and ``policy_class``, or what
    is observed.
    """

    name: ClassVar[str] = "ppo"
    feedback: ClassVar[Feedback] = "bandit"
    config_class: ClassVar[type[Any]] = PPOConfig
    algorithm_class: ClassVar[type[OnPolicyAlgorithm]] = PPO
    policy_class: ClassVar[type[Any]] = ActorCriticPolicy
    config: PPOConfig

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float64 (N, K), the actor's distribution."""
        return actor_probabilities(self.policy, self._checked(observations))

    def to_onnx(self, graph: OnnxGraph, observations: str) -> OnnxOutput:
        """Add the actor to a graph; the critic stays behind."""
        features = self._features_to_onnx(graph, observations)
        logits = actor_to_onnx(self.policy, graph, features)
        return OnnxOutput(softmax(graph, logits), "probabilities")

    def _features_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add what the network sees of an embedding to a graph."""
        return times(graph, observations, self.config.embedding_scale, np.float32)

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Train with Stable-Baselines3 and keep the best policy on validation."""
        with isolated_seed(seed):
            model = self._model(train, seed)
            board = None if log_dir is None else TensorBoardOutputFormat(str(log_dir))
            model.set_logger(Logger(None, [] if board is None else [board]))
            curves = CurveLog(log_dir, writer=None if board is None else board.writer)
            best = self._validation_curves(validation, curves)
            callbacks: list[BaseCallback] = [TrainCurves(train, curves=curves), best]
            if progress:
                callbacks.append(ProgressBar(best, total_steps=self.config.total_steps))
            model.learn(self.config.total_steps, callback=callbacks)
        curves.close()
        self.curves = curves.rows
        self.policy = model.policy
        self.policy.load_state_dict(best.weights)
        self.policy.set_training_mode(False)

    def _model(self, train: RoutingData, seed: int) -> OnPolicyAlgorithm:
        """Set up Stable-Baselines3's algorithm for one-step episodes."""
        config = self.config
        rng = np.random.default_rng(seed)
        env = self._environment(train, rng.spawn(1)[0])
        # lane i gets this seed + i: drawn, so that runs of neighbouring seeds share no lanes
        env.seed(int(rng.integers(2**31)))
        algorithm: type[Any] = self.algorithm_class  # the base class names only some settings
        model: OnPolicyAlgorithm = algorithm(
            self.policy_class,
            env,
            learning_rate=config.scheduled_rate,
            n_steps=config.steps_per_update,
            batch_size=config.batch_size,
            n_epochs=config.epochs,
            gamma=1.0,
            gae_lambda=1.0,
            clip_range=config.clip_range,
            ent_coef=config.entropy_coefficient,
            policy_kwargs=self._policy_options(),
            device="cpu",
        )
        return model

    def _environment(self, train: RoutingData, rng: np.random.Generator) -> RoutingVecEnv:
        """Return what is learned on; ``rng`` is for draws beside those of the queries."""
        return RoutingVecEnv(self.config.num_envs, data=train)

    def _validation_curves(self, validation: RoutingData, curves: CurveLog) -> ValidationCurves:
        """Return the callback that measures the policy and keeps the best."""
        return ValidationCurves(validation, curves=curves, every=self.config.evaluate_every)

    @property
    def _input_width(self) -> int:
        """Length of what the network observes."""
        return self.num_features

    def _policy_options(self) -> dict[str, Any]:
        """Return the architecture, which the configuration determines."""
        return {
            "net_arch": list(self.config.hidden_sizes),
            "features_extractor_class": ScaledEmbedding,
            "features_extractor_kwargs": {"factor": self.config.embedding_scale},
            "optimizer_class": torch.optim.AdamW,
            "optimizer_kwargs": {"weight_decay": self.config.weight_decay, "eps": 1e-5},
        }

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the weights of actor and critic; the architecture is in the configuration."""
        return {}, {k: v.detach().numpy() for k, v in self.policy.state_dict().items()}

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Build the network without an environment and fill it."""
        with isolated_seed(0):
            self.policy = self.policy_class(
                spaces.Box(-math.inf, math.inf, (self._input_width,), np.float32),
                spaces.Discrete(len(self.adapters)),
                self.config.scheduled_rate,
                **self._policy_options(),
            )
        weights = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}
        try:
            self.policy.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"the weights do not fit the policy that agent.json describes: {error}"
            ) from error
        self.policy.set_training_mode(False)
