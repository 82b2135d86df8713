"""The reward: one number made of the scores, decided after they were taken."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from routing_gym.rewards.metric import DIRECTIONS, Direction

# The learned quality, less what the answer cost.
DEFAULT_WEIGHTS: dict[str, float] = {"quality": 9.0, "tokens": 0.5, "seconds": 0.5}

# The plain sum of single metrics, with weights set by hand; kept to compare with.
PLAIN_WEIGHTS: dict[str, float] = {
    "relevance": 1.0,
    "coherence": 1.0,
    "completeness": 3.0,
    "factuality": 3.0,
    "safety": 1.0,
    "tokens": 0.5,
    "seconds": 0.5,
}


@dataclass(frozen=True)
class RewardFunction:
    """Weighted mean of oriented scores: ``sum(w * o) / sum(w)``, in [0, 1].

    ``o`` is the score where higher is better, 1 - score where lower is. ``accuracy`` may be
    weighted like any other column, for agents that are trained on the truth.

    Parameters
    ----------
    weights
        Metric name -> weight; finite, none negative, one positive. Only proportions count.

    Raises
    ------
    ValueError
        If the weights are empty, not finite, negative or all 0.
    """

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping) or not self.weights:
            raise ValueError(f"weights={self.weights!r} must map metric names to weights.")
        for name, weight in self.weights.items():
            number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
            if not (number and math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight {weight!r} of {name!r} must be a finite number >= 0.")
        if not any(self.weights.values()):
            raise ValueError(f"weights={dict(self.weights)} are all 0: make one positive.")
        object.__setattr__(self, "weights", {k: float(w) for k, w in self.weights.items()})

    @classmethod
    def from_yaml(cls, path: str | Path) -> RewardFunction:
        """Read the weights from a flat YAML mapping, or from the ``reward`` key of a config.

        Raises
        ------
        ValueError
            If the file is missing, is no YAML mapping, or its weights are refused.
        """
        if not Path(path).is_file():
            raise ValueError(f"reward file {str(path)!r} does not exist: check the path.")
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"reward file {str(path)!r} is not valid YAML: {error}") from error
        if isinstance(content, dict) and isinstance(content.get("reward"), dict):
            content = content["reward"]
        if not isinstance(content, dict):
            raise ValueError(f"reward file {str(path)!r} must hold 'metric: weight' lines.")
        return cls(content)

    def __call__(
        self, scores: Mapping[str, np.ndarray], directions: Mapping[str, Direction]
    ) -> np.ndarray:
        """Combine scores into rewards.

        Parameters
        ----------
        scores
            Metric name -> scores in [0, 1], all of one shape, such as (N,) or (N, K).
        directions
            Metric name -> "higher" or "lower".

        Returns
        -------
        ndarray
            float64 rewards in [0, 1], of the scores' shape.

        Raises
        ------
        ValueError
            If a weighted metric has no scores or no direction, or a score is NaN or outside
            [0, 1].
        """
        total: np.ndarray | float = 0.0
        for name, weight in self.weights.items():
            values = _column(name, scores)
            direction = directions.get(name)
            if direction not in DIRECTIONS:
                raise ValueError(f"direction {direction!r} of {name!r} must be in {DIRECTIONS}.")
            total = total + weight * (values if direction == "higher" else 1 - values)
        return np.asarray(total / sum(self.weights.values()))


DEFAULT_REWARD = RewardFunction(DEFAULT_WEIGHTS)
PLAIN_REWARD = RewardFunction(PLAIN_WEIGHTS)


def _column(name: str, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Scores of one metric as float64, all in [0, 1]."""
    if name not in scores:
        near = difflib.get_close_matches(name, scores, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown metric {name!r}: known are {', '.join(sorted(scores))}{hint}")
    values = np.asarray(scores[name], dtype=np.float64)
    wrong = np.argwhere(~((values >= 0) & (values <= 1)))
    if len(wrong):
        index = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"score {values[index]} of metric {name!r} at index {index} is not in [0, 1]: "
            "score that answer again."
        )
    return values
