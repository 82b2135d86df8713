"""Weakest token: how sure the answering model was where it was least sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.metric import Answer, Direction

UNMEASURED = 0.5


class WeakestToken:
    """Lowest token probability under the model that answered; 0.5 if not recorded, 0 if empty.

    One doubtful token (the wrong digit, the wrong name) spoils an answer, and a mean over tokens
    hides it (Manakul et al., "SelfCheckGPT", 2023, use the same minimum). Recorded while
    generating, so it costs nothing.

    **Sees** the one guess inside an answer that is sure elsewhere.

    **Is fooled by** confident errors, and by length: among many tokens of a right free text, one
    is always unlikely.
    """

    name = "weakest_token"
    direction: Direction = "higher"

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.array([_weakest(answer) for answer in answers], dtype=np.float64)


def _weakest(answer: Answer) -> float:
    """Score of one answer."""
    if not answer.response.strip():
        return 0.0
    if not answer.token_log_probs:
        return UNMEASURED
    return min(1.0, float(np.exp(min(answer.token_log_probs))))
