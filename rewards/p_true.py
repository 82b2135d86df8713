"""P(True): what the base model says when asked whether an answer is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from routing_gym.rewards.metric import Answer, Direction

Judgement = Callable[[Sequence[str], Sequence[str]], np.ndarray]


class PTrueScore:
    """The base model's calibrated probability of "yes" to "is this answer right?"; 0 if empty.

    Elicited by `routing_gym.adapters.p_true.PTrue` (Kadavath et al., "Language Models (Mostly)
    Know What They Know", 2022). It reads every answer once more with the base model: expensive,
    and not among the default metrics.

    **Sees** what the base model can tell apart when shown a query with an answer.

    **Is fooled by** everything that the base model believes, above all by fluent answers; a model
    of a hundred million parameters hardly knows what it knows, and on the embedded table its
    judgement is that of a coin.

    Parameters
    ----------
    p_true
        ``(queries, responses) -> (N,)`` probabilities, asked only for answers that carry none; by
        default the base model's, loaded when it is first needed.
    """

    name = "p_true"
    direction: Direction = "higher"

    def __init__(self, p_true: Judgement | None = None) -> None:
        self._p_true = p_true

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        scores = np.array(
            [np.nan if a.p_true is None else a.p_true for a in answers], dtype=np.float64
        )
        scores[[not answer.response.strip() for answer in answers]] = 0.0
        missing = np.flatnonzero(np.isnan(scores)).tolist()
        if missing:
            queries = [answers[i].query for i in missing]
            scores[missing] = self._loaded()(queries, [answers[i].response for i in missing])
        return scores

    def _loaded(self) -> Judgement:
        """Return the judgement, loading the base model's on first use."""
        if self._p_true is None:
            from routing_gym.adapters.p_true import PTrue

            self._p_true = PTrue()
        return self._p_true
