from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.runs import OperatingPoint, RunRecord
from routing_gym.benchmark.trade_off import GRID, FixedArms, rows, trade_offs
from tests.agents.problems import by_hand

ARMS = FixedArms(("small", "large"), np.array([10.0, 30.0]), np.array([0.4, 0.8]), best=1)


def run(agent: str, *points: tuple[float, float], seed: int = 0, **changes: Any) -> RunRecord:
    frontier = tuple(OperatingPoint(0.0, *point) for point in points)
    fields: dict[str, Any] = {"status": "finished", "trained_on": "r"} | changes
    return RunRecord(agent=agent, seed=seed, key="k", frontier=frontier, **fields)


def test_fixed_arms_by_hand() -> None:
    data = by_hand([[0.2, 1.0], [0.4, 0.5]])
    data = replace(data, costs={"tokens": np.array([[10, 20], [20, 60]], dtype=np.float32)})
    arms = FixedArms.measure(data, cost="tokens", best=1)
    assert arms.names == ("a", "b")
    assert arms.costs.tolist() == [15.0, 40.0]
    np.testing.assert_allclose(arms.accuracy, [0.3, 0.75], atol=1e-7)


def test_one_arm_against_the_other() -> None:
    found = trade_offs([run("large", (30, 0.8)), run("small", (10, 0.4))], ARMS, trained_on="r")
    large, small = found["large"], found["small"]
    # lots between the cheapest arm and this one: a straight line from .4 to .8
    np.testing.assert_allclose(large.accuracy, np.linspace(0.4, 0.8, GRID))
    assert large.aiq == pytest.approx([0.6])
    assert large.saved == pytest.approx([0.0])
    np.testing.assert_allclose(small.accuracy, 0.4)
    assert small.aiq == pytest.approx([0.4])
    assert np.isnan(small.saved).all()  # never as accurate as the best single adapter
    np.testing.assert_allclose(large.costs, np.linspace(10, 30, GRID))


def test_a_hull_by_hand() -> None:
    router = run("router", (30, 0.9), (20, 0.8), (25, 0.5), (15, 0.45))  # the last two: below it
    found = trade_offs([router], ARMS, trained_on="r")["router"]
    # .4 to .8 over 10 tokens, .8 to .9 over another 10
    assert found.aiq == pytest.approx([(0.6 + 0.85) / 2])
    expected = np.interp(found.costs, [10, 20, 30], [0.4, 0.8, 0.9])
    np.testing.assert_allclose(found.accuracy, expected)
    assert found.saved == pytest.approx([1 - 20 / 30])


def test_points_outside_the_arms_range() -> None:
    found = trade_offs([run("cheap", (5, 0.8), (40, 1.0))], ARMS, trained_on="r")["cheap"]
    # cheaper than the cheapest arm at .8; the way to (40, 1) is a line that is cut at 30
    assert found.accuracy[0] == pytest.approx(0.8 + 0.2 * 5 / 35)
    assert found.accuracy[-1] == pytest.approx(0.8 + 0.2 * 25 / 35)
    assert found.saved == pytest.approx([1 - 5 / 30])


def test_seeds_are_joined_and_others_left_out() -> None:
    records = [
        run("router", (30, 0.8)),
        run("router", (30, 0.6), seed=1),
        run("router", (30, 1.0), seed=2, status="failed"),
        run("other", (30, 1.0), trained_on="accuracy"),
        run("unpriced"),
    ]
    found = trade_offs(records, ARMS, trained_on="r")
    assert list(found) == ["router"]
    assert found["router"].aiq == pytest.approx([0.6, 0.5])
    np.testing.assert_allclose(found["router"].accuracy, np.linspace(0.4, 0.7, GRID))
    tidy = rows(found)
    assert len(tidy) == GRID
    assert tidy[0] == {"agent": "router", "cost": "10", "accuracy": "0.4"}


def test_arms_of_equal_cost_leave_no_trade_off() -> None:
    arms = replace(ARMS, costs=np.array([10.0, 10.0]))
    assert trade_offs([run("router", (10, 0.8))], arms, trained_on="r") == {}
