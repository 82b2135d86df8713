"""Rules of the trade for the cascade: when to accept an answer, and whom to try next."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy, best_allowed, require_parameter
from routing_gym.envs.cascade import CascadeScenario

Order = Literal["value", "net", "ratio"]
ORDERS: tuple[Order, ...] = ("value", "net", "ratio")
_LEAST_COST = 1e-9  # keeps a ratio finite where an adapter is predicted to be free


class CascadeGreedy(ScenarioPolicy):
    """Try the adapter of the highest predicted value less predicted price, and accept.

    The observations begin with predicted values and predicted prices in units of reward.
    """

    name: ClassVar[str] = "greedy"
    needs: ClassVar[int] = 2

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Accept as soon as that is allowed; else take the best predicted adapter."""
        net = self.values(observations) - self.costs(observations)
        return _unless(masks[:, -1], best_allowed(net, masks[:, :-1]), masks)


class CascadeThreshold(ScenarioPolicy):
    """Try adapters in a predicted order until an answer's score reaches a threshold.

    This is FrugalGPT's cascade (Chen, Zaharia & Zou 2023) with an order for each query in the
    place of a fixed one.

    Parameters
    ----------
    threshold
        The score, in [0, 1], at which an answer is accepted; the one to tune.
    order
        What decides who is next: predicted ``"value"``, ``"net"`` (value less price) or
        ``"ratio"`` (value over price).
    """

    name: ClassVar[str] = "threshold"
    grid: ClassVar[tuple[float, ...]] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    needs: ClassVar[int] = 2

    def __init__(self, threshold: float, *, order: Order = "value") -> None:
        self.threshold = require_parameter(self.name, "threshold", threshold)
        if order not in ORDERS:
            raise ValueError(f"order={order!r} must be one of {ORDERS}.")
        self.order = order

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Accept what scores enough; else take the next adapter of the order."""
        values, prices = self.values(observations), self.costs(observations)
        if self.order == "net":
            values = values - prices
        elif self.order == "ratio":
            values = values / np.maximum(prices, _LEAST_COST)
        enough = self.state(observations, "best") >= self.threshold
        return _unless(enough, best_allowed(values, masks[:, :-1]), masks)


class CascadeFixedOrder(ScenarioPolicy):
    """Try adapters in one order for all queries until an answer's score reaches a threshold.

    The cascade as FrugalGPT has it (Chen, Zaharia & Zou 2023), which looks at no query before it
    was answered.

    Parameters
    ----------
    threshold
        The score, in [0, 1], at which an answer is accepted; the one to tune.
    order
        Adapter numbers, each at most once, such as from the cheapest to the dearest; an answer is
        accepted at the latest when all of them were tried.
    """

    name: ClassVar[str] = "fixed_order"
    grid: ClassVar[tuple[float, ...]] = CascadeThreshold.grid

    def __init__(self, threshold: float, *, order: tuple[int, ...]) -> None:
        self.threshold = require_parameter(self.name, "threshold", threshold)
        if not order or len(set(order)) < len(order) or min(order) < 0:
            raise ValueError(f"order={order!r} must be adapter numbers, each once.")
        self.order = tuple(order)

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Accept what scores enough; else take the next adapter of the order."""
        if max(self.order) >= self.num_adapters:
            raise ValueError(f"order={self.order} names more than K = {self.num_adapters}.")
        rank = np.full(self.num_adapters, -np.inf)
        rank[list(self.order)] = -np.arange(len(self.order), dtype=np.float64)
        left = (masks[:, :-1] & np.isfinite(rank)).any(axis=1)
        enough = (self.state(observations, "best") >= self.threshold) | ~left
        scores = np.broadcast_to(rank, (len(masks), self.num_adapters))
        return _unless(enough, best_allowed(scores, masks[:, :-1]), masks)


class CascadePandora(ScenarioPolicy):
    r"""Open boxes by Weitzman's index, and stop when the best answer beats every index left.

    The index z of a box with value X and price c solves :math:`E[(X - z)^+] = c` (Weitzman 1979,
    *Optimal search for the best alternative*, eq. 7); this order and this stop are optimal for
    independent boxes. Here X is taken to be 1 with the predicted probability v and 0 otherwise,
    so :math:`z = 1 - c / v`. Answers to one query are not independent: where the first adapter
    fails, the next ones fail more often than predicted. So, once one has failed, predictions are
    shrunk by a factor, which is Weitzman's rule for a factor of 1.

    Parameters
    ----------
    belief
        The factor per failed try, in [0, 1]; the one to tune.
    """

    name: ClassVar[str] = "pandora"
    grid: ClassVar[tuple[float, ...]] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    needs: ClassVar[int] = 2

    def __init__(self, belief: float) -> None:
        self.belief = require_parameter(self.name, "belief", belief)
        if belief > 1:
            raise ValueError(f"belief={belief} of rule 'pandora' must be at most 1.")

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Open the box of the highest index, unless an answer in hand is worth more."""
        tries = np.round(self.state(observations, "tries") * self.num_adapters)
        # a first box must be opened: the best single one, where none has an index above 0
        shrunk = self.values(observations) * (self.belief**tries)[:, None]
        index = pandora_index(shrunk, self.costs(observations))
        first = self.values(observations) - self.costs(observations)
        hopeless = (index <= 0).all(axis=1, keepdims=True) & (tries == 0)[:, None]
        scores = np.where(hopeless, first, index)
        best = np.where(masks[:, :-1], scores, -np.inf).max(axis=1)
        enough = self.state(observations, "best") >= best
        return _unless(enough, best_allowed(scores, masks[:, :-1]), masks)


def pandora_index(values: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Compute Weitzman's index of boxes that hold 1 or 0.

    Parameters
    ----------
    values
        float (L, K), probabilities of 1; clipped to [0, 1].
    prices
        float (L, K), at least 0.

    Returns
    -------
    np.ndarray
        float64 (L, K): 1 - c/v where that is above 0, else v - c, which solves the same equation
        there.
    """
    chance = np.clip(values, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = 1.0 - prices / chance
    return np.where(prices < chance, inner, chance - prices)


class CascadeOracle(ScenarioPolicy):
    """Try the adapter that is best on this query after its price, and accept: the upper bound."""

    name: ClassVar[str] = "oracle"
    privileged: ClassVar[bool] = True

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Look the best adapter up in the table."""
        scenario = cast(CascadeScenario, self.scenario)
        net: Any = scenario.values - scenario.prices
        return _unless(masks[:, -1], best_allowed(net[scenario.rows], masks[:, :-1]), masks)


def _unless(accept: np.ndarray, tries: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Take the tries (L,), or accept where that is wanted and allowed, or all that is left."""
    only = ~masks[:, :-1].any(axis=1)
    return np.where((accept & masks[:, -1]) | only, masks.shape[1] - 1, tries)
