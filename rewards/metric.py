"""What a metric is given, and what it must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Direction = Literal["higher", "lower"]
DIRECTIONS: tuple[Direction, ...] = ("higher", "lower")


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

    Raises
    ------
    ValueError
        If the query is blank or a measurement is negative or not a number.
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

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise ValueError(f"query={self.query!r} is empty: pass the text that was asked.")
        for name in ("form_size", "prompt_tokens", "completion_tokens", "seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value} must be a finite number of at least 0.")
        likelihood = self.log_likelihood
        if likelihood is not None and not likelihood <= 1e-6:
            raise ValueError(
                f"log_likelihood={likelihood} must be at most 0 (mean log-likelihood in nats), "
                "or None if it was not measured."
            )


class Metric(Protocol):
    """A named view on answers: reference-free, batched, every score in [0, 1].

    The registry's entry is called with those of the evaluator's resources (`encoder`,
    `likelihood`) that its signature names.
    """

    @property
    def name(self) -> str:
        """Key of the scores."""

    @property
    def direction(self) -> Direction:
        """Whether a higher or a lower score is better."""

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
