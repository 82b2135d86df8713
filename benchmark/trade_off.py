"""Cost against accuracy: every agent's hull of operating points, joined over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.routing_metrics import (
    average_improvement_in_quality,
    cost_save,
    quality_hull,
)
from routing_gym.benchmark.runs import RunRecord
from routing_gym.envs.data import RoutingData

GRID = 60


@dataclass(frozen=True)
class FixedArms:
    """Every adapter used for all queries, on the test split.

    Parameters
    ----------
    names
        Length K.
    costs, accuracy
        float64 (K,), mean cost and mean verified accuracy.
    best
        The best single adapter, chosen on train by accuracy.
    """

    names: tuple[str, ...]
    costs: np.ndarray
    accuracy: np.ndarray
    best: int

    @classmethod
    def measure(cls, test: RoutingData, *, cost: str, best: int) -> FixedArms:
        """Average the measured costs and the accuracy of each adapter."""
        return cls(
            names=test.adapters,
            costs=test.costs[cost].mean(axis=0, dtype=np.float64),
            accuracy=test.accuracy.mean(axis=0, dtype=np.float64),
            best=best,
        )


@dataclass(frozen=True)
class TradeOff:
    """One agent in the plane of cost and accuracy.

    Parameters
    ----------
    agent
        Whose.
    costs, accuracy
        float64 (60,), its mean hull over the seeds.
    aiq
        float64 (S,), average improvement in quality of each seed over the range of the fixed arms.
    saved
        float64 (S,), CostSave of each seed against the best single adapter; nan where its accuracy
        is never had.
    """

    agent: str
    costs: np.ndarray
    accuracy: np.ndarray
    aiq: np.ndarray
    saved: np.ndarray


def trade_offs(
    records: Sequence[RunRecord], arms: FixedArms, *, trained_on: str
) -> dict[str, TradeOff]:
    """Join each agent's operating points.

    The cheapest adapter, always at hand, is added to every agent's points, so that all hulls can
    be averaged over one range of costs: from the cheapest adapter's to the dearest's.

    Parameters
    ----------
    records
        Judged runs with a `frontier`.
    arms
        The fixed adapters.
    trained_on
        The training reward.
    """
    groups: dict[str, list[RunRecord]] = {}
    for run in records:
        if run.finished and run.trained_on == trained_on and run.frontier:
            groups.setdefault(run.agent, []).append(run)
    low, high = float(arms.costs.min()), float(arms.costs.max())
    if not low < high:
        return {}
    grid = np.linspace(low, high, GRID)
    found = {}
    for agent, runs in groups.items():
        points = [_with_cheapest(run, arms) for run in runs]
        hulls = [quality_hull(costs, accuracy) for costs, accuracy in points]
        found[agent] = TradeOff(
            agent=agent,
            costs=grid,
            accuracy=np.mean([np.interp(grid, *hull) for hull in hulls], axis=0),
            aiq=np.array(
                [
                    average_improvement_in_quality(
                        costs, accuracy, low=max(low, float(costs.min())), high=high
                    )
                    for costs, accuracy in points
                ]
            ),
            saved=np.array([_saved(*point, arms) for point in points]),
        )
    return found


def rows(found: Mapping[str, TradeOff]) -> list[dict[str, object]]:
    """Turn hulls into tidy rows: one per agent and cost."""
    return [
        {"agent": agent, "cost": f"{cost:.5g}", "accuracy": f"{accuracy:.5g}"}
        for agent, curve in found.items()
        for cost, accuracy in zip(curve.costs, curve.accuracy, strict=True)
    ]


def _with_cheapest(run: RunRecord, arms: FixedArms) -> tuple[np.ndarray, np.ndarray]:
    """Return a run's operating points and the cheapest adapter's: costs, accuracy."""
    cheapest = int(arms.costs.argmin())
    costs = np.array([point.cost for point in run.frontier] + [arms.costs[cheapest]])
    accuracy = np.array([point.accuracy for point in run.frontier] + [arms.accuracy[cheapest]])
    return costs, accuracy


def _saved(costs: np.ndarray, accuracy: np.ndarray, arms: FixedArms) -> float:
    """Return CostSave against the best single adapter."""
    best = arms.best
    return cost_save(
        costs,
        accuracy,
        best_cost=float(arms.costs[best]),
        best_accuracy=float(arms.accuracy[best]),
    )
