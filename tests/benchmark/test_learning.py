from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.learning import LearningCurve, curve_rows, learning_curves, thinned
from routing_gym.benchmark.runs import CurvePoint, RunRecord


def stream(agent: str, seed: int, points: dict[int, float], **changes: Any) -> RunRecord:
    """A run with bandit feedback: outcomes -> reward; half of each outcome is regretted."""
    curve = tuple(CurvePoint(step, reward, step / 2) for step, reward in points.items())
    options: dict[str, Any] = {"feedback": "bandit", "outcomes": curve[-1].outcomes} | changes
    return RunRecord(agent, "r", seed, "k", "finished", curve=curve, **options)


def batch(agent: str, seed: int, outcomes: int, reward: float, **changes: Any) -> RunRecord:
    options: dict[str, Any] = {"feedback": "full", "status": "finished"} | changes
    return RunRecord(agent, "r", seed, "k", outcomes=outcomes, validation_reward=reward, **options)


def curve(rewards: list[list[float]], outcomes: list[int] | None = None) -> LearningCurve:
    values = np.array(rewards)
    steps = np.arange(values.shape[1]) * 10 if outcomes is None else np.array(outcomes)
    return LearningCurve("a", "bandit", "r", steps, values, values * 2)


def test_streams_are_joined_where_all_have_measured() -> None:
    runs = [
        stream("linucb", 0, {0: 0.1, 100: 0.5, 200: 0.9}),
        stream("linucb", 1, {0: 0.3, 100: 0.7, 150: 0.8, 200: 0.7}),
    ]
    (found,) = learning_curves(runs, [], trained_on="r")
    assert found.outcomes.tolist() == [0, 100, 200]
    np.testing.assert_allclose(found.reward, [[0.1, 0.5, 0.9], [0.3, 0.7, 0.7]])
    assert found.regret is not None
    np.testing.assert_allclose(found.regret, [[0, 50, 100]] * 2)
    np.testing.assert_allclose(found.mean_reward, [0.2, 0.6, 0.8])


def test_shares_make_the_curve_of_full_information() -> None:
    records = [batch("knn", seed, 80, 0.8 + seed / 10) for seed in (0, 1)]
    partial = [
        batch("knn", seed, outcomes, 0.5 + seed / 10 + outcomes / 400)
        for outcomes in (40, 20)
        for seed in (0, 1)
    ]
    (found,) = learning_curves(records, partial, trained_on="r")
    assert found.feedback == "full"
    assert found.outcomes.tolist() == [20, 40, 80]
    np.testing.assert_allclose(found.reward, [[0.55, 0.6, 0.8], [0.65, 0.7, 0.9]])
    assert found.regret is None


def test_who_has_no_curve() -> None:
    records = [
        batch("knn", 0, 80, 0.8),  # no shares: one point is no curve
        batch("oracle", 0, 80, 1.0, privileged=True),
        batch("best_single", 0, 80, 0.4),
        batch("random", 0, 0, 0.3, feedback="none"),
        stream("linucb", 0, {0: 0.1, 10: 0.2}),
        RunRecord("linucb", "r", 1, "k", "failed"),
        replace(stream("squarecb", 0, {0: 0.1, 10: 0.2}), trained_on="other"),
        replace(stream("silent", 0, {0: 0.1}), curve=()),
    ]
    partial = [
        batch(agent, 0, 40, 0.5, privileged=agent == "oracle") for agent in ("oracle", "random")
    ]
    assert learning_curves(records, partial, trained_on="r") == []


def test_a_share_that_a_seed_lacks_makes_no_curve() -> None:
    records = [batch("knn", seed, 80, 0.8) for seed in (0, 1)]
    assert learning_curves(records, [batch("knn", 0, 40, 0.6)], trained_on="r") == []


def test_outcomes_to_a_level() -> None:
    found = curve([[0.1, 0.5, 0.4, 0.9], [0.3, 0.7, 0.6, 0.9]])  # mean .2, .6, .5, .9
    assert found.outcomes_to(0.2) == 0
    assert found.outcomes_to(0.55) == 10  # reached first, though lost again
    assert found.outcomes_to(0.61) == 30
    assert np.isnan(found.outcomes_to(0.91))


def test_thinned_keeps_the_ends() -> None:
    long = curve([np.linspace(0, 1, 500).tolist()] * 2)
    short = thinned(long, 12)
    assert 8 <= len(short.outcomes) <= 13
    assert short.outcomes[[0, -1]].tolist() == long.outcomes[[0, -1]].tolist()
    gaps = np.diff(short.outcomes)
    assert gaps[-1] > 5 * gaps[0]  # early points lie closer together
    kept = np.isin(long.outcomes, short.outcomes)
    np.testing.assert_array_equal(short.reward, long.reward[:, kept])
    assert short.regret is not None
    assert short.regret.shape == short.reward.shape
    assert thinned(short, 50) is short


def test_rows_are_tidy() -> None:
    full = replace(curve([[0.5, 0.75]]), agent="knn", feedback="full", regret=None)
    rows = curve_rows([curve([[0.1, 0.2], [0.3, 0.4]]), full])
    assert len(rows) == 4 + 2
    assert rows[3] == {
        "agent": "a",
        "feedback": "bandit",
        "trained_on": "r",
        "run": 1,
        "outcomes": 10,
        "validation_reward": "0.4",
        "regret": "0.8",
    }
    assert rows[-1]["regret"] == ""
    assert len({tuple(row) for row in rows}) == 1
    assert len(curve_rows([curve([np.linspace(0, 1, 500).tolist()])], points=5)) == pytest.approx(
        5, abs=1
    )
