"""Rules of the trade for the shared budget: what a unit of cost must bring now."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy, best_allowed, require_parameter
from routing_gym.envs.budget import BudgetScenario
from routing_gym.envs.scenario import Scenario

# prices of a unit of predicted cost in units of value
_PRICES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0)
_LEAST = 1e-9


class BudgetRule(ScenarioPolicy):
    """Takes the highest predicted value less lambda times predicted cost, and refuses below 0.

    The observations begin with predicted values and predicted costs; these in units of the mean
    cost of the dearest adapter. Subclasses say what lambda is.
    """

    needs: ClassVar[int] = 2

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Choose by the present price of a unit of cost."""
        price = self.price(observations)[:, None]
        return priced_choice(self.values(observations), self.costs(observations) * price, masks)

    @abstractmethod
    def price(self, observations: np.ndarray) -> np.ndarray:
        """Return lambda, float64 (L,)."""


def priced_choice(values: np.ndarray, prices: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Take the allowed adapter of the highest value less price, or refuse if none is above 0.

    Parameters
    ----------
    values, prices
        float64 (L, K).
    masks
        bool (L, K + 1).

    Returns
    -------
    np.ndarray
        int64 (L,).
    """
    refuse = np.zeros((len(values), 1))
    return best_allowed(np.concatenate([values - prices, refuse], axis=1), masks)


class BudgetGreedy(BudgetRule):
    """Takes the highest predicted value while the money lasts."""

    name: ClassVar[str] = "greedy"

    def price(self, observations: np.ndarray) -> np.ndarray:
        """Return 0."""
        return np.zeros(len(observations))


class BudgetStatic(BudgetRule):
    """Charges the same price throughout: argmax of v - lambda c.

    Parameters
    ----------
    price
        lambda, value per unit of cost; the one to tune.
    """

    name: ClassVar[str] = "static"
    grid: ClassVar[tuple[float, ...]] = _PRICES

    def __init__(self, price: float) -> None:
        self.fixed = require_parameter(self.name, "price", price)

    def price(self, observations: np.ndarray) -> np.ndarray:
        """Return the fixed price."""
        return np.full(len(observations), self.fixed)


class BudgetPacing(BudgetRule):
    """Charges more where money goes faster than queries: lambda x episode left / budget left.

    Parameters
    ----------
    price
        lambda while spending is on time; the one to tune.
    """

    name: ClassVar[str] = "pacing"
    grid: ClassVar[tuple[float, ...]] = _PRICES

    def __init__(self, price: float) -> None:
        self.fixed = require_parameter(self.name, "price", price)

    def price(self, observations: np.ndarray) -> np.ndarray:
        """Return lambda over the share of the budget left per share of the episode left."""
        left = self.state(observations, "budget_left")
        return self.fixed * self.state(observations, "episode_left") / np.maximum(left, _LEAST)


class BudgetScarcity(BudgetRule):
    """Charges in inverse proportion to what is left per query: lambda / pace.

    Unlike `BudgetPacing` it also knows how large the episode's budget is.

    Parameters
    ----------
    price
        lambda at the pace of a middling budget; the one to tune.
    """

    name: ClassVar[str] = "scarcity"
    grid: ClassVar[tuple[float, ...]] = _PRICES

    def __init__(self, price: float) -> None:
        self.fixed = require_parameter(self.name, "price", price)

    def price(self, observations: np.ndarray) -> np.ndarray:
        """Return lambda over the budget left per query."""
        return self.fixed / np.maximum(self.state(observations, "pace"), _LEAST)


class BudgetAdaptive(BudgetRule):
    r"""Learns the price within each episode from what was spent: dual descent.

    :math:`\lambda_{t+1} = \max(0, \lambda_t + \eta (c_t - \rho))`, rho the budget per query
    (Balseiro & Gur 2019, *Learning in repeated auctions with budgets*, Algorithm 1, in the form
    with a linear utility).

    Parameters
    ----------
    step
        eta, the one to tune; costs count in units of the pace.
    first
        lambda at an episode's start.
    """

    name: ClassVar[str] = "adaptive"
    grid: ClassVar[tuple[float, ...]] = (
        0.0,
        0.02,
        0.05,
        0.1,
        0.2,
        0.3,
        0.5,
        0.8,
        1.2,
        2.0,
        3.0,
        5.0,
    )

    def __init__(self, step: float, *, first: float = 0.3) -> None:
        self.step = require_parameter(self.name, "step", step)
        self.first = require_parameter(self.name, "first", first)

    def begin(self, lanes: int) -> None:
        """Set every lane's price to the first."""
        super().begin(lanes)
        self._price = np.full(lanes, self.first)
        self._rate = np.zeros(lanes)  # rho, the budget per query
        self._before = np.ones((2, lanes))  # shares of budget and episode at the last choice
        self._fresh = np.ones(lanes, dtype=np.bool_)

    def price(self, observations: np.ndarray) -> np.ndarray:
        """Return each lane's price after what its last choice cost."""
        fresh = self._fresh
        left = np.stack([self.state(observations, f"{n}_left") for n in ("budget", "episode")])
        self._rate = np.where(fresh, self.state(observations, "pace"), self._rate)
        budget, episode = self._before - left
        spent = self._rate * budget / np.where(fresh, 1.0, episode)  # an episode's share is 1/T
        moved = np.maximum(0.0, self._price + self.step * (spent - self._rate))
        self._price = np.where(fresh, self.first, moved)
        self._before, self._fresh = left, np.zeros_like(fresh)
        return self._price.copy()

    def learn(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Begin anew where an episode ended."""
        self._fresh = ended.copy()


class BudgetResolving(BudgetRule):
    r"""Looks up the price at which a sample of queries would spend just what is left per query.

    The certainty-equivalent policy, solved again at every step (Jasin & Kumar 2012, *A re-solving
    heuristic with bounded revenue loss for network revenue management*): lambda is the dual of
    :math:`\max E[v_a]` subject to :math:`E[c_a]` at most the budget left per query,
    over the sample's predictions.

    Parameters
    ----------
    factor
        Multiplies the price; the one to tune.
    sample
        float (N, 2 K), predicted values and costs of queries that may be looked at beforehand,
        such as the train split's observations.
    """

    name: ClassVar[str] = "resolving"
    grid: ClassVar[tuple[float, ...]] = (0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5)

    def __init__(self, factor: float, *, sample: np.ndarray) -> None:
        self.factor = require_parameter(self.name, "factor", factor)
        if sample.ndim != 2 or sample.shape[1] % 2 or not len(sample):
            raise ValueError(f"sample has shape {sample.shape}, not (N, 2 K) with N above 0.")
        self._spending, self._prices = spending_curve(*np.split(sample, 2, axis=1))

    def bind(self, scenario: Scenario) -> BudgetResolving:
        """Note the unit of the pace besides the shapes."""
        super().bind(scenario)
        self._unit = float(cast(BudgetScenario, scenario).pace_unit)
        return self

    def price(self, observations: np.ndarray) -> np.ndarray:
        """Interpolate the price that spends the pace."""
        pace = self.state(observations, "pace") * self._unit
        return self.factor * np.interp(pace, self._spending, self._prices)


def spending_curve(values: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find how much is spent per query at each price of a unit of cost.

    Parameters
    ----------
    values, costs
        float (N, K), predictions.

    Returns
    -------
    tuple of np.ndarray
        Spending, increasing, float64 (P,), and the prices that lead to it, falling to 0.
    """
    costs = np.maximum(costs.astype(np.float64), 0.0)
    prices = np.concatenate([np.geomspace(100.0, 1e-3, 200), [0.0]])
    spending = np.empty(len(prices))
    for i, price in enumerate(prices):
        net = values - price * costs
        chosen = net.argmax(axis=1)
        rows = np.arange(len(net))
        spending[i] = np.where(net[rows, chosen] > 0, costs[rows, chosen], 0.0).mean()
    return np.maximum.accumulate(spending), prices


class BudgetOracle(ScenarioPolicy):
    """Takes the adapter that is best on this query, measured, while the money lasts.

    It knows every outcome in advance and still plans nothing: a yardstick for planning, no bound.
    """

    name: ClassVar[str] = "greedy_oracle"
    privileged: ClassVar[bool] = True

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Look up the best answer that can be paid in full; the cheapest of equals."""
        scenario = cast(BudgetScenario, self.scenario)
        rows = scenario.now()
        values, costs = scenario.values[rows], scenario.costs[rows]
        affordable = costs <= scenario.left[:, None]
        tie = 1e-9 * costs / scenario.dearest
        return priced_choice(np.where(affordable, values, 0.0), tie, masks)
