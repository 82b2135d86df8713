"""How a served policy explores, with the exact probability of every adapter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from routing_gym.agents.policy import apply_mask, full_mask, one_hot

ExplorationKind = Literal["greedy", "epsilon", "softmax", "policy"]
Output = Literal["probabilities", "values"]


@dataclass(frozen=True)
class Exploration:
    r"""Turns what a policy computed into the distribution that an adapter is drawn from.

    ``"greedy"`` takes the best allowed adapter; ``"epsilon"`` does so with probability
    :math:`1 - \epsilon` and else takes any allowed one; ``"softmax"`` draws with
    :math:`p_a \propto e^{v_a / T}` of values v, or :math:`\propto p_a^{1/T}` of probabilities p;
    ``"policy"`` draws from the policy's own distribution, which for values is the greedy choice.

    Parameters
    ----------
    kind
        One of the four.
    epsilon
        Share of uniform decisions, in [0, 1]; only ``"epsilon"`` uses it.
    temperature
        T above 0; only ``"softmax"`` uses it.

    Raises
    ------
    ValueError
        If the kind is unknown or a number is out of range.
    """

    kind: ExplorationKind = "greedy"
    epsilon: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(ExplorationKind):
            raise ValueError(
                f"kind={self.kind!r} is no exploration: choose "
                f"{', '.join(get_args(ExplorationKind))}."
            )
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon={self.epsilon} is outside [0, 1]: give a share.")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature} is not above 0: give a positive.")

    def apply(
        self, scores: np.ndarray, mask: np.ndarray | None = None, *, output: Output
    ) -> np.ndarray:
        """Return the exact distribution over adapters.

        Parameters
        ----------
        scores
            float (N, K), what the policy computed.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
        output
            Whether the scores are ``"probabilities"`` or ``"values"``.

        Returns
        -------
        np.ndarray
            float64 (N, K), rows sum to 1, forbidden adapters have 0.

        Raises
        ------
        ValueError
            If a score is not finite, a row of probabilities is no distribution, or the mask has
            another shape or forbids every adapter of a query.
        """
        if output == "probabilities":
            policy = apply_mask(scores, mask)
            allowed = full_mask(mask, policy.shape)
        else:
            allowed = full_mask(mask, scores.shape)
            policy = one_hot(_best(_finite(scores), allowed), scores.shape[1])
        if self.kind == "policy":
            return policy
        if self.kind == "softmax":
            return _softmax(_logits(scores, output), allowed, temperature=self.temperature)
        greedy = one_hot(policy.argmax(axis=1), policy.shape[1])
        if self.kind == "greedy":
            return greedy
        uniform = allowed / allowed.sum(axis=1, keepdims=True)
        return (1 - self.epsilon) * greedy + self.epsilon * uniform


def draw(distributions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one adapter per row, never one of probability 0.

    Parameters
    ----------
    distributions
        float64 (N, K), of `Exploration.apply`; not checked again, which took as long as the policy.
    rng
        Draws, one number per row.

    Returns
    -------
    np.ndarray
        int64 (N,).
    """
    cumulative = distributions.cumsum(axis=1)
    total = cumulative[:, -1:]
    level = np.minimum(rng.random((len(total), 1)) * total, np.nextafter(total, 0))
    return np.asarray((cumulative <= level).sum(axis=1), dtype=np.int64)


def _best(values: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return int (N,), the allowed adapter of the highest value, the first of equals."""
    return np.asarray(np.where(allowed, values, -np.inf).argmax(axis=1))


def _finite(values: np.ndarray) -> np.ndarray:
    """Return the values, or refuse a row that holds no numbers."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(f"the values of row {row} are {values[row].tolist()}: must be finite.")
    return values


def _logits(scores: np.ndarray, output: Output) -> np.ndarray:
    """Return values as they are and probabilities as logarithms, -inf at 0."""
    scores = np.asarray(scores, dtype=np.float64)
    if output == "values":
        return scores
    with np.errstate(divide="ignore"):
        return np.log(scores)


def _softmax(logits: np.ndarray, allowed: np.ndarray, *, temperature: float) -> np.ndarray:
    """Return float64 (N, K), softmax over the allowed; uniform where all of them have -inf."""
    masked = np.where(allowed, logits, -np.inf)
    highest = masked.max(axis=1, keepdims=True)
    lost = np.isneginf(highest[:, 0])
    masked[lost] = np.where(allowed[lost], 0.0, -np.inf)
    highest[lost] = 0.0
    weights = np.exp((masked - highest) / temperature)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
