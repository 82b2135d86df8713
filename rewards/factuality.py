"""Factuality: what can be known about an answer's truth without knowing the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from routing_gym.rewards.checks import CHECKS
from routing_gym.rewards.consistency import agreement
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import copied_share, words

UNKNOWN = 0.5
ECHO = 0.6
FIXED_FORMS = ("number", "word", "date", "list", "record")  # where a right answer is said one way
WEIGHTS: dict[str, float] = {"checks": 1.0, "consistency": 0.1, "p_true": 0.0}


class Factuality:
    """Weighted mean of cheap checks, self-consistency and P(True), as far as each applies.

    The checks (`routing_gym.rewards.checks`) count as their mean; self-consistency
    (`routing_gym.rewards.consistency`) counts where the form leaves one way to say the right
    thing; P(True) where the answer carries it, it is never asked for here. Where nothing applies
    the score is 0.5.

    The default weights are those of the highest AUROC against verified accuracy on the embedded
    table's validation split, of {0, .1, .25, .5, 1, 2} for self-consistency and
    {0, .1, .25, .5, 1} for P(True), the checks' weight being 1. P(True) of the embedded base
    model is no better than a coin, so it has the weight 0; give it one with a base that knows
    more. Free text is left out of self-consistency: there it told right from wrong no better than
    chance within one adapter's answers, and put any single wrong word above any whole sentence.

    **Sees** whether stated arithmetic holds, whether a number is the value of the one expression
    in the query, whether code parses and defines what it reads, whether names, choices, items,
    dates and fields come from the query and stand in the fact asked about, whether a sorted list
    is sorted; and whether the model would say it again.

    **Is fooled by** anything wrong in a way that its query does not show and its model does not
    doubt: another item of the same query, code that runs and returns a wrong value, a wrong fact
    about the world, told with confidence. A fact stated after a right equality rides on it.
    Echoing does not pay: a response that repeats most of its query's text scores 0 though all its
    words are grounded, and so does an empty one.

    Parameters
    ----------
    weights
        Weight of ``"checks"``, ``"consistency"`` and ``"p_true"``; a missing one is 0.

    Raises
    ------
    ValueError
        If a weight is unknown, negative or not finite.
    """

    name = "factuality"
    direction: Direction = "higher"

    def __init__(self, *, weights: Mapping[str, float] = WEIGHTS) -> None:
        for part, weight in weights.items():
            if part not in WEIGHTS:
                raise ValueError(f"weights has {part!r}: known are {', '.join(WEIGHTS)}.")
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weights[{part!r}]={weight} must be finite and at least 0.")
        self._weights = dict(weights)

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.array([self._factuality(answer) for answer in answers], dtype=np.float64)

    def _factuality(self, answer: Answer) -> float:
        """Weighted mean of the parts that apply to one answer."""
        if not words(answer.response) or copied_share(answer.query, answer.response) >= ECHO:
            return 0.0
        total = weight = 0.0
        for part, value in _parts(answer).items():
            if value is not None:
                total += self._weights.get(part, 0.0) * value
                weight += self._weights.get(part, 0.0)
        return total / weight if weight else UNKNOWN


def _parts(answer: Answer) -> dict[str, float | None]:
    """Measure the parts of one answer's score; None for what does not apply."""
    shares = [share for check in CHECKS if (share := check(answer)) is not None]
    return {
        "checks": sum(shares) / len(shares) if shares else None,
        "consistency": agreement(answer) if answer.form in FIXED_FORMS else None,
        "p_true": answer.p_true,
    }
