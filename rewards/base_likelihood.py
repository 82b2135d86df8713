"""Base likelihood: how likely the base model, without any adapter, finds an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from routing_gym.rewards.metric import Answer, Direction

Likelihood = Callable[[Sequence[str], Sequence[str]], np.ndarray]


class BaseLikelihoodScore:
    """Geometric mean of the tokens' probabilities under the base model; 0 if empty.

    Takes one pass of the base model over every answer (`routing_gym.adapters.likelihood`):
    expensive, and not among the default metrics.

    **Sees** text that the base model would write itself, given the query.

    **Is fooled by** fluent nonsense, which scores above a right answer that surprises the base;
    by copied text; by loops, each round of which is likelier than the one before.

    Parameters
    ----------
    likelihood
        ``(queries, responses) -> (N,)`` mean token log-likelihoods in nats, asked only for
        answers that carry none; by default the base model's, loaded when it is first needed.
    """

    name = "base_likelihood"
    direction: Direction = "higher"

    def __init__(self, likelihood: Likelihood | None = None) -> None:
        self._likelihood = likelihood

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.minimum(np.exp(self.log_likelihoods(answers)), 1.0)

    def log_likelihoods(self, answers: Sequence[Answer]) -> np.ndarray:
        """Mean token log-likelihoods: float64 (N,), nats; minus infinity for an empty answer."""
        values = np.array(
            [np.nan if a.log_likelihood is None else a.log_likelihood for a in answers],
            dtype=np.float64,
        )
        values[[not answer.response.strip() for answer in answers]] = -np.inf
        missing = np.flatnonzero(np.isnan(values)).tolist()
        if missing:
            queries = [answers[i].query for i in missing]
            values[missing] = self._loaded()(queries, [answers[i].response for i in missing])
        return values

    def _loaded(self) -> Likelihood:
        """Return the likelihood, loading the base model's on first use."""
        if self._likelihood is None:
            from routing_gym.adapters.likelihood import BaseLikelihood

            self._likelihood = BaseLikelihood()
        return self._likelihood
