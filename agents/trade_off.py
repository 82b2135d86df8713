"""Quality against cost: the family of rewards that one preference picks from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.envs.data import RoutingData

# by default the first group that a table has whole
QUALITIES = (("quality",), ("accuracy",))
COSTS = (("tokens", "seconds"), ("cost",))


@dataclass(frozen=True)
class OperatingPoints:
    """What decisions bring under a row of preferences.

    Parameters
    ----------
    preferences
        float64 (P,), the weights of the cost.
    quality, cost
        float64 (P,), means of the chosen adapters, in [0, 1].
    rewards
        float64 (P,), ``(1 - preference) * quality - preference * cost``.
    """

    preferences: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    rewards: np.ndarray


@dataclass(frozen=True)
class TradeOff:
    r"""What quality and cost mean: :math:`r_w = (1 - w)\,q - w\,\min(c / \tau, 1)`, w in [0, 1].

    Wei et al., *Learning to route LLMs from bandit feedback* (arXiv:2510.07429, 2025), with their
    weights :math:`(w_q, w_c) = (1 - w, w)` on the simplex. The ceiling makes costs as large as
    qualities; without it the cost of short answers, a few per cent of what the table allows, would
    count only at preferences next to 1.

    Parameters
    ----------
    quality
        A score, in [0, 1], higher is better; or ``"accuracy"``.
    costs
        Scores of which lower is better, or measured costs, in one unit; c is their mean.
    ceiling
        :math:`\tau`, above 0: the cost that counts as 1, as all higher ones do.
    """

    quality: str
    costs: tuple[str, ...]
    ceiling: float

    @classmethod
    def fit(
        cls, train: RoutingData, *, quality: str, costs: Sequence[str], quantile: float
    ) -> TradeOff:
        """Find the named columns, and the ceiling of the cost.

        Parameters
        ----------
        train
            The split whose costs set the ceiling.
        quality
            Empty takes ``"quality"``, or ``"accuracy"`` where the table lacks it.
        costs
            Empty takes ``"tokens"`` and ``"seconds"``, or ``"cost"`` where the table lacks one.
            A name that is both a score and a measured cost means the score.
        quantile
            Of the cost over all queries and adapters, in (0, 1], that becomes the ceiling.

        Raises
        ------
        ValueError
            If the split lacks a column, a quality is outside [0, 1], or a cost is negative, not
            finite, or 0 up to the quantile.
        """
        (chosen,) = _first_whole(
            ((quality,),) if quality else QUALITIES, _qualities(train), option="quality"
        )
        names = _first_whole((tuple(costs),) if costs else COSTS, _costs(train), option="cost")
        uncut = cls(chosen, names, 1.0)
        uncut._quality(train)  # refuse it now, not at its first use
        ceiling = float(np.quantile(uncut._mean_cost(train), quantile))
        if ceiling <= 0:
            raise ValueError(
                f"cost {names} is 0 up to its quantile {quantile}: raise cost_quantile, or name "
                "another cost."
            )
        return cls(chosen, names, ceiling)

    def columns(self, data: RoutingData) -> tuple[np.ndarray, np.ndarray]:
        """Read quality and cost off a split.

        Returns
        -------
        quality, cost : np.ndarray
            float64 (N, K) each, in [0, 1].

        Raises
        ------
        ValueError
            If the split lacks a column, or one holds impossible values.
        """
        return self._quality(data), np.minimum(self._mean_cost(data) / self.ceiling, 1)

    def operating_points(
        self, data: RoutingData, preferences: np.ndarray, actions: np.ndarray
    ) -> OperatingPoints:
        """Average the quality and cost of decisions.

        Parameters
        ----------
        data
            The split, N queries.
        preferences
            float (P,), the weights of the cost, each in [0, 1].
        actions
            int (P, N), the adapters chosen under each.
        """
        weights = check_preference(preferences, len(preferences))
        quality, cost = (
            np.array([column[np.arange(len(data)), row].mean() for row in actions])
            for column in self.columns(data)
        )
        return OperatingPoints(weights, quality, cost, (1 - weights) * quality - weights * cost)

    def _quality(self, data: RoutingData) -> np.ndarray:
        """Return float64 (N, K), the quality."""
        known = _qualities(data)
        _first_whole(((self.quality,),), known, option="quality")
        quality = known[self.quality].astype(np.float64)
        if not ((quality >= 0) & (quality <= 1)).all():
            raise ValueError(f"quality {self.quality!r} is not within [0, 1]: scale it.")
        return quality

    def _mean_cost(self, data: RoutingData) -> np.ndarray:
        """Return float64 (N, K), the mean of the named costs before the ceiling."""
        known = _costs(data)
        _first_whole((self.costs,), known, option="cost")
        cost = np.mean([known[name].astype(np.float64) for name in self.costs], axis=0)
        if not (np.isfinite(cost).all() and cost.min() >= 0):
            raise ValueError(f"cost {self.costs} is negative or not finite somewhere: repair it.")
        return cost


def preference_rewards(
    quality: np.ndarray, cost: np.ndarray, *, preference: float | np.ndarray
) -> np.ndarray:
    """Return ``(1 - w) * quality - w * cost``.

    Parameters
    ----------
    quality, cost
        float (N, K), in [0, 1].
    preference
        w, the weight of the cost: one for all queries, or float (N,).

    Returns
    -------
    np.ndarray
        float64 (N, K), in [-1, 1].

    Raises
    ------
    ValueError
        If a preference is outside [0, 1], or there are not N of them.
    """
    weights = check_preference(preference, len(quality))[:, None]
    return (1 - weights) * quality - weights * cost


def check_preference(preference: float | np.ndarray, num_queries: int) -> np.ndarray:
    """Return preferences as float64 (N,), or say which one is outside [0, 1]."""
    weights = np.asarray(preference, dtype=np.float64)
    if weights.shape not in ((), (num_queries,)):
        raise ValueError(
            f"preference has shape {weights.shape}: give one number, or one per query, "
            f"(N,) = {(num_queries,)}."
        )
    flat = weights.ravel()
    inside = (flat >= 0) & (flat <= 1)  # False for NaN too
    if not inside.all():
        raise ValueError(
            f"preference={flat[np.argmin(inside)]} is outside [0, 1]: give the cost's weight, 0 "
            "for quality alone, 1 for cost alone."
        )
    return np.broadcast_to(weights, (num_queries,))


def _qualities(data: RoutingData) -> dict[str, np.ndarray]:
    """Name what can be a quality; accuracy is there even where it is no score."""
    return {"accuracy": data.accuracy, **data.scores}


def _costs(data: RoutingData) -> dict[str, np.ndarray]:
    """Name what can be a cost; of equal names the score."""
    return {**data.costs, **data.scores}


def _first_whole(
    groups: Sequence[tuple[str, ...]], known: Mapping[str, np.ndarray], *, option: str
) -> tuple[str, ...]:
    """Return the first group of names that are all known."""
    for group in groups:
        if all(name in known for name in group):
            return group
    missing = next(name for name in groups[0] if name not in known)
    raise ValueError(
        f"{option} {missing!r} is not in the data, which has {', '.join(sorted(known)) or 'none'}: "
        f"set the option {option!r} to what it has, or take another table."
    )
