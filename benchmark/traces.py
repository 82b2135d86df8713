"""What a run leaves for curves: reward against outcomes, and cost against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from routing_gym.agents.agent import Agent
from routing_gym.agents.value_agent import PrivilegedAgent, ValueAgent
from routing_gym.benchmark import metrics
from routing_gym.benchmark.cost_quality import cost_quality_curve
from routing_gym.benchmark.runs import CurvePoint, OperatingPoint, Splits

COST = "completion_tokens"


@runtime_checkable
class Adjustable(Protocol):
    """An agent that trades quality against cost as it is told."""

    def at(self, preference: float) -> Agent:
        """Return the agent deciding under a weight of the cost in [0, 1]."""
        ...


def learning_curve(agent: Agent) -> tuple[CurvePoint, ...]:
    """Read the learning curve that an agent with bandit feedback recorded, against outcomes.

    Parameters
    ----------
    agent
        A trained agent. Those of bandit feedback keep ``curves``, rows of step, split, quantity
        and value, whose step counts the outcomes paid for.

    Returns
    -------
    tuple[CurvePoint, ...]
        Empty where nothing was recorded.
    """
    if agent.feedback != "bandit":
        return ()
    rows: list[dict[str, Any]] = getattr(agent, "curves", [])
    reward = _series(rows, "validation", "reward")
    regret = _series(rows, "train", "regret")
    spans = np.diff(regret[:, 0], prepend=0.0)
    total = np.cumsum(spans * regret[:, 1])
    at = np.interp(reward[:, 0], np.append(0.0, regret[:, 0]), np.append(0.0, total))
    return tuple(
        CurvePoint(int(step), float(value), float(paid))
        for (step, value), paid in zip(reward, at, strict=True)
    )


def frontier(agent: Agent, data: Splits) -> tuple[OperatingPoint, ...]:
    """Measure what a policy costs and yields on the test split.

    An agent that predicts rewards is asked again at every price of cost (its prediction less the
    price times the adapter's mean cost on train), one that takes a preference at every preference;
    any other policy is one point.

    Parameters
    ----------
    agent
        A trained agent.
    data
        The splits; without measured completion tokens there are no points.
    """
    if COST not in data.test.costs:
        return ()
    cost = data.test.costs[COST]
    if isinstance(agent, ValueAgent):
        values = agent.values(data.test.observations)
    elif isinstance(agent, PrivilegedAgent):
        values = agent.values_on(data.test)
    else:
        policies = {0.0: agent}
        if isinstance(agent, Adjustable):
            policies |= {float(weight): agent.at(weight) for weight in np.linspace(0, 1, 21)}
        return tuple(_operating_point(price, policy, data) for price, policy in policies.items())
    curve = cost_quality_curve(
        np.asarray(values),
        quality=data.test.accuracy,
        cost=cost,
        expected_cost=data.train.costs[COST].mean(axis=0),
    )
    points = zip(curve.prices, curve.costs, curve.quality, strict=True)
    return tuple(OperatingPoint(*map(float, point)) for point in points)


def _operating_point(price: float, agent: Agent, data: Splits) -> OperatingPoint:
    """Measure one policy's decisions on the test split."""
    actions = agent.decide_on(data.test).actions
    cost = metrics.value(data.test.costs[COST], actions)
    return OperatingPoint(price, cost, metrics.value(data.test.accuracy, actions))


def _series(rows: Sequence[Mapping[str, Any]], split: str, quantity: str) -> np.ndarray:
    """Pick one curve from tidy rows: float64 (T, 2), step and value."""
    points = [
        (row["step"], row["value"])
        for row in rows
        if row["split"] == split and row["quantity"] == quantity
    ]
    return np.array(points, dtype=np.float64).reshape(-1, 2)
