"""PPO, MaskablePPO and RecurrentPPO on the sequential scenarios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from tqdm import tqdm

from routing_gym.agents.artefact import Artefact, read_artefact, write_artefact
from routing_gym.agents.bandit import require_at_least, require_not_negative
from routing_gym.agents.curves import CurveLog
from routing_gym.agents.ppo_network import actor_probabilities
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.agents.seeding import isolated_seed
from routing_gym.envs.scenario_sb3 import ScenarioVecEnv

Algorithm = Literal["ppo", "maskable_ppo", "recurrent_ppo"]
ALGORITHMS: dict[str, tuple[type[Any], type[Any]]] = {
    "ppo": (PPO, ActorCriticPolicy),
    "maskable_ppo": (MaskablePPO, MaskableActorCriticPolicy),
    "recurrent_ppo": (RecurrentPPO, RecurrentActorCriticPolicy),
}
Measure = Callable[[ScenarioPolicy], float]
"""Mean return of a policy on the validation split."""


@dataclass(frozen=True)
class ScenarioPPOConfig:
    """Settings of PPO on a scenario.

    Parameters
    ----------
    algorithm
        ``"ppo"``; ``"maskable_ppo"``, which gives forbidden actions no probability; or
        ``"recurrent_ppo"``, which remembers through an LSTM.
    total_steps
        Decisions while training.
    num_envs
        Lanes, at least 1.
    steps_per_update
        Steps of every lane between updates, at least 1.
    batch_size
        Decisions per gradient step, at least 2.
    epochs
        Passes over each rollout, at least 1.
    learning_rate
        Of Adam at the start, above 0; it falls linearly to a tenth.
    discount
        In (0, 1]; 1 counts all of a finite episode alike.
    gae_lambda
        Of the generalised advantage estimate, in [0, 1].
    entropy_coefficient
        At least 0.
    clip_range
        In (0, 1).
    hidden_sizes
        Widths of the hidden layers.
    lstm_size
        Width of the LSTM of ``"recurrent_ppo"``.
    evaluate_every
        Updates between measurements on validation, at least 1.
    """

    algorithm: Algorithm = "maskable_ppo"
    total_steps: int = 400_000
    num_envs: int = 256
    steps_per_update: int = 32
    batch_size: int = 1024
    epochs: int = 6
    learning_rate: float = 1e-3
    discount: float = 1.0
    gae_lambda: float = 0.95
    entropy_coefficient: float = 0.005
    clip_range: float = 0.2
    hidden_sizes: tuple[int, ...] = (64, 64)
    lstm_size: int = 64
    evaluate_every: int = 4

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm={self.algorithm!r} must be one of {list(ALGORITHMS)}.")
        require_at_least(
            self, 1, "num_envs", "steps_per_update", "epochs", "evaluate_every", "lstm_size"
        )
        require_not_negative(self, "entropy_coefficient")
        if not 2 <= self.batch_size <= self.rollout:
            raise ValueError(
                f"batch_size={self.batch_size} does not fit: give 2 to num_envs * "
                f"steps_per_update = {self.rollout}."
            )
        if self.total_steps < self.rollout:
            raise ValueError(f"total_steps={self.total_steps} is less than one update.")
        if not 0 < self.learning_rate < math.inf or not 0 < self.clip_range < 1:
            raise ValueError(
                f"learning_rate={self.learning_rate}, clip_range={self.clip_range}: give a "
                "positive, and a number in (0, 1)."
            )
        if not 0 < self.discount <= 1 or not 0 <= self.gae_lambda <= 1:
            raise ValueError(
                f"discount={self.discount}, gae_lambda={self.gae_lambda}: give numbers up to 1."
            )

    @property
    def rollout(self) -> int:
        """Decisions between updates."""
        return self.num_envs * self.steps_per_update

    def scheduled_rate(self, remaining: float) -> float:
        """Return the learning rate when this share of the steps remains, in [0, 1]."""
        return self.learning_rate * (0.1 + 0.9 * remaining)


class ScenarioPPO(ScenarioPolicy):
    r"""Proximal policy optimisation on a sequential scenario.

    Schulman et al., *Proximal Policy Optimization Algorithms* (arXiv:1707.06347, 2017), with
    generalised advantages (arXiv:1506.02438); invalid actions masked after Huang and Ontañón
    (arXiv:2006.14171); both in the implementations of Stable-Baselines3 and sb3-contrib. The
    policy with the highest return on validation is kept, as rules are tuned there.

    Parameters
    ----------
    config
        None takes the defaults.
    **options
        Single fields, which replace those of ``config``.

    Attributes
    ----------
    curves
        Tidy rows: step, split, quantity, value; the scenario's own quantities among them.
    """

    name: ClassVar[str] = "ppo"

    def __init__(self, config: ScenarioPPOConfig | None = None, **options: Any) -> None:
        base = config or ScenarioPPOConfig()
        if isinstance(options.get("hidden_sizes"), list):
            options["hidden_sizes"] = tuple(options["hidden_sizes"])
        self.config = replace(base, **options)
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
        log_dir: Path | None = None,
        progress: bool = False,
    ) -> None:
        """Learn on a scenario's lanes.

        Parameters
        ----------
        env
            The train split's lanes; there are ``config.num_envs`` of them.
        measure
            Mean return on validation, by which the best policy is chosen.
        seed
            Of the run.
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
        algorithm, policy_class = ALGORITHMS[config.algorithm]
        with isolated_seed(seed):
            env.seed(int(np.random.default_rng(seed).integers(2**31)))
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
                policy_kwargs=self._policy_options(),
                device="cpu",
            )
            model.set_logger(Logger(None, []))
            self.policy = model.policy
            best = _KeepBest(self, measure, curves, progress=progress)
            model.learn(config.total_steps, callback=best)
        curves.close()
        self.curves = curves.rows
        self.policy.load_state_dict(best.weights)
        self.policy.set_training_mode(False)

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
        options: dict[str, Any] = {"net_arch": list(self.config.hidden_sizes)}
        if self.config.algorithm == "recurrent_ppo":
            options |= {"lstm_hidden_size": self.config.lstm_size, "enable_critic_lstm": True}
        return options

    def _blank(self, lanes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an LSTM's state before anything was seen."""
        lstm = self.policy.lstm_actor
        shape = (lstm.num_layers, lanes, lstm.hidden_size)
        return torch.zeros(shape), torch.zeros(shape)


class _KeepBest(BaseCallback):
    """Records the scenario's quantities, measures on validation, keeps the best weights."""

    def __init__(
        self, agent: ScenarioPPO, measure: Measure, curves: CurveLog, *, progress: bool
    ) -> None:
        super().__init__()
        self._agent, self._measure, self._curves = agent, measure, curves
        self._bar = tqdm(
            total=agent.config.total_steps, unit="step", unit_scale=True, disable=not progress
        )
        self._sums: dict[str, float] = {}
        self._steps = self._updates = 0
        self.best = -math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def _on_step(self) -> bool:
        """Add up one step of all lanes."""
        env = self.training_env
        assert isinstance(env, ScenarioVecEnv)
        for name, values in env.last_step.items():
            if name != "action":
                self._sums[name] = self._sums.get(name, 0.0) + float(np.mean(values))
        self._steps += 1
        self._bar.update(env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        """Record the rollout's means."""
        means = {name: total / self._steps for name, total in self._sums.items()}
        self._curves.record("train", step=self.num_timesteps, quantities=means)
        self._sums, self._steps = {}, 0

    def _on_rollout_start(self) -> None:
        """Measure after each so many updates; the first rollout has none before it."""
        if self._updates and self._updates % self._agent.config.evaluate_every == 0:
            self._evaluate()
        self._updates += 1

    def _on_training_end(self) -> None:
        """Measure the last update."""
        self._evaluate()
        self._bar.close()

    def _evaluate(self) -> None:
        """Record the greedy policy's return on validation; keep its weights if it is the best."""
        policy = self._agent.policy
        policy.set_training_mode(False)
        value = self._measure(self._agent)
        self._curves.record("validation", step=self.num_timesteps, quantities={"return": value})
        self._bar.set_postfix(validation_return=f"{value:.4f}")
        if value >= self.best:
            self.best = value
            self.weights = {k: v.detach().clone() for k, v in policy.state_dict().items()}
