"""What a metric is given, and what it must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

Direction = Literal["higher", "lower"]
DIRECTIONS: tuple[Direction, ...] = ("higher", "lower")
TOLERANCE = 1e-6  # rounding of a log-probability of 0


@dataclass(frozen=True)
class Answer:
    """One answer with what was measured while it was made; never the reference.

    Parameters
    ----------
    query
        The query's text, not blank.
    response
        The answer's text; may be empty, which scores low, not wrong.
    form
        Form that the query asks for ("number", "word", "list", ...); "" if it asks for none.
    form_size
        Asked count of items or words, 0 if free.
    finished
        False if generation stopped at its token limit.
    prompt_tokens
        Tokens of the prompt, 0 if not measured.
    completion_tokens
        Generated tokens, 0 if not measured.
    seconds
        Wall-clock seconds of the generation, 0 if not measured.
    log_likelihood
        Mean token log-likelihood (nats, at most 0) of the response under the base model given
        the query; None if not measured.
    token_log_probs
        Log-probability (nats, at most 0) of each generated token, the end token included, under
        the model that answered; any sequence, kept as a tuple; None if not recorded.
    token_entropies
        Entropy (nats, at least 0) of the distribution that each of those tokens was chosen from;
        as many as `token_log_probs` where both are recorded.
    p_true
        Probability in [0, 1] that the base model gives the answer of being right when asked
        (`routing_gym.adapters.p_true`); None if not asked.
    samples
        Further answers to the same query, sampled from the model that answered; None if none
        were drawn.

    Raises
    ------
    ValueError
        If the query is blank, a measurement is negative, out of its range or not a number, or
        `token_log_probs` and `token_entropies` differ in length.
    """

    query: str
    response: str
    form: str = ""
    form_size: int = 0
    finished: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    log_likelihood: float | None = None
    token_log_probs: tuple[float, ...] | None = None
    token_entropies: tuple[float, ...] | None = None
    p_true: float | None = None
    samples: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise ValueError(f"query={self.query!r} is empty: pass the text that was asked.")
        for name in ("form_size", "prompt_tokens", "completion_tokens", "seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value} must be a finite number of at least 0.")
        likelihood = self.log_likelihood
        if likelihood is not None and not likelihood <= TOLERANCE:
            raise ValueError(
                f"log_likelihood={likelihood} must be at most 0 (mean log-likelihood in nats), "
                "or None if it was not measured."
            )
        self._check_tokens()
        if self.p_true is not None and not 0 <= self.p_true <= 1:
            raise ValueError(f"p_true={self.p_true} must be in [0, 1], or None if not asked.")
        if self.samples is not None:
            if isinstance(self.samples, str) or not all(isinstance(s, str) for s in self.samples):
                raise ValueError(f"samples={self.samples!r} must be a sequence of texts, or None.")
            object.__setattr__(self, "samples", tuple(self.samples))

    def _check_tokens(self) -> None:
        """Keep the token signals as tuples of floats, each in its range."""
        log_probs, entropies = self.token_log_probs, self.token_entropies
        if log_probs is not None:
            log_probs = tuple(map(float, log_probs))
            object.__setattr__(self, "token_log_probs", log_probs)
            wrong = [value for value in log_probs if not value <= TOLERANCE]
            if wrong:
                raise ValueError(f"token_log_probs={wrong[0]} must be at most 0 (nats).")
        if entropies is not None:
            entropies = tuple(map(float, entropies))
            object.__setattr__(self, "token_entropies", entropies)
            wrong = [value for value in entropies if not -TOLERANCE <= value < math.inf]
            if wrong:
                raise ValueError(f"token_entropies={wrong[0]} must be finite, at least 0 (nats).")
        if log_probs is not None and entropies is not None and len(log_probs) != len(entropies):
            raise ValueError(
                f"token_entropies has {len(entropies)} tokens, token_log_probs {len(log_probs)}: "
                "record both for the same tokens."
            )


class Metric(Protocol):
    """A named view on answers: reference-free, batched, every score in [0, 1].

    The registry's entry is called with those of the evaluator's resources (`encoder`,
    `likelihood`, `p_true`) that its signature names. A metric that is made of others
    (`CombinedMetric`) names them in an attribute ``needs`` and is scored after them.
    """

    @property
    def name(self) -> str:
        """Key of the scores."""

    @property
    def direction(self) -> Direction:
        """Whether a higher or a lower score is better."""

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""


@runtime_checkable
class CombinedMetric(Protocol):
    """A metric whose score is made of other metrics' scores, which the evaluator takes first."""

    @property
    def name(self) -> str:
        """Key of the scores."""

    @property
    def direction(self) -> Direction:
        """Whether a higher or a lower score is better."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the metrics that it reads."""

    def score(self, answers: Sequence[Answer], *, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]; `scores` holds (N,) for each name in `needs`."""
