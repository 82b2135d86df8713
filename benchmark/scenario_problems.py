"""The scenarios of the study: their lanes, what is predicted, their rules and their bounds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.agents.budget_rules import (
    BudgetAdaptive,
    BudgetGreedy,
    BudgetOracle,
    BudgetPacing,
    BudgetResolving,
    BudgetScarcity,
    BudgetStatic,
)
from routing_gym.agents.cache_rules import CACHE_RULES
from routing_gym.agents.cascade_rules import (
    ORDERS,
    CascadeFixedOrder,
    CascadeGreedy,
    CascadeOracle,
    CascadePandora,
    CascadeThreshold,
)
from routing_gym.agents.drift_rules import DRIFT_RULES
from routing_gym.agents.preference_rules import (
    PreferenceOracle,
    StaticWeights,
    WeightedPredictions,
)
from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark import hindsight_budget, hindsight_cache
from routing_gym.benchmark.runs import Splits
from routing_gym.benchmark.scenario_predictions import Target, predicted_splits
from routing_gym.envs.adapter_cache import AdapterCacheVectorEnv
from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.cascade import CascadeScenario, CascadeVectorEnv, value_matrix
from routing_gym.envs.data import RoutingData
from routing_gym.envs.drift import DriftVectorEnv
from routing_gym.envs.preference import PreferenceScenario, PreferenceVectorEnv
from routing_gym.envs.scenario_vector import ScenarioVectorEnv

Options = Mapping[str, Any]
Bound = Callable[..., np.ndarray]
"""Env, episodes and seed -> float64 (E,), what no policy can exceed."""


@dataclass(frozen=True)
class RuleFamily:
    """A rule with the values of the parameter that it is tuned over.

    Parameters
    ----------
    make
        Builds the rule from a value; from nothing where the grid is empty.
    grid
        The values.
    privileged
        Whether it is a yardstick only.
    """

    make: Callable[..., ScenarioPolicy]
    grid: tuple[float, ...] = ()
    privileged: bool = False


@dataclass(frozen=True)
class ScenarioData:
    """A scenario's lanes on each split: all that training needs, and processes can exchange.

    Parameters
    ----------
    name
        As in the names of figures.
    env_class
        The lanes.
    splits
        The table under the scenario's reward, observed through predictions.
    options
        Of the environment.
    """

    name: str
    env_class: type[ScenarioVectorEnv]
    splits: Splits
    options: Options

    def lanes(self, split: str, count: int, *, rows: np.ndarray | None = None) -> ScenarioVectorEnv:
        """Make lanes of a split, or of these rows of it, that leave out the names of queries."""
        data: RoutingData = getattr(self.splits, split)
        data = data if rows is None else data.take(rows)
        return self.env_class(count, data=data, lean=True, **self.options)


@dataclass(frozen=True)
class ScenarioProblem:
    """A scenario with everything that the study needs of it.

    Parameters
    ----------
    data
        Its lanes.
    rules
        Label -> family.
    bound
        The hindsight bound; None where it is the return of `bound_rule`, or there is none.
    bound_rule
        The privileged rule that no policy can exceed; empty where there is none.
    """

    data: ScenarioData
    rules: Mapping[str, RuleFamily]
    bound: Bound | None = None
    bound_rule: str = ""


def make_problem(name: str, splits: Splits, options: Options | None = None) -> ScenarioProblem:
    """Prepare a scenario of the study.

    Parameters
    ----------
    name
        One of `PROBLEMS`, or the environment's id.
    splits
        The table under the scenario's reward, as it was encoded.
    options
        Of the environment.

    Raises
    ------
    ValueError
        If the name is unknown, or the options do not fit the scenario.
    """
    return _makers()[problem_name(name)](splits, dict(options or {}))


def problem_name(name: str) -> str:
    """Turn ``"RoutingGym/Budget-v0"`` or ``"budget"`` into the latter.

    Raises
    ------
    ValueError
        If there is no such scenario; the nearest one is named.
    """
    short = name.rpartition("/")[2].removesuffix("-v0")
    spelled = "".join(f"_{c.lower()}" if c.isupper() else c for c in short).lstrip("_")
    if spelled not in PROBLEMS:
        close = difflib.get_close_matches(spelled, PROBLEMS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"scenario {name!r} is none of {', '.join(PROBLEMS)}{hint}")
    return spelled


def _budget(splits: Splits, options: dict[str, Any]) -> ScenarioProblem:
    """Prepare Budget-v0; the mean costs that the agent knows are those of the train split."""
    cost, value = options.get("cost", "completion_tokens"), options.get("value", "quality")
    means = splits.train.costs[cost].astype(np.float64).mean(axis=0)
    seen = predicted_splits(
        splits,
        targets=[_value(value), lambda data: data.costs[cost] / means.max()],
    )
    options = {"mean_costs": means.tolist()} | options
    sample = seen.train.observations
    return ScenarioProblem(
        ScenarioData("budget", BudgetVectorEnv, seen, options),
        rules={
            "greedy": RuleFamily(BudgetGreedy),
            "static": _family(BudgetStatic),
            "pacing": _family(BudgetPacing),
            "scarcity": _family(BudgetScarcity),
            "adaptive": _family(BudgetAdaptive),
            "resolving": RuleFamily(
                lambda factor: BudgetResolving(factor, sample=sample), BudgetResolving.grid
            ),
            "greedy_oracle": RuleFamily(BudgetOracle, privileged=True),
        },
        bound=hindsight_budget.hindsight_returns,
    )


def _cache(splits: Splits, options: dict[str, Any]) -> ScenarioProblem:
    """Prepare AdapterCache-v0."""
    seen = predicted_splits(splits, targets=[_value(options.get("value", "reward"))])
    return ScenarioProblem(
        ScenarioData("adapter_cache", AdapterCacheVectorEnv, seen, options),
        rules={name: _family(rule) for name, rule in CACHE_RULES.items()},
        bound=hindsight_cache.hindsight_returns,
    )


def _cascade(splits: Splits, options: dict[str, Any]) -> ScenarioProblem:
    """Prepare Cascade-v0; the fixed order is that of the mean prices on the train split."""

    def prices(data: RoutingData) -> np.ndarray:
        return CascadeScenario(data, **options).prices

    value = options.get("value", "quality")
    order = tuple(int(a) for a in prices(splits.train).mean(axis=0).argsort())
    thresholds = {
        f"threshold_{by}": RuleFamily(
            lambda t, by=by: CascadeThreshold(t, order=by), CascadeThreshold.grid
        )
        for by in ORDERS
    }
    seen = predicted_splits(splits, targets=[_value(value), prices])
    return ScenarioProblem(
        ScenarioData("cascade", CascadeVectorEnv, seen, options),
        rules={
            "greedy": RuleFamily(CascadeGreedy),
            **thresholds,
            "fixed_order": RuleFamily(
                lambda t: CascadeFixedOrder(t, order=order), CascadeFixedOrder.grid
            ),
            "pandora": _family(CascadePandora),
            "oracle": RuleFamily(CascadeOracle, privileged=True),
        },
        bound_rule="oracle",
    )


def _drift(splits: Splits, options: dict[str, Any]) -> ScenarioProblem:
    """Prepare Drift-v0; feedback is what rewards differ by from the predictions."""
    options = {"expected": "observations"} | options
    seen = predicted_splits(splits, targets=[_value("reward")])
    return ScenarioProblem(
        ScenarioData("drift", DriftVectorEnv, seen, options),
        rules={name: _family(rule) for name, rule in DRIFT_RULES.items()},
        bound_rule="change_aware_oracle",
    )


def _preference(splits: Splits, options: dict[str, Any]) -> ScenarioProblem:
    """Prepare Preference-v0; each metric is predicted."""
    probe = PreferenceScenario(splits.train, **options)

    def metric(place: int) -> Target:
        return lambda data: PreferenceScenario(data, **options).values[:, :, place]

    rules = (WeightedPredictions, StaticWeights, PreferenceOracle)
    seen = predicted_splits(splits, targets=[metric(m) for m in range(probe.num_metrics)])
    return ScenarioProblem(
        ScenarioData("preference", PreferenceVectorEnv, seen, options),
        rules={rule.name: _family(rule) for rule in rules},
        bound_rule=PreferenceOracle.name,
    )


PROBLEMS: tuple[str, ...] = ("budget", "adapter_cache", "cascade", "drift", "preference")


def _makers() -> dict[str, Callable[[Splits, dict[str, Any]], ScenarioProblem]]:
    """Return what prepares each scenario."""
    makers = (_budget, _cache, _cascade, _drift, _preference)
    return dict(zip(PROBLEMS, makers, strict=True))


def _family(rule: type[ScenarioPolicy]) -> RuleFamily:
    """Take a rule's own grid and mark."""
    return RuleFamily(rule, rule.grid, rule.privileged)


def _value(name: str) -> Target:
    """Name what an answer is worth."""
    return lambda data: value_matrix(data, name)
