"""What an answer costs, as a share of a ceiling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.metric import Answer, Direction

CHARACTERS_PER_TOKEN = 4


class Tokens:
    """Generated tokens as a share of a ceiling, cut at 1; lower is better.

    **Sees** length. **Is fooled by** short wrong answers, which are the cheapest of all, and does
    not see the prompt's tokens. An answer without a measured count is taken to have one token
    per 4 characters.

    Parameters
    ----------
    ceiling
        Tokens that cost 1, positive.

    Raises
    ------
    ValueError
        If the ceiling is not positive and finite.
    """

    name = "tokens"
    direction: Direction = "lower"

    def __init__(self, *, ceiling: float = 128.0) -> None:
        self._ceiling = _positive(ceiling, self.name)

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        counts = [
            answer.completion_tokens or math.ceil(len(answer.response) / CHARACTERS_PER_TOKEN)
            for answer in answers
        ]
        return np.minimum(np.array(counts, dtype=np.float64) / self._ceiling, 1.0)


class Seconds:
    """Seconds of generation as a share of a ceiling, cut at 1; lower is better.

    **Sees** measured time; an answer without a measurement scores 0. **Is fooled by** the
    machine's load and by batching: compare only times taken in one run on one machine.

    Parameters
    ----------
    ceiling
        Seconds that cost 1, positive.

    Raises
    ------
    ValueError
        If the ceiling is not positive and finite.
    """

    name = "seconds"
    direction: Direction = "lower"

    def __init__(self, *, ceiling: float = 10.0) -> None:
        self._ceiling = _positive(ceiling, self.name)

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        seconds = np.array([answer.seconds for answer in answers], dtype=np.float64)
        return np.minimum(seconds / self._ceiling, 1.0)


def _positive(ceiling: float, name: str) -> float:
    """Return the ceiling if it can divide."""
    if not (math.isfinite(ceiling) and ceiling > 0):
        raise ValueError(f"ceiling={ceiling} of metric {name!r} must be positive and finite.")
    return float(ceiling)
