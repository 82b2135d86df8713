from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.metric import Answer
from routing_gym.rewards.p_true import PTrueScore


def test_only_what_is_missing_is_asked() -> None:
    asked: list[tuple[str, str]] = []

    def judge(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        asked.extend(zip(queries, responses, strict=True))
        return np.full(len(queries), 0.25)

    answers = [
        Answer("One?", "yes", p_true=0.75),
        Answer("Two?", "no"),
        Answer("Three?", " ", p_true=0.9),
        Answer("Four?", ""),
    ]
    assert PTrueScore(judge).score(answers).tolist() == [0.75, 0.25, 0.0, 0.0]
    assert asked == [("Two?", "no")]
    assert PTrueScore(judge).score(answers[:1]).tolist() == [0.75]
    assert len(asked) == 1
