"""What a decision is: one adapter per query, and the probability with which each was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Decision:
    """Chosen adapters and the distributions that they were drawn from.

    Parameters
    ----------
    actions
        int64 (N,), adapter indices in [0, K).
    probabilities
        float64 (N, K), rows sum to 1. A greedy decision is a distribution too: all its mass is on
        the chosen adapter. So ``propensities`` is right for off-policy evaluation in either case.

    Raises
    ------
    ValueError
        If the shapes differ, a row is no distribution, or an action could not have been drawn.
    """

    actions: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        check_probabilities(self.probabilities)
        n, k = self.probabilities.shape
        if self.actions.shape != (n,) or not np.issubdtype(self.actions.dtype, np.integer):
            raise ValueError(
                f"actions is {self.actions.dtype} {self.actions.shape}, not integers of shape "
                f"(N,) = {(n,)}: give one adapter index per query."
            )
        if n and not (self.actions.min() >= 0 and self.actions.max() < k):
            raise ValueError(f"actions holds indices outside 0 to {k - 1}: give adapter indices.")
        if not (self.propensities > 0).all():
            row = int(np.argmin(self.propensities))
            raise ValueError(
                f"actions[{row}] = {self.actions[row]} has probability 0: an adapter that cannot "
                "be drawn cannot be chosen."
            )

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def propensities(self) -> np.ndarray:
        """float64 (N,), in (0, 1]: the probability of each chosen adapter."""
        return self.probabilities[np.arange(len(self.actions)), self.actions]


class RoutingPolicy(Protocol):
    """Whatever maps query embeddings to decisions: agents, servers and hand-written rules."""

    def decide(
        self,
        observations: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> Decision:
        """Choose one adapter per query.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        rng
            Draws the adapters; None chooses each query's most probable adapter.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
        """
        ...


def choose(
    probabilities: np.ndarray,
    *,
    rng: np.random.Generator | None = None,
    mask: np.ndarray | None = None,
) -> Decision:
    """Turn distributions over adapters into a decision.

    Parameters
    ----------
    probabilities
        float (N, K), rows sum to 1.
    rng
        Draws the adapters; None takes the most probable one (the first of equals).
    mask
        bool (K,) or (N, K), True where an adapter may be chosen. The other adapters' mass goes to
        the allowed ones in proportion; a row that has none left becomes uniform over them.

    Returns
    -------
    Decision
        With the distributions that were really used: masked, and one-hot when ``rng`` is None.

    Raises
    ------
    ValueError
        If a row is no distribution, or the mask has another shape or forbids every adapter.
    """
    allowed = apply_mask(probabilities, mask)
    if rng is None:
        actions = allowed.argmax(axis=1)
        return Decision(actions, one_hot(actions, allowed.shape[1]))
    return Decision(_draw(allowed, rng), allowed)


def apply_mask(probabilities: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Move the mass of forbidden adapters to the allowed ones.

    Parameters
    ----------
    probabilities
        float (N, K), rows sum to 1.
    mask
        bool (K,) or (N, K), True where an adapter may be chosen; None allows all.

    Returns
    -------
    np.ndarray
        float64 (N, K), rows sum to 1.

    Raises
    ------
    ValueError
        If a row is no distribution, or the mask has another shape or forbids every adapter.
    """
    check_probabilities(probabilities)
    allowed = full_mask(mask, probabilities.shape)
    masked = np.where(allowed, probabilities.astype(np.float64), 0.0)
    empty = masked.sum(axis=1) <= 0
    masked[empty] = allowed[empty]
    return masked / masked.sum(axis=1, keepdims=True)


def full_mask(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Check a mask and spread it over all queries.

    Parameters
    ----------
    mask
        bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
    shape
        (N, K).

    Returns
    -------
    np.ndarray
        bool (N, K), every row with at least one True.

    Raises
    ------
    ValueError
        If the mask has another shape, is not boolean, or forbids every adapter of a query.
    """
    if mask is None:
        return np.ones(shape, dtype=bool)
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape not in (shape, shape[1:]):
        raise ValueError(
            f"mask is {mask.dtype} {mask.shape}: give bool of shape (K,) = {shape[1:]} or "
            f"(N, K) = {shape}, True where an adapter may be chosen."
        )
    spread = np.broadcast_to(mask, shape)
    if not spread.any(axis=1).all():
        row = int(np.argmin(spread.any(axis=1)))
        raise ValueError(f"mask forbids every adapter of query {row}: allow at least one.")
    return spread


def check_probabilities(probabilities: np.ndarray) -> None:
    """Refuse what is not one distribution over adapters per row.

    Parameters
    ----------
    probabilities
        float (N, K), rows in [0, 1] that sum to 1.

    Raises
    ------
    ValueError
        If the shape is not two-dimensional or a row is no distribution; the row is named.
    """
    if probabilities.ndim != 2:
        raise ValueError(f"probabilities has shape {probabilities.shape}, not (N, K).")
    proper = (probabilities >= 0).all(axis=1)  # False for NaN too
    proper &= np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1) <= _TOLERANCE
    if not proper.all():
        row = int(np.argmin(proper))
        raise ValueError(
            f"probabilities[{row}] = {probabilities[row].tolist()} is no distribution: give "
            "values of at least 0 that sum to 1."
        )


def one_hot(actions: np.ndarray, num_adapters: int) -> np.ndarray:
    """Distributions with all mass on one adapter each.

    Parameters
    ----------
    actions
        int (N,), adapter indices.
    num_adapters
        K.

    Returns
    -------
    np.ndarray
        float64 (N, K).
    """
    rows = np.zeros((len(actions), num_adapters))
    rows[np.arange(len(actions)), actions] = 1.0
    return rows


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one action per row by inverting the cumulative distribution; never one of mass 0."""
    cumulative = probabilities.cumsum(axis=1)
    total = cumulative[:, -1]
    level = np.minimum(rng.random(len(probabilities)) * total, np.nextafter(total, 0))
    return (cumulative <= level[:, None]).sum(axis=1)
