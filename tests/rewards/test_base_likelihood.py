from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from routing_gym.rewards.base_likelihood import BaseLikelihoodScore
from routing_gym.rewards.metric import Answer


def test_only_what_is_missing_is_asked() -> None:
    asked: list[str] = []

    def likelihood(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        asked.extend(responses)
        return np.full(len(queries), -2.0)

    answers = [
        Answer("One?", "yes", log_likelihood=-0.5, token_log_probs=(-9.0,)),
        Answer("Two?", "no", token_log_probs=(-9.0,)),
        Answer("Three?", ""),
        Answer("Four?", "so", log_likelihood=1e-7),
    ]
    scores = BaseLikelihoodScore(likelihood).score(answers)
    assert scores == pytest.approx([np.exp(-0.5), np.exp(-2.0), 0.0, 1.0])
    assert scores.max() <= 1.0
    assert asked == ["no"]
