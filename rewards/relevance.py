"""Relevance: whether the answer is about what was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.constraints import COUNT_WORDS
from routing_gym.rewards.encoding import RememberingEncoder, TextEncoder
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import copied_share, words

SHORT = 3  # words
# Median cosine of right answers of one word, embedded table, train and validation splits: .38.
SHORT_COSINE = 0.4
ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|old|long|far|tall)\b|\bnumber\b|\d\s*[-+*/x×]\s*\d", re.IGNORECASE
)


class Relevance:
    """The higher of topical nearness and share of words called for, less the copied share.

    Topical nearness is the cosine of the query's and the response's embedding, cut at 0. One word
    carries little of a question's topic, so the cosine of an answer of up to three words to a
    question for a word is divided by 0.4, what right ones typically have, and cut at 1. Words are
    called for where a short answer, a list or a record was asked: numbers for a number or a date,
    words of the query for a name, a choice, items or fields; "7" and "Ann" are then fully
    relevant. An echo of the query would have a cosine of 1; the share of the query's word 4-grams
    that the response copies is therefore taken off (score = nearness * (1 - share)).

    **Sees** the topic: an answer about something else scores low.

    **Is fooled by** everything on topic: a wrong answer scores like a right one, another number or
    name of the query like the one that is true, a paraphrase of the question like its answer.

    Parameters
    ----------
    encoder
        Has ``encode(texts) -> (N, D)`` with rows of unit length; by default all-MiniLM-L6-v2,
        loaded when it is first needed.
    """

    name = "relevance"
    direction: Direction = "higher"

    def __init__(self, encoder: TextEncoder | None = None) -> None:
        self._encoder = encoder or RememberingEncoder()

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]; each distinct text is encoded once."""
        scores = np.zeros(len(answers))
        rows = [i for i, answer in enumerate(answers) if answer.response.strip()]
        if not rows:
            return scores
        written = [answers[i] for i in rows]
        texts = sorted({text for answer in written for text in (answer.query, answer.response)})
        place = {text: i for i, text in enumerate(texts)}
        embedded = np.asarray(self._encoder.encode(texts), dtype=np.float64)  # (texts, D)
        queries = embedded[[place[answer.query] for answer in written]]  # (rows, D)
        responses = embedded[[place[answer.response] for answer in written]]
        cosine = np.einsum("nd,nd->n", queries, responses)
        typical = np.array([SHORT_COSINE if _is_short_word(answer) else 1.0 for answer in written])
        called = np.array([called_for(answer) for answer in written])
        copied = np.array([copied_share(answer.query, answer.response) for answer in written])
        scores[rows] = np.maximum((cosine / typical).clip(0, 1), called) * (1 - copied)
        return scores


def called_for(answer: Answer) -> float:
    """Share of a short answer's, a list's or a record's words that its query calls for.

    Returns
    -------
    float
        In [0, 1]; 0 for longer answers and for forms whose words the query does not tell.
    """
    given = words(answer.response)
    form = answer.form or ("number" if ASKS_NUMBER.search(answer.query) else "word")
    longest = 2 * answer.form_size if form in ("list", "record") and answer.form_size else SHORT
    if not given or len(given) > longest:
        return 0.0
    if form == "number":
        return sum(word[0].isdigit() or word in COUNT_WORDS for word in given) / len(given)
    known = set(words(answer.query))
    if form == "date":
        return sum(word[0].isdigit() or word in known for word in given) / len(given)
    if form in ("word", "list", "record"):
        return sum(word in known for word in given) / len(given)
    return 0.0


def _is_short_word(answer: Answer) -> bool:
    """Tell whether an answer is a few words without digits where a word is asked."""
    given = words(answer.response)
    return (
        answer.form in ("word", "")
        and len(given) <= SHORT
        and not any(character.isdigit() for character in answer.response)
    )
