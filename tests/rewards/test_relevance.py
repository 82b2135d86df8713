from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from routing_gym.rewards.metric import Answer
from routing_gym.rewards.relevance import SHORT_COSINE, Relevance, called_for

QUERY = "What does a large river carry to the sea?"
FAMILY = "Ann is the mother of Bob. Bob is the father of Cara. Who is Cara's grandmother?"
SORT = "Sort these numbers in ascending order: 5, 3, 9, 1. Answer with a comma-separated list."
CAPITAL = "What is the capital of France?"


class BagOfWords:
    """Embeds a text as its normalised counts of a few words, and counts what it encodes."""

    vocabulary = ("river", "sea", "moon")
    encoded = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.encoded += len(texts)
        counts = np.array([[text.count(w) for w in self.vocabulary] for text in texts], float)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


class Nearness:
    """Puts each known text at a given cosine from every other, unknown ones at right angles."""

    def __init__(self, query: str, cosines: dict[str, float]) -> None:
        self.cosines = {query: 1.0, **cosines}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        cosine = np.array([self.cosines.get(text, 0.0) for text in texts])
        return np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)


def test_relevance_is_the_cosine() -> None:
    encoder = BagOfWords()
    texts = ("sand of a river", "the moon at night", "sea and river", "")
    answers = [Answer("river sea", text, form="sentence") for text in texts]
    scores = Relevance(encoder).score(answers)
    np.testing.assert_allclose(scores, [2**-0.5, 0, 1, 0], atol=1e-12)
    assert encoder.encoded == 4  # the query once


def test_relevance_does_not_reward_an_echo() -> None:
    scores = Relevance(BagOfWords()).score([Answer(QUERY, QUERY), Answer(QUERY, "river sand")])
    assert scores[0] == 0.0
    assert scores[1] > 0.5


def test_a_short_word_is_measured_by_what_short_words_reach() -> None:
    encoder = Nearness(CAPITAL, {"Oslo": SHORT_COSINE / 2, "Paris.": 0.6, "It is in Oslo.": 0.2})
    answers = [Answer(CAPITAL, text, form="word") for text in ("Oslo", "Paris.", "It is in Oslo.")]
    np.testing.assert_allclose(Relevance(encoder).score(answers), [0.5, 1.0, 0.2])


@pytest.mark.parametrize(
    ("query", "right", "long", "form"),
    [
        (CAPITAL, "Paris.", "The capital of France is London, a city on the Thames.", "word"),
        (CAPITAL, "Paris.", "The capital of France is London, a city on the Thames.", ""),
        ("How many legs have 2 cats?", "8", "Two cats have 2 + 4 = 6 legs in all.", "number"),
        ("How many legs have 2 cats?", "8", "Two cats have 2 + 4 = 6 legs in all.", ""),
        (FAMILY, "Ann", "Bob is the grandmother of Cara.", "word"),
    ],
)
def test_a_right_short_answer_is_not_below_a_long_wrong_one(
    query: str, right: str, long: str, form: str
) -> None:
    encoder = Nearness(query, {right: 0.42, long: 0.85})
    scores = Relevance(encoder).score([Answer(query, t, form=form) for t in (right, long)])
    assert scores[0] == 1.0
    assert scores[0] > scores[1]


@pytest.mark.parametrize(
    ("query", "response", "form", "size", "share"),
    [
        (FAMILY, "Ann", "word", 0, 1.0),
        (FAMILY, "Zoe", "word", 0, 0.0),
        (FAMILY, "Ann or Zoe", "word", 0, 1 / 3),
        (FAMILY, "Ann", "", 0, 1.0),
        (FAMILY, "Cara has one: it is Ann.", "word", 0, 0.0),
        ("How many?", "7", "number", 0, 1.0),
        ("How many?", "seven", "number", 0, 1.0),
        ("How many?", "7 cats", "number", 0, 0.5),
        ("How many?", "7", "", 0, 1.0),
        ("Which one?", "7", "", 0, 0.0),
        ("When?", "2024-01-02", "date", 0, 1.0),
        ("When?", "Soon", "date", 0, 0.0),
        (SORT, "1, 3, 5, 9", "list", 4, 1.0),
        (SORT, "1, 3, 5, 8", "list", 4, 0.75),
        (SORT, "1, 3, 5, 9, 1, 3, 5, 9, 1", "list", 4, 0.0),
        ("Mia is 31.", "Mia | 32", "record", 2, 0.5),
        (QUERY, "river", "sentence", 0, 0.0),
        (QUERY, "river", "code", 0, 0.0),
        (QUERY, "", "word", 0, 0.0),
    ],
)
def test_called_for(query: str, response: str, form: str, size: int, share: float) -> None:
    assert called_for(Answer(query, response, form=form, form_size=size)) == pytest.approx(share)
