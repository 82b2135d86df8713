"""Coherence: whether the answer reads like language, without running in circles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import distinct_share, words

Likelihood = Callable[[Sequence[str], Sequence[str]], np.ndarray]
WORD_GRAM, CHARACTER_GRAM, MIN_CHARACTERS = 3, 8, 24


class Coherence:
    """``exp(mean token log-likelihood under the base model) * distinct share``; 0 if empty.

    The exponential is the geometric mean of the tokens' probabilities, in (0, 1]. The distinct
    share is the lower of the shares of distinct word 3-grams and distinct 8-character stretches,
    since a loop is likely in every token.

    **Sees** garbled, off-language text and loops.

    **Is fooled by** fluent nonsense: a wrong sentence that the base model would write itself
    scores above a right answer that surprises it. Favours the base's own style over an adapter's,
    and copied text, which is likely given the query. Does not see truncation (completeness does).

    Parameters
    ----------
    likelihood
        ``(queries, responses) -> (N,)`` mean token log-likelihoods in nats, asked only for
        answers that carry none; by default the base model's, loaded when it is first needed.
    """

    name = "coherence"
    direction: Direction = "higher"

    def __init__(self, likelihood: Likelihood | None = None) -> None:
        self._likelihood = likelihood

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        written = np.array([bool(words(answer.response)) for answer in answers], dtype=bool)
        distinct = np.array([repetition_free_share(answer.response) for answer in answers])
        return np.where(written, np.exp(self._log_likelihoods(answers, written)) * distinct, 0.0)

    def _log_likelihoods(self, answers: Sequence[Answer], written: np.ndarray) -> np.ndarray:
        """Mean token log-likelihoods (N,), those that are missing filled in; 0 if not written."""
        values = np.array(
            [np.nan if a.log_likelihood is None else a.log_likelihood for a in answers],
            dtype=np.float64,
        )
        values[~written] = 0.0
        missing = np.flatnonzero(np.isnan(values)).tolist()
        if missing:
            queries = [answers[i].query for i in missing]
            values[missing] = self._loaded()(queries, [answers[i].response for i in missing])
        return np.minimum(values, 0.0)

    def _loaded(self) -> Likelihood:
        """Return the likelihood, loading the base model's on first use."""
        if self._likelihood is None:
            from routing_gym.adapters.likelihood import BaseLikelihood

            self._likelihood = BaseLikelihood()
        return self._likelihood


def repetition_free_share(text: str) -> float:
    """Lower of the distinct shares of word 3-grams and, in longer texts, of 8-character stretches.

    Returns
    -------
    float
        In (0, 1]: 1 for a text that repeats nothing, near 0 for a loop.
    """
    share = distinct_share(words(text), WORD_GRAM)
    squeezed = " ".join(text.split())
    if len(squeezed) >= MIN_CHARACTERS:
        share = min(share, distinct_share(squeezed, CHARACTER_GRAM))
    return share
