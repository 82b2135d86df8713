"""Settings of PPO on the sequential scenarios."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from routing_gym.agents.bandit import (
    require_at_least,
    require_not_negative,
    require_positive,
)

Algorithm = Literal["ppo", "maskable_ppo", "recurrent_ppo"]
ALGORITHM_NAMES: tuple[Algorithm, ...] = ("ppo", "maskable_ppo", "recurrent_ppo")


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
    reward_scale
        What rewards are multiplied by, above 0; it brings returns to the order of 1, without which
        the critic's gradient, clipped together with the actor's, leaves nothing of the latter.
    max_gradient
        Norm to which gradients are clipped, above 0.
    weight_decay
        Of AdamW, at least 0: against learning single queries by heart.
    imitation_steps
        Gradient steps that imitate a teacher before PPO begins, at least 0; without a teacher
        none. Not with ``"recurrent_ppo"``.
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
    reward_scale: float = 0.1
    max_gradient: float = 0.5
    weight_decay: float = 0.0
    imitation_steps: int = 400

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> ScenarioPPOConfig:
        """Read settings as a YAML file gives them.

        Raises
        ------
        ValueError
            If a setting is unknown (the nearest one is named), of the wrong type or impossible.
        """
        kinds = {part.name: type(part.default) for part in fields(cls)}
        values = dict(settings)
        for name, value in values.items():
            if name not in kinds:
                close = difflib.get_close_matches(str(name), kinds, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                raise ValueError(f"unknown setting {name!r}: known are {', '.join(kinds)}{hint}")
            if kinds[name] is tuple and isinstance(value, list):
                values[name] = tuple(value)
            elif kinds[name] is float and isinstance(value, int) and not isinstance(value, bool):
                values[name] = float(value)
            elif type(value) is not kinds[name]:
                raise ValueError(f"{name}={value!r} must be of type {kinds[name].__name__}.")
        return cls(**values)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHM_NAMES:
            raise ValueError(f"algorithm={self.algorithm!r} must be one of {ALGORITHM_NAMES}.")
        require_at_least(
            self, 1, "num_envs", "steps_per_update", "epochs", "evaluate_every", "lstm_size"
        )
        require_not_negative(self, "entropy_coefficient", "weight_decay", "imitation_steps")
        require_positive(self, "reward_scale", "max_gradient")
        if not all(type(width) is int and width > 0 for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes={self.hidden_sizes} must be whole numbers above 0.")
        if self.imitation_steps and self.algorithm == "recurrent_ppo":
            raise ValueError("algorithm='recurrent_ppo' cannot imitate: set imitation_steps=0.")
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
