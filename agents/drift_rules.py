"""Rules for Drift-v0, from one that trusts yesterday's predictions to bandits that forget.

Every rule that is not privileged sees predicted values in place of the embedding (the first K
entries of an observation), which were right before the drift. Each lane is a world of its own:
what a bandit learned there is forgotten when the lane's episode ends.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from routing_gym.agents.scenario_policy import (
    ScenarioPolicy,
    best_allowed,
    require_parameter,
)
from routing_gym.envs.drift import DriftScenario
from routing_gym.envs.scenario import Scenario

RuleT = TypeVar("RuleT", bound="DriftRule")


class DriftRule(ScenarioPolicy):
    """Base class of the rules.

    Attributes
    ----------
    delay
        Steps that feedback comes late by, since `bind`.
    """

    needs: ClassVar[int] = 1

    delay: int

    def bind(self: RuleT, scenario: Scenario) -> RuleT:
        """Take the delay of feedback; else as in the base class.

        Raises
        ------
        ValueError
            If the scenario is another one.
        """
        if not isinstance(scenario, DriftScenario):
            raise ValueError(f"rule {self.name!r} plays Drift-v0, not {type(scenario).__name__}.")
        super().bind(scenario)
        self.delay = scenario.delay
        return self


class StaticGreedyRule(DriftRule):
    """Take the adapter of the highest predicted value, whatever happened since."""

    name: ClassVar[str] = "static_greedy"

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest predicted value."""
        return best_allowed(self.values(observations), masks)


class TrackingRule(DriftRule):
    r"""Correct predictions by what was observed: :math:`\arg\max_a q_a + \kappa\,\bar e_a`.

    :math:`\bar e_a` is the observation's exponential average of adapter a's rewards less what was
    expected, which is exponential smoothing of the prediction's error (Brown 1959).

    Parameters
    ----------
    kappa
        Weight of the average, at least 0; 0 is static.

    Raises
    ------
    ValueError
        If kappa is out of range.
    """

    name: ClassVar[str] = "tracking"
    grid: ClassVar[tuple[float, ...]] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)

    def __init__(self, kappa: float = 0.5) -> None:
        self.kappa = require_parameter(self.name, "kappa", kappa)

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest corrected prediction."""
        corrected = self.values(observations) + self.kappa * self.states(observations, "residual")
        return best_allowed(corrected, masks)


class ForgettingLinUCBRule(DriftRule):
    r"""Base class of the bandits: predictions plus a linear correction learned in the episode.

    Adapter a is taken to earn :math:`q_a + \theta_a^\top x`, x being 1 and the K predictions; the
    correction starts from zero, so that a bandit without data is the static rule:

    .. math:: \arg\max_a \; q_a + x^\top \hat\theta_a + \alpha\, s_a(x), \quad
        \hat\theta_a = (\lambda I + G_a)^{-1} b_a.

    Subclasses say what G, b and s are. Changed against the papers: disjoint models (one parameter
    vector with the features of adapter a in the a-th block is the same), the start from
    predictions, feedback that comes `delay` steps late, and a width :math:`\alpha` that is set
    instead of computed.

    Parameters
    ----------
    alpha
        Width of the confidence bound, at least 0.
    penalty
        :math:`\lambda`, above 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, *, alpha: float, penalty: float) -> None:
        self.alpha = require_parameter(self.name, "alpha", alpha)
        self.penalty = require_parameter(self.name, "penalty", penalty)
        if self.penalty == 0:
            raise ValueError(f"penalty=0 of rule {self.name!r} must be above 0.")

    def begin(self, lanes: int) -> None:
        """Forget everything."""
        super().begin(lanes)
        count, features = self.num_adapters, self.num_adapters + 1
        self._gram = np.zeros((lanes, count, features, features))
        self._moment = np.zeros((lanes, count, features))
        self._age = np.zeros(lanes, dtype=np.int64)
        self._length = self.memory() + self.delay + 1
        self._contexts = np.zeros((lanes, self._length, features))
        self._taken = np.zeros((lanes, self._length), dtype=np.int64)
        self._errors = np.zeros((lanes, self._length))

    @abstractmethod
    def memory(self) -> int:
        """Return how many delivered outcomes have to be kept."""

    @abstractmethod
    def widths(self, contexts: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Return s (L, K) for contexts (L, F) and inverted Gram matrices (L, K, F, F)."""

    @abstractmethod
    def update(self) -> None:
        """Take in the outcome that has just been delivered, on every lane of that age."""

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest upper bound."""
        values = self.values(observations)
        contexts = _with_one(values)
        inverse = np.linalg.inv(self._gram + self.penalty * np.eye(contexts.shape[1]))
        theta = np.einsum("lkij,lkj->lki", inverse, self._moment)
        bounds = values + np.einsum("li,lki->lk", contexts, theta)
        if self.alpha > 0:
            bounds += self.alpha * self.widths(contexts, inverse)
        return best_allowed(bounds, masks)

    def learn(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Keep the outcome until it is delivered, and take in the one that now is."""
        values, lanes = self.values(observations), np.arange(self.num_lanes)
        at = self._age % self._length
        self._contexts[lanes, at] = _with_one(values)
        self._taken[lanes, at] = actions
        self._errors[lanes, at] = rewards - values[lanes, actions]
        self.update()
        self._age += 1
        for state in (self._gram, self._moment, self._age):
            state[ended] = 0

    def _add(self, ago: int, sign: float) -> None:
        """Add (1) or take off (-1) the outcome of some steps ago, on lanes that are old enough."""
        lanes = np.flatnonzero(self._age >= ago)
        at = (self._age[lanes] - ago) % self._length
        contexts, taken = self._contexts[lanes, at], self._taken[lanes, at]
        self._gram[lanes, taken] += sign * contexts[:, :, None] * contexts[:, None, :]
        self._moment[lanes, taken] += sign * contexts * self._errors[lanes, at, None]


class SlidingWindowRule(ForgettingLinUCBRule):
    r"""SW-LinUCB: a regression on the last w outcomes alone.

    Cheung, Simchi-Levi and Zhu 2019, *Learning to optimize under non-stationarity* (AISTATS),
    algorithm 1: G and b are sums over the last w steps, and :math:`s_a(x)^2 = x^\top (\lambda I +
    G_a)^{-1} x`. See `ForgettingLinUCBRule` for what is changed.

    Parameters
    ----------
    window
        w, steps, at least 1.
    alpha, penalty
        See `ForgettingLinUCBRule`.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    name: ClassVar[str] = "sliding_window_linucb"
    grid: ClassVar[tuple[float, ...]] = (8, 16, 24, 32, 48, 64, 96)

    def __init__(self, window: float = 32, *, alpha: float = 0.15, penalty: float = 0.2) -> None:
        super().__init__(alpha=alpha, penalty=penalty)
        if window < 1 or window != int(window):
            raise ValueError(f"window={window} of rule {self.name!r} must be a whole number >= 1.")
        self.window = int(window)

    def memory(self) -> int:
        """Return w: what leaves the window has to be taken off again."""
        return self.window

    def widths(self, contexts: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Return the standard errors at unit noise."""
        return np.sqrt(np.einsum("li,lkij,lj->lk", contexts, inverse, contexts))

    def update(self) -> None:
        """Let the newest outcome into the window and the oldest out."""
        self._add(self.delay, 1.0)
        self._add(self.delay + self.window, -1.0)


class DiscountedRule(ForgettingLinUCBRule):
    r"""D-LinUCB: a regression in which outcomes lose weight with their age.

    Russac, Vernade and Cappé 2019, *Weighted linear bandits for non-stationary environments*
    (NeurIPS), algorithm 1: G and b weigh an outcome of age n by :math:`\gamma^n`, :math:`\tilde G`
    by :math:`\gamma^{2n}`, and :math:`s_a(x)^2 = x^\top V_a^{-1} \tilde V_a V_a^{-1} x` with
    :math:`V = \lambda I + G`. See `ForgettingLinUCBRule` for what is changed.

    Parameters
    ----------
    gamma
        Discount per step, in (0, 1].
    alpha, penalty
        See `ForgettingLinUCBRule`.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    name: ClassVar[str] = "discounted_linucb"
    grid: ClassVar[tuple[float, ...]] = (0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0)

    def __init__(self, gamma: float = 0.97, *, alpha: float = 0.15, penalty: float = 0.2) -> None:
        super().__init__(alpha=alpha, penalty=penalty)
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma={gamma} of rule {self.name!r} must be in (0, 1].")
        self.gamma = float(gamma)

    def begin(self, lanes: int) -> None:
        """Forget everything."""
        super().begin(lanes)
        self._squared = np.zeros_like(self._gram)

    def memory(self) -> int:
        """Return 0: a delivered outcome is never needed again."""
        return 0

    def widths(self, contexts: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Return the standard errors at unit noise of a weighted regression."""
        solved = np.einsum("lkij,lj->lki", inverse, contexts)
        squared = self._squared + self.penalty * np.eye(contexts.shape[1])
        return np.sqrt(np.einsum("lki,lkij,lkj->lk", solved, squared, solved))

    def update(self) -> None:
        """Let every outcome age by a step, then add the newest."""
        self._gram *= self.gamma
        self._moment *= self.gamma
        self._squared *= self.gamma**2
        before = self._gram.copy()
        self._add(self.delay, 1.0)
        self._squared += self._gram - before

    def learn(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ended: np.ndarray,
        info: Mapping[str, Any],
    ) -> None:
        """Keep and take in outcomes; lanes whose episode ended forget."""
        super().learn(observations, actions, rewards, ended, info)
        self._squared[ended] = 0


class InformedGreedyRule(DriftRule):
    """Take the highest prediction with the change known: what noticing at once is worth."""

    name: ClassVar[str] = "informed_greedy"
    privileged: ClassVar[bool] = True

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Predict each adapter's value by that of the column which it now answers from."""
        values = np.take_along_axis(self.values(observations), self.scenario.columns, axis=1)
        return best_allowed(values, masks)


class ChangeAwareOracleRule(DriftRule):
    """Take the adapter whose answer is worth most now, which nothing can beat."""

    name: ClassVar[str] = "change_aware_oracle"
    privileged: ClassVar[bool] = True
    needs: ClassVar[int] = 0

    def act(self, observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Take the highest true value."""
        return best_allowed(self.scenario.current_values(), masks)


def _with_one(values: np.ndarray) -> np.ndarray:
    """Put a constant in front of the predictions, float64 (L, K + 1)."""
    return np.concatenate([np.ones((len(values), 1)), values], axis=1)


DRIFT_RULES: dict[str, type[DriftRule]] = {
    rule.name: rule
    for rule in (
        StaticGreedyRule,
        TrackingRule,
        SlidingWindowRule,
        DiscountedRule,
        InformedGreedyRule,
        ChangeAwareOracleRule,
    )
}
"""Rule name -> class."""
