"""Factuality, first version: what can be checked about an answer without knowing the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.checks import CHECKS
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import copied_share, words

UNKNOWN = 0.5
ECHO = 0.6


class Factuality:
    """Mean of the cheap checks that apply to an answer; 0.5 where none applies.

    **Sees** whether arithmetic that the answer states holds, whether its number is the value of
    the one expression that the query holds, whether its code parses and defines what it reads,
    whether names, choices, list items, dates and record fields come from the query, whether a
    sorted list is sorted.

    **Is fooled by** anything wrong in a way that its query does not show: another name or item
    of the same query, code that runs and returns a wrong value, a wrong fact about the world
    (always 0.5, as is a right one). A fact stated after a right equality rides on it. Echoing
    does not pay: a response that repeats most of its query's text scores 0 though all its words
    are grounded, and so does an empty one.
    """

    name = "factuality"
    direction: Direction = "higher"

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.array([_factuality(answer) for answer in answers], dtype=np.float64)


def _factuality(answer: Answer) -> float:
    """Mean of the checks that apply to one answer."""
    if not words(answer.response) or copied_share(answer.query, answer.response) >= ECHO:
        return 0.0
    shares = [share for check in CHECKS if (share := check(answer)) is not None]
    return sum(shares) / len(shares) if shares else UNKNOWN
