from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from routing_gym.rewards.coherence import TRUNCATED, Coherence, broken_off, repetition_free_share
from routing_gym.rewards.metric import Answer

QUERY = "What does a large river carry to the sea?"


def test_coherence_is_the_mean_token_probability_of_the_model_that_answered() -> None:
    answer = Answer(QUERY, "It carries sand.", token_log_probs=(-0.2, -0.6), log_likelihood=-3.0)
    assert Coherence().score([answer])[0] == pytest.approx(np.exp(-0.4))


def test_without_a_record_it_is_the_likelihood_under_the_base() -> None:
    for log_probs in (None, ()):
        answer = Answer(QUERY, "Sand.", log_likelihood=-0.5, token_log_probs=log_probs)
        assert Coherence().score([answer])[0] == pytest.approx(np.exp(-0.5))


def test_coherence_asks_only_for_what_is_missing() -> None:
    asked: list[str] = []

    def likelihood(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        asked.extend(responses)
        return np.full(len(queries), -2.0)

    answers = [
        Answer(QUERY, "Sand.", log_likelihood=-1.0),
        Answer(QUERY, "Mud."),
        Answer(QUERY, "Silt.", token_log_probs=(-3.0,)),
        Answer(QUERY, ""),
    ]
    scores = Coherence(likelihood).score(answers)
    np.testing.assert_allclose(scores, [np.exp(-1), np.exp(-2), np.exp(-3), 0])
    assert asked == ["Mud."]


@pytest.mark.parametrize(
    "loop", ["the sea " * 30, "ha" * 60, "It carries sand. It carries sand. " * 8, "1, 2, " * 40]
)
def test_repeated_text_is_not_coherent(loop: str) -> None:
    scores = Coherence().score([Answer(QUERY, loop, token_log_probs=(-0.01,))])
    assert scores[0] < 0.2


def test_repetition_is_taken_off() -> None:
    answer = Answer(QUERY, "a b c a b c", token_log_probs=(0.0,))  # abc bca cab abc
    assert Coherence().score([answer])[0] == pytest.approx(3 / 4)


def test_truncation_is_taken_off() -> None:
    answers = [
        Answer(QUERY, "It carries sand", finished=False, token_log_probs=(-0.2,)),
        Answer(QUERY, "It carries sand and the", token_log_probs=(-0.2,)),
        Answer(QUERY, "It carries sand", token_log_probs=(-0.2,)),
    ]
    cut, whole = TRUNCATED * np.exp(-0.2), np.exp(-0.2)
    np.testing.assert_allclose(Coherence().score(answers), [cut, cut, whole])


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("It carries sand, mud,", True),
        ("It carries sand because", True),
        ("The sum of these is 3 +", True),
        ("```\ndef f(x):\n    return (\n```", True),
        ("It carries sand.", False),
        ("It carries what you ask for.", False),
        ("1, 3, 5, 9", False),
        ("Vitamin A", False),
        ("def f(x):\n    return x", False),
        ("", False),
    ],
)
def test_broken_off(text: str, broken: bool) -> None:
    assert broken_off(Answer(QUERY, text)) is broken


@pytest.mark.parametrize(
    "text",
    [
        "Paris.",
        "1, 3, 5, 9",
        "A large river carries sand, mud and stones from the mountains down to the sea.",
        "def f(values):\n    total = 0\n    for value in values:\n        total += value\n"
        "    return total",
    ],
)
def test_ordinary_text_repeats_nothing(text: str) -> None:
    assert repetition_free_share(text) > 0.9
