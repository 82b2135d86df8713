"""PPO, MaskablePPO and RecurrentPPO on the sequential scenarios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from routing_gym.agents.artefact import Artefact, read_artefact, write_artefact
from routing_gym.agents.curves import CurveLog
from routing_gym.agents.ppo_network import actor_probabilities
from routing_gym.agents.scenario_learning import (
    KeepBest,
    Play,
    ScaledRewards,
    Standardised,
    imitate,
)
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.agents.scenario_settings import ScenarioPPOConfig
from routing_gym.agents.seeding import isolated_seed
from routing_gym.envs.scenario_sb3 import ScenarioVecEnv

ALGORITHMS: dict[str, tuple[type[Any], type[Any]]] = {
    "ppo": (PPO, ActorCriticPolicy),
    "maskable_ppo": (MaskablePPO, MaskableActorCriticPolicy),
    "recurrent_ppo": (RecurrentPPO, RecurrentActorCriticPolicy),
}
Measure = Callable[[ScenarioPolicy], Mapping[str, float]]
"""A policy's quantities on the validation split, the mean ``return`` among them."""
_IMITATED = 256  # steps of every lane that a teacher plays; two of the longest episodes
_PROBE = 64  # steps of every lane from which the observations' scale is taken


class ScenarioPPO(ScenarioPolicy):
    r"""Proximal policy optimisation on a sequential scenario.

    Schulman et al., *Proximal Policy Optimization Algorithms* (arXiv:1707.06347, 2017), with
    generalised advantages (arXiv:1506.02438); invalid actions masked after Huang and Ontañón
    (arXiv:2006.14171); both in the implementations of Stable-Baselines3 and sb3-contrib. The
    policy with the highest return on validation is kept, as rules are tuned there. With a teacher
    it begins as an imitation of it (`routing_gym.agents.scenario_learning.imitate`).

    Parameters
    ----------
    config
        None takes the defaults.
    **options
        Single fields, which replace those of ``config``; see `ScenarioPPOConfig.from_mapping`.

    Attributes
    ----------
    curves
        Tidy rows: step, split, quantity, value; the scenario's own quantities among them.
    """

    name: ClassVar[str] = "ppo"

    def __init__(self, config: ScenarioPPOConfig | None = None, **options: Any) -> None:
        base = asdict(config) if config else {}
        self.config = ScenarioPPOConfig.from_mapping(base | options)
        self.curves: list[dict[str, Any]] = []
        self.policy: Any = None
        self._memory: Any = None
        self._starts = np.zeros(0, dtype=np.bool_)

    def train(
        self,
        env: ScenarioVecEnv,
        *,
        measure: Measure,
        seed: int,
        teacher: ScenarioPolicy | None = None,
        log_dir: Path | None = None,
        progress: bool = False,
    ) -> None:
        """Learn on a scenario's lanes.

        Parameters
        ----------
        env
            The train split's lanes; there are ``config.num_envs`` of them.
        measure
            Quantities on validation, of which ``return`` chooses the best policy.
        seed
            Of the run.
        teacher
            A rule to begin from; None begins from nothing.
        log_dir
            Folder for TensorBoard files and ``curves.csv``; None writes nothing.
        progress
            Whether to show a progress bar on stderr.

        Raises
        ------
        ValueError
            If the number of lanes differs from the configuration's.
        """
        config = self.config
        if env.num_envs != config.num_envs:
            raise ValueError(f"env has {env.num_envs} lanes, not num_envs={config.num_envs}.")
        curves = CurveLog(log_dir)
        rng = np.random.default_rng(seed)
        with isolated_seed(seed):
            model = self._model(ScaledRewards(env, scale=config.reward_scale))
            self.policy = model.policy
            env.seed(int(rng.integers(2**31)))
            seen = Play(env, steps=_PROBE, rng=rng).observations
            self.policy.features_extractor.settle(seen.reshape(-1, seen.shape[-1]))
            if teacher is not None and config.imitation_steps:
                self._imitate(env, teacher, rng)
            env.seed(int(rng.integers(2**31)))
            best = KeepBest(
                env,
                measure=lambda: measure(self),
                curves=curves,
                total_steps=config.total_steps,
                every=config.evaluate_every,
                progress=progress,
            )
            model.learn(config.total_steps, callback=best)
        curves.close()
        self.curves = curves.rows
        self.policy.load_state_dict(best.weights)
        self.policy.set_training_mode(False)

    def _model(self, env: ScaledRewards) -> OnPolicyAlgorithm:
        """Return the untrained algorithm."""
        config = self.config
        algorithm, policy_class = ALGORITHMS[config.algorithm]
        model: OnPolicyAlgorithm = algorithm(
            policy_class,
            env,
            learning_rate=config.scheduled_rate,
            n_steps=config.steps_per_update,
            batch_size=config.batch_size,
            n_epochs=config.epochs,
            gamma=config.discount,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip_range,
            ent_coef=config.entropy_coefficient,
            max_grad_norm=config.max_gradient,
            policy_kwargs=self._policy_options(),
            device="cpu",
        )
        model.set_logger(Logger(None, []))
        return model

    def _imitate(
        self, env: ScenarioVecEnv, teacher: ScenarioPolicy, rng: np.random.Generator
    ) -> None:
        """Begin as the teacher does."""
        config = self.config
        play = Play(env, steps=_IMITATED, rng=rng, teacher=teacher, discount=config.discount)
        imitate(
            self.policy,
            play,
            steps=config.imitation_steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            scale=config.reward_scale,
        )

    def begin(self, lanes: int) -> None:
        """Forget what the LSTM remembers."""
        self._memory, self._starts = None, np.ones(lanes, dtype=np.bool_)

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the most probable allowed action of each lane, int64 (L,)."""
        if self.config.algorithm != "recurrent_ppo":
            return actor_probabilities(self.policy, observations, mask=masks).argmax(axis=1)
        tensors = torch.as_tensor(observations)
        with torch.no_grad():
            memory = self._memory if self._memory is not None else self._blank(len(observations))
            distribution, self._memory = self.policy.get_distribution(
                tensors, memory, torch.as_tensor(self._starts, dtype=torch.float32)
            )
        self._starts = np.zeros(len(observations), dtype=np.bool_)
        logits = distribution.distribution.logits.numpy()
        return np.where(masks, logits, -np.inf).argmax(axis=1)

    def learn(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Note where episodes ended; nothing is learned while deciding."""
        self._starts = ended.copy()

    def save(self, folder: Path | str, *, metadata: Mapping[str, Any] | None = None) -> None:
        """Write the policy as ``agent.json`` and ``weights.safetensors``, without pickle.

        Raises
        ------
        RuntimeError
            If the policy has not been trained.
        """
        if self.policy is None:
            raise RuntimeError("the policy is not trained: call train or load first.")
        write_artefact(
            Path(folder),
            Artefact(
                agent=f"scenario_{self.config.algorithm}",
                adapters=tuple(f"action_{i}" for i in range(int(self.policy.action_space.n))),
                num_features=int(self.policy.observation_space.shape[0]),
                config=asdict(self.config),
                metadata=dict(metadata or {}),
                arrays={k: v.detach().numpy() for k, v in self.policy.state_dict().items()},
            ),
        )

    @classmethod
    def load(cls, folder: Path | str) -> ScenarioPPO:
        """Read a policy that ``save`` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder holds no saved policy.
        ValueError
            If it was edited or truncated, or holds something else.
        """
        artefact = read_artefact(Path(folder))
        if not artefact.agent.startswith("scenario_"):
            raise ValueError(f"{folder} holds agent {artefact.agent!r}, not a scenario's policy.")
        agent = cls(**artefact.config)
        with isolated_seed(0):
            agent.policy = ALGORITHMS[agent.config.algorithm][1](
                spaces.Box(-math.inf, math.inf, (artefact.num_features,), np.float32),
                spaces.Discrete(len(artefact.adapters)),
                agent.config.scheduled_rate,
                **agent._policy_options(),
            )
        agent.policy.load_state_dict({k: torch.tensor(v) for k, v in artefact.arrays.items()})
        agent.policy.set_training_mode(False)
        return agent

    def _policy_options(self) -> dict[str, Any]:
        """Return the architecture, which the configuration determines."""
        options: dict[str, Any] = {
            "net_arch": list(self.config.hidden_sizes),
            "features_extractor_class": Standardised,
            "optimizer_class": torch.optim.AdamW,
            "optimizer_kwargs": {"eps": 1e-5, "weight_decay": self.config.weight_decay},
        }
        if self.config.algorithm == "recurrent_ppo":
            options |= {"lstm_hidden_size": self.config.lstm_size, "enable_critic_lstm": True}
        return options

    def _blank(self, lanes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an LSTM's state before anything was seen."""
        lstm = self.policy.lstm_actor
        shape = (lstm.num_layers, lanes, lstm.hidden_size)
        return torch.zeros(shape), torch.zeros(shape)
