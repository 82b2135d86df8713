"""Coherence: whether the answer reads like language, without running in circles or breaking off."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.base_likelihood import BaseLikelihoodScore, Likelihood
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import distinct_share, words

WORD_GRAM, CHARACTER_GRAM, MIN_CHARACTERS = 3, 8, 24
TRUNCATED = 0.4
MIN_WORDS = 4  # fewer words are an answer in telegraph style, whatever they end with
DANGLING = re.compile(
    r"(?:[,;:(\[{=+*/&|\\-]|\b(?:a|an|the|and|or|of|to|with|for|from|by|because|if|than|which))$",
    re.IGNORECASE,
)


class Coherence:
    """``exp(mean token log-probability) * distinct share``, times .4 if broken off; 0 if empty.

    The exponential is the geometric mean of the tokens' probabilities, in (0, 1], under the model
    that answered, as recorded while it did; where nothing was recorded, under the base model. The
    distinct share is the lower of the shares of distinct word 3-grams and distinct 8-character
    stretches, since a loop is likely in every token. An answer is broken off if generation
    stopped at its limit, or if its text ends in the middle of something ("and the", "3 +").

    **Sees** garbled text, hesitation, loops and cuts.

    **Is fooled by** fluent nonsense: a wrong answer given without hesitation scores above a right
    one that took some. Favours models that are sure of themselves, right or not, and, without a
    record, the base's own style over an adapter's and text copied from the query.

    Parameters
    ----------
    likelihood
        ``(queries, responses) -> (N,)`` mean token log-likelihoods in nats under the base model,
        asked only for answers that carry neither token log-probabilities nor a log-likelihood; by
        default the base model's, loaded when it is first needed.
    """

    name = "coherence"
    direction: Direction = "higher"

    def __init__(self, likelihood: Likelihood | None = None) -> None:
        self._base = BaseLikelihoodScore(likelihood)

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        scores = np.zeros(len(answers))
        written = [i for i, answer in enumerate(answers) if words(answer.response)]
        unrecorded = [i for i in written if not answers[i].token_log_probs]
        for i in written:
            scores[i] = np.exp(np.mean(answers[i].token_log_probs or 0.0))
        scores[unrecorded] = self._base.score([answers[i] for i in unrecorded])
        for i in written:
            scores[i] *= repetition_free_share(answers[i].response)
            scores[i] *= TRUNCATED if broken_off(answers[i]) else 1.0
        return np.minimum(scores, 1.0)


def broken_off(answer: Answer) -> bool:
    """Tell whether an answer stopped at its limit or ends in the middle of something."""
    text = answer.response.rstrip().removesuffix("```").rstrip()
    return not answer.finished or (
        len(words(text)) >= MIN_WORDS and DANGLING.search(text) is not None
    )


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
