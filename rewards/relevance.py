"""Relevance: whether the answer is about what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import copied_share


class TextEncoder(Protocol):
    """What relevance needs of an encoder."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 (N, D), rows of unit length."""


class Relevance:
    """Cosine of the query's and the response's embedding, cut at 0, less the copied share.

    **Sees** the topic: an answer about something else scores low.

    **Is fooled by** everything on topic: a wrong answer scores like a right one, a paraphrase of
    the question higher than its answer, and a right short answer ("7", "Ann") low, since one word
    carries little of the question's topic. An echo of the query would have a cosine of 1;
    the share of the query's word 4-grams that the response copies is therefore taken off
    (score = cosine * (1 - share)).

    Parameters
    ----------
    encoder
        Has ``encode(texts) -> (N, D)`` with rows of unit length; by default all-MiniLM-L6-v2,
        loaded when it is first needed.
    """

    name = "relevance"
    direction: Direction = "higher"

    def __init__(self, encoder: TextEncoder | None = None) -> None:
        self._encoder = encoder

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]; each distinct text is encoded once."""
        scores = np.zeros(len(answers))
        rows = [i for i, answer in enumerate(answers) if answer.response.strip()]
        if not rows:
            return scores
        texts = sorted({t for i in rows for t in (answers[i].query, answers[i].response)})
        place = {text: i for i, text in enumerate(texts)}
        embedded = np.asarray(self._loaded().encode(texts), dtype=np.float64)  # (texts, D)
        queries = embedded[[place[answers[i].query] for i in rows]]  # (rows, D)
        responses = embedded[[place[answers[i].response] for i in rows]]
        cosine = np.einsum("nd,nd->n", queries, responses).clip(0, 1)
        copied = [copied_share(answers[i].query, answers[i].response) for i in rows]
        scores[rows] = cosine * (1 - np.array(copied))
        return scores

    def _loaded(self) -> TextEncoder:
        """Return the encoder, loading the default one on first use."""
        if self._encoder is None:
            from routing_gym.adapters.encoder import Encoder

            self._encoder = Encoder()
        return self._encoder
