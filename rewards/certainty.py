"""Certainty: how few other tokens the answering model had in mind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.metric import Answer, Direction

UNMEASURED = 0.5


class Certainty:
    """``exp(-mean token entropy)`` under the model that answered; 0.5 if not recorded, 0 if empty.

    1 / score is the number of equally likely tokens that the model chose among, on average
    (perplexity of its own distribution; Malinin and Gales, "Uncertainty Estimation in
    Autoregressive Structured Prediction", 2021). Recorded while generating, so it costs nothing.

    **Sees** hesitation: an answer that the model could as well have given otherwise.

    **Is fooled by** confident errors, by forms with many right answers (a free sentence is
    uncertain, and right), and by templates: code and lists have many certain tokens that carry
    nothing. Scores of two models compare only as far as both are calibrated.
    """

    name = "certainty"
    direction: Direction = "higher"

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.array([_certainty(answer) for answer in answers], dtype=np.float64)


def _certainty(answer: Answer) -> float:
    """Score of one answer."""
    if not answer.response.strip():
        return 0.0
    if not answer.token_entropies:
        return UNMEASURED
    return min(1.0, float(np.exp(-np.mean(answer.token_entropies))))
