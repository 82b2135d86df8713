from __future__ import annotations

import math

import pytest

from routing_gym.rewards.metric import Answer
from routing_gym.rewards.weakest_token import UNMEASURED, WeakestToken


def test_lowest_probability_counts() -> None:
    log_probs = (0.0, math.log(0.9), math.log(0.2), 0.0)
    assert WeakestToken().score([Answer("Why?", "So.", token_log_probs=log_probs)])[
        0
    ] == pytest.approx(0.2)


def test_unmeasured_and_empty() -> None:
    answers = [
        Answer("Why?", "So."),
        Answer("Why?", "So.", token_log_probs=()),
        Answer("Why?", "", token_log_probs=(0.0,)),
        Answer("Why?", "So.", token_log_probs=(1e-7,)),
        Answer("Why?", "So.", token_log_probs=(-math.inf,)),
    ]
    assert WeakestToken().score(answers).tolist() == [UNMEASURED, UNMEASURED, 0.0, 1.0, 0.0]
