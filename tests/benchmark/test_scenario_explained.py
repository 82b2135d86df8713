"""What the pictures of a policy say, checked where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.hindsight_budget import hindsight_returns
from routing_gym.benchmark.scenario_explained import (
    Replay,
    Subject,
    explain,
    hindsight_spending,
)
from routing_gym.benchmark.scenario_panels import Line, Panel
from routing_gym.benchmark.scenario_problems import PROBLEMS
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.benchmark.scenario_study import build
from tests.benchmark.scenarios import problem

BEST = {
    "budget": "static",
    "adapter_cache": "hysteresis",
    "cascade": "pandora",
    "drift": "tracking",
    "preference": "weighted_predictions",
}


def subject_of(name: str) -> Subject:
    """Two learned policies that are the rule itself."""
    family = problem(name).rules[BEST[name]]
    place = 9 if name == "budget" else 2  # a price at which some queries are refused
    rules = [build(family, family.grid[place] if family.grid else None) for _ in range(3)]
    return Subject(problem(name), rules[:2], rules[2], BEST[name], seed=0)


def line(panel: Panel, label: str) -> Line:
    return next(found for found in panel.lines if found.label == label)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_policy_that_is_the_rule_is_drawn_as_the_rule(name: str) -> None:
    panels = explain(subject_of(name))
    assert len(panels) == 2
    shown = BEST[name].replace("_", " ")
    compared = panels if name != "preference" else panels[1:]
    for panel in compared:
        ours, rule = line(panel, "PPO"), line(panel, shown)
        np.testing.assert_array_equal(ours.y, rule.y)
        np.testing.assert_array_equal(ours.low, ours.high)
        assert np.isfinite(ours.y).any()
        assert len(ours.x) == len(ours.y)


def test_budgets_are_spent_from_nothing_on() -> None:
    pacing, answer = explain(subject_of("budget"))
    for found in pacing.lines:
        assert found.y[0] == 0
        assert (np.diff(found.y) >= -1e-12).all()
        assert found.y[-1] <= 1 + 1e-12
    # greed spends first
    greedy, ours = line(pacing, "greedy"), line(pacing, "PPO")
    assert greedy.y[1] > ours.y[1]
    assert np.nanmax(line(answer, "greedy").y) > 0


def test_hindsight_spends_what_its_optimum_costs() -> None:
    subject = subject_of("budget")
    spent = hindsight_spending(subject)
    assert spent.shape == (6,)
    assert spent[0] == 0
    assert (np.diff(spent) >= 0).all()
    assert 0.5 < spent[-1] <= 1 + 1e-12


def test_hysteresis_swaps_above_a_threshold() -> None:
    by_gain, by_time = explain(subject_of("adapter_cache"))
    rule = line(by_gain, "hysteresis")
    known = np.isfinite(rule.y)
    assert rule.y[known][0] == 0
    assert rule.y[known][-1] == 1
    assert (np.diff(by_time.lines[0].x) < 0).all()
    assert line(by_time, "hindsight").role == "bound"


def test_tries_are_shares() -> None:
    _, tries = explain(subject_of("cascade"))
    for found in tries.lines:
        assert found.y.sum() == pytest.approx(1.0)
    assert line(tries, "greedy").y[0] == 1.0  # one try


def test_regret_rises_with_the_change() -> None:
    around, kinds = explain(subject_of("drift"))
    static = line(around, "static greedy")
    before, after = static.y[static.x < -2], static.y[static.x > 2]
    assert np.nanmean(after) > np.nanmean(before) + 0.02
    assert kinds.ticks == ("exchange", "degrade", "appear")


def test_shares_of_adapters_sum_to_one() -> None:
    shares, _ = explain(subject_of("preference"))
    ours = [found.y for found in shares.lines if found.label.endswith("PPO")]
    assert len(ours) == 4
    total = np.sum(ours, axis=0)
    assert np.isfinite(total).sum() >= 15  # bins with few queries are left out
    np.testing.assert_allclose(total[np.isfinite(total)], 1.0)


def test_a_replay_repeats_what_was_done() -> None:
    env = problem("adapter_cache").data.lanes("test", 3)
    actions = np.tile(np.array([0, 1, 2]), (8, 1))
    done = rollout(Replay(actions), env, episodes=3, seed=0)
    assert done.actions.argmax(axis=1).tolist() == [0, 1, 2]
    assert done.actions.max(axis=1).tolist() == [8, 8, 8]
    with pytest.raises(ValueError, match="no shared budget"):
        hindsight_returns(env, episodes=3, seed=0)
