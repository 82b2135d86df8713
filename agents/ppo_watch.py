"""PPO under a stopwatch: how good the policy is after how many seconds of training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from routing_gym.agents.curves import CurveLog
from routing_gym.agents.ppo import PPOAgent, PPOConfig
from routing_gym.agents.ppo_callbacks import ValidationCurves
from routing_gym.agents.seeding import isolated_seed
from routing_gym.envs.data import RoutingData
from routing_gym.envs.routing import RoutingEnv
from routing_gym.envs.sb3 import RoutingVecEnv

DEFAULT_LANES = 8


@dataclass(frozen=True)
class WatchedPoint:
    """The greedy policy after an update.

    Parameters
    ----------
    steps
        Queries answered so far.
    cpu_seconds, wall_seconds
        Of training so far, without the evaluations.
    reward
        The greedy policy's mean reward on the validation split.
    """

    steps: int
    cpu_seconds: float
    wall_seconds: float
    reward: float


class TrainingWatch(ValidationCurves):
    """Evaluates after every update, with the clocks stopped.

    Parameters
    ----------
    validation
        The split.
    curves
        Where the points go too.
    every
        Updates between evaluations.

    Attributes
    ----------
    points : list of WatchedPoint
        One per evaluation.
    """

    def __init__(self, validation: RoutingData, *, curves: CurveLog, every: int = 1) -> None:
        super().__init__(validation, curves=curves, every=every)
        self.points: list[WatchedPoint] = []
        self._cpu = self._wall = 0.0

    def _on_training_start(self) -> None:
        """Start the clocks."""
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def _evaluate(self) -> None:
        """Evaluate, and set the clocks forward by what that took."""
        cpu, wall = time.process_time(), time.perf_counter()
        super()._evaluate()
        self.points.append(
            WatchedPoint(self.num_timesteps, cpu - self._cpu, wall - self._wall, self.reward)
        )
        self._cpu += time.process_time() - cpu
        self._wall += time.perf_counter() - wall


class WatchedPPOAgent(PPOAgent):
    """`PPOAgent` as it is, with a `TrainingWatch` in ``watch`` after training."""

    watch: TrainingWatch

    def _validation_curves(self, validation: RoutingData, curves: CurveLog) -> ValidationCurves:
        """Return the callback that measures the policy and keeps the best."""
        self.watch = TrainingWatch(validation, curves=curves, every=self.config.evaluate_every)
        return self.watch


def watch_agent(
    config: PPOConfig, train: RoutingData, *, validation: RoutingData, seed: int
) -> list[WatchedPoint]:
    """Train our agent in one thread.

    Parameters
    ----------
    config
        Its settings.
    train, validation
        The splits.
    seed
        Of the run.
    """
    agent = WatchedPPOAgent(config)
    with _OneThread():
        agent.train(train, validation=validation, seed=seed)
    return agent.watch.points


def watch_defaults(
    train: RoutingData, *, validation: RoutingData, native: bool, total_steps: int, seed: int
) -> list[WatchedPoint]:
    """Train Stable-Baselines3's PPO with its defaults on 8 environments, in one thread.

    Parameters
    ----------
    train, validation
        The splits.
    native
        On a `RoutingVecEnv` of 8 lanes; otherwise on what ``make_vec_env`` makes of 8
        `RoutingEnv`: a ``DummyVecEnv`` with a ``Monitor`` around each.
    total_steps
        Queries to answer while training; rounded up to whole rollouts of 16,384.
    seed
        Of the run.
    """
    with _OneThread(), isolated_seed(seed):
        env: VecEnv = (
            RoutingVecEnv(DEFAULT_LANES, data=train)
            if native
            else make_vec_env(partial(RoutingEnv, data=train), DEFAULT_LANES)
        )
        model = PPO("MlpPolicy", env, seed=seed, device="cpu")
        watch = TrainingWatch(validation, curves=CurveLog(None))
        model.learn(total_steps, callback=watch)
        env.close()
    return watch.points


class _OneThread:
    """Lets torch compute in one thread, and then in as many as before."""

    def __enter__(self) -> None:
        """Keep the number."""
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        """Restore it."""
        torch.set_num_threads(self._threads)
