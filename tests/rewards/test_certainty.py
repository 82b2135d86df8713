from __future__ import annotations

import math

import pytest

from routing_gym.rewards.certainty import UNMEASURED, Certainty
from routing_gym.rewards.metric import Answer


def test_inverse_of_the_number_of_tokens_in_mind() -> None:
    entropies = (math.log(2), math.log(8))  # 2 and 8 equally likely tokens, 4 in geometric mean
    answer = Answer("Why?", "Because it is so", token_entropies=entropies)
    assert Certainty().score([answer])[0] == pytest.approx(1 / 4)


def test_unmeasured_and_empty() -> None:
    answers = [
        Answer("Why?", "So."),
        Answer("Why?", "So.", token_entropies=()),
        Answer("Why?", " ", token_entropies=(0.0,)),
        Answer("Why?", "So.", token_entropies=(-1e-7,)),
    ]
    assert Certainty().score(answers).tolist() == [UNMEASURED, UNMEASURED, 0.0, 1.0]
