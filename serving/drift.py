"""Drift: how far the queries and the policy's choices of today are from those of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class RecentMean:
    """Mean of a stream of vectors in which older ones count less.

    Parameters
    ----------
    width
        D, length of a vector.
    half_life
        Vectors after which one counts half, at least 1.
    """

    def __init__(self, width: int, *, half_life: float) -> None:
        if half_life < 1:
            raise ValueError(f"half_life={half_life} must be at least 1.")
        self._keep = 0.5 ** (1 / half_life)
        self._sum = np.zeros(width)
        self._weight = 0.0
        self._squared = 0.0

    def update(self, rows: np.ndarray) -> None:
        """Take in float (N, D), the oldest row first."""
        ages = np.arange(len(rows) - 1, -1, -1)
        weights = self._keep**ages
        past = self._keep ** len(rows)
        self._sum = past * self._sum + weights @ rows
        self._weight = past * self._weight + weights.sum()
        self._squared = past**2 * self._squared + (weights**2).sum()

    @property
    def started(self) -> bool:
        """Whether there has been a vector."""
        return self._weight > 0

    @property
    def value(self) -> np.ndarray:
        """float64 (D,), the mean; only once it has started."""
        return self._sum / self._weight

    @property
    def chance(self) -> float:
        """Variance of the mean of independent vectors, as a share of one vector's."""
        return self._squared / self._weight**2


class Drift:
    """Compares a policy's recent queries and greedy choices with those of its training.

    Parameters
    ----------
    embedding_mean
        float (D,), mean of the training queries.
    embedding_spread
        Root of the mean squared distance of a training query from that mean, above 0.
    arm_shares
        float (K,), share of the training queries for which the policy prefers each adapter.
    half_life
        Decisions after which an old one counts half.

    Notes
    -----
    Both figures are 0 without drift: what chance alone gives with so few decisions is taken off,
    so that a server that has just started does not alarm.
    """

    def __init__(
        self,
        embedding_mean: Sequence[float] | np.ndarray,
        embedding_spread: float,
        arm_shares: Sequence[float] | np.ndarray,
        *,
        half_life: float = 500,
    ) -> None:
        self._training_mean = np.asarray(embedding_mean, dtype=np.float64)
        self._spread = max(float(embedding_spread), 1e-12)
        self._training_shares = np.asarray(arm_shares, dtype=np.float64)
        self._embeddings = RecentMean(len(self._training_mean), half_life=half_life)
        self._arms = RecentMean(len(self._training_shares), half_life=half_life)

    def update(self, embeddings: np.ndarray, greedy: np.ndarray) -> None:
        """Take in decisions, the oldest first.

        Parameters
        ----------
        embeddings
            float (N, D), the queries.
        greedy
            int (N,), the adapters that the policy prefers; not those that exploration, a fallback
            or an outage put in their place: training knows none of these.
        """
        self._embeddings.update(embeddings)
        chosen = np.zeros((len(greedy), len(self._training_shares)))
        chosen[np.arange(len(greedy)), greedy] = 1.0
        self._arms.update(chosen)

    @property
    def embedding(self) -> float:
        """Distance of the recent queries' mean from training's, in units of the training spread.

        With m the recent mean and c its variance by chance (a share of the spread s squared), it
        is the root of ``max(0, |m - mean|^2 / s^2 - c)``: 0 is no drift; at 1 the typical query of
        today is as far from the training mean as a single training query.
        """
        if not self._embeddings.started:
            return 0.0
        distance = float(np.sum((self._embeddings.value - self._training_mean) ** 2))
        return float(np.sqrt(max(0.0, distance / self._spread**2 - self._embeddings.chance)))

    @property
    def arm_share(self) -> float:
        """Total variation between recent and training greedy shares, less chance's: in [0, 1]."""
        if not self._arms.started:
            return 0.0
        shares = self._training_shares
        gap = 0.5 * np.abs(self._arms.value - shares).sum()
        # the mean absolute deviation of a normal variable is its standard deviation x root(2 / pi)
        deviation = np.sqrt(shares * (1 - shares) * self._arms.chance)
        return float(max(0.0, gap - 0.5 * np.sqrt(2 / np.pi) * deviation.sum()))
