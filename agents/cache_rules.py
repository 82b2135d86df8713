"""Rules for AdapterCache-v0, which decide when another adapter is worth its swap.

Every rule that is not privileged sees predicted values in place of the embedding (the first K
entries of an observation), and the measured swap seconds, which are no secret. Where the evicted
slot is part of the action, all evict the least recently used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from routing_gym.agents.scenario_policy import (
    ScenarioPolicy,
    best_allowed,
    require_parameter,
)
from routing_gym.envs.adapter_cache import AdapterCacheScenario
from routing_gym.envs.scenario import Scenario

RuleT = TypeVar("RuleT", bound="CacheRule")


class CacheRule(ScenarioPolicy):
    """Base class of the rules: knows the swap seconds and what is in memory.

    Attributes
    ----------
    swap_seconds
        float64 (K,), since `bind`.
    places
        Actions per adapter, since `bind`.
    slots
        M, since `bind`.
    """

    needs: ClassVar[int] = 1

    swap_seconds: np.ndarray
    places: int
    slots: int

    def bind(self: RuleT, scenario: Scenario) -> RuleT:
        """Take the measured swap seconds; else as in the base class.

        Raises
        ------
        ValueError
            If the scenario is another one.
        """
        if not isinstance(scenario, AdapterCacheScenario):
            raise ValueError(
                f"rule {self.name!r} plays AdapterCache-v0, not {type(scenario).__name__}."
            )
        super().bind(scenario)
        self.swap_seconds, self.places = scenario.swap_seconds, scenario.places
        self.slots = scenario.slots
        return self

    def resident(self, observations: np.ndarray) -> np.ndarray:
        """Say which adapters are in memory, bool (L, K)."""
        return self.states(observations, "resident") > 0.5

    def pick(self, scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the adapter of the highest score (L, K), evicting the least recently used."""
        return best_allowed(np.repeat(scores, self.places, axis=1), masks)


class GreedyRule(CacheRule):
    """Take the adapter of the highest predicted value, whatever its swap costs."""

    name: ClassVar[str] = "greedy"

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest predicted value."""
        return self.pick(self.values(observations), masks)


class HysteresisRule(CacheRule):
    r"""Charge a swap's seconds at an internal price: :math:`\arg\max_a q_a - \beta\,c_a`.

    q is the predicted value and c the swap seconds of adapters that are not in memory. The true
    price as :math:`\beta` is greedy in each step's reward; a lower one allows for what the swap
    will be worth to later queries.

    Parameters
    ----------
    beta
        Units of value per second, at least 0.

    Raises
    ------
    ValueError
        If beta is out of range.
    """

    name: ClassVar[str] = "hysteresis"
    grid: ClassVar[tuple[float, ...]] = (
        0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1.0,
    )  # fmt: skip

    def __init__(self, beta: float = 0.3) -> None:
        self.beta = require_parameter(self.name, "beta", beta)

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest value less the charge."""
        charge = np.where(self.resident(observations), 0.0, self.beta * self.swap_seconds)
        return self.pick(self.values(observations) - charge, masks)


class ResidentRule(CacheRule):
    """Fill the slots with the first adapters that are wanted, then stay with those in memory."""

    name: ClassVar[str] = "resident_only"

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest predicted value among what is in memory, or anything for a free slot."""
        resident = self.resident(observations)
        full = (self.states(observations, "recency") > 0).sum(axis=1) == self.slots
        usable = resident | ~full[:, None]
        return self.pick(np.where(usable, self.values(observations), -np.inf), masks)


class ThresholdRule(CacheRule):
    r"""Swap once the gain that was forgone for want of an adapter has added up to a threshold.

    Least-recently-used eviction with a ski-rental rule of admission (Karlin, Manasse, Rudolph and
    Sleator 1988, *Competitive snoopy caching*): rent, until the rent paid would have bought. The
    gain forgone is a cumulative sum that cannot fall below zero (Page 1954, *Continuous inspection
    schemes*), so that a change of topic forgets:

    .. math:: g_a \leftarrow \max(0,\; g_a + q_a - \max_{b \in memory} q_b).

    The adapter with the largest sum is loaded when that is above the threshold; until then the
    best adapter in memory answers. Below one query's gain it is a plain threshold on the gain.

    Parameters
    ----------
    threshold
        Units of value, at least 0.

    Raises
    ------
    ValueError
        If the threshold is out of range.
    """

    name: ClassVar[str] = "lru_threshold"
    grid: ClassVar[tuple[float, ...]] = (
        0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0,
    )  # fmt: skip

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = require_parameter(self.name, "threshold", threshold)

    def begin(self, lanes: int) -> None:
        """Forget the gains."""
        super().begin(lanes)
        self._forgone = np.zeros((lanes, self.num_adapters))

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Add up the gains; load where they suffice, else take the best in memory."""
        values, resident = self.values(observations), self.resident(observations)
        best = np.where(resident, values, -np.inf).max(axis=1, keepdims=True)
        # Without anything in memory the whole value is forgone.
        forgone = values - np.where(np.isfinite(best), best, 0.0)
        self._forgone = np.where(resident, 0.0, np.maximum(self._forgone + forgone, 0.0))
        wanted = self._forgone.argmax(axis=1)
        lanes = np.arange(len(values))
        load = self._forgone[lanes, wanted] > self.threshold
        scores = np.where(resident, values, -np.inf)
        # Where nothing is in memory there is nothing to fall back on.
        scores = np.where(np.isfinite(best), scores, values)
        scores[lanes[load], wanted[load]] = np.inf
        return self.pick(scores, masks)

    def learn(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Forget the gains of lanes whose episode ended."""
        self._forgone[ended] = 0.0


class GreedyOracleRule(CacheRule):
    """Take the best reward of this step, swap included, with the answers' true values known."""

    name: ClassVar[str] = "greedy_oracle"
    privileged: ClassVar[bool] = True
    needs: ClassVar[int] = 0

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest true value less the price of its swap."""
        return self.pick(self.scenario.net_values(), masks)


CACHE_RULES: dict[str, type[CacheRule]] = {
    rule.name: rule
    for rule in (GreedyRule, HysteresisRule, ResidentRule, ThresholdRule, GreedyOracleRule)
}
"""Rule name -> class."""
