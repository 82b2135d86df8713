"""Completeness: whether the answer has the form and size that were asked, and an end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.forms import FORMS, free_form
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import copied_share, words

TRUNCATED = 0.4
ECHO = 0.6


class Completeness:
    """Whether the answer has the asked form (`routing_gym.rewards.forms`) and size, and ended.

    A truncated answer keeps 0.4 of its score, an empty one and one that echoes its query have 0.

    **Sees** that a number, a word, a list of the asked length, one finished sentence with the
    asked words, Python with a function, a date or a record is there and nothing else is in its
    way. "Paris." is complete where a word is asked.

    **Is fooled by** every wrong answer in the right form ("7" for "8", a list of the right length
    with wrong items), and by demands that the query words in a way it does not read. Where the
    form is unknown, any finished text is complete.
    """

    name = "completeness"
    direction: Direction = "higher"

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.array([_completeness(answer) for answer in answers], dtype=np.float64)


def _completeness(answer: Answer) -> float:
    """Score of the form, lowered if the text was cut off."""
    if not words(answer.response) or copied_share(answer.query, answer.response) >= ECHO:
        return 0.0
    form = FORMS.get(answer.form, free_form)
    return form(answer) * (1.0 if answer.finished else TRUNCATED)
