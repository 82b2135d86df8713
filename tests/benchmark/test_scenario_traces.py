"""Traces: what was done, step by step, is what a rollout adds up."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents.cascade_rules import CascadeThreshold
from routing_gym.benchmark.scenario_problems import PROBLEMS
from routing_gym.benchmark.scenario_rollout import rollout
from routing_gym.benchmark.scenario_study import build
from routing_gym.benchmark.scenario_traces import record
from tests.benchmark.scenarios import problem


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_trace_adds_up_to_a_rollout(name: str) -> None:
    family = next(f for f in problem(name).rules.values() if not f.privileged)
    policy = build(family, family.grid[0] if family.grid else None)
    env = problem(name).data.lanes("test", 6)
    total = rollout(policy, env, episodes=6, seed=4)
    trace = record(policy, env, seed=4)
    played = trace.playing
    np.testing.assert_allclose((trace.rewards * played).sum(axis=0), total.returns)
    np.testing.assert_array_equal(played.sum(axis=0), total.lengths)
    for action in range(total.actions.shape[1]):
        taken = ((trace.actions == action) & played).sum(axis=0)
        np.testing.assert_array_equal(taken, total.actions[:, action])
    quantity = env.scenario.quantities[0]
    if quantity not in env.scenario.episode_quantities:
        mean = (trace.quantities[quantity] * played).sum(axis=0) / total.lengths
        np.testing.assert_allclose(mean, total.quantities[quantity])


def test_states_are_found_by_name() -> None:
    env = problem("cascade").data.lanes("test", 5)
    trace = record(CascadeThreshold(0.99), env, seed=0)
    assert trace.observations.shape[2] == trace.width + len(trace.state_names)
    np.testing.assert_allclose(trace.state("tries")[:3], [[0] * 5, [0.25] * 5, [0.5] * 5])
    tried = trace.states("tried")
    assert tried.shape == (*trace.actions.shape, 4)
    np.testing.assert_array_equal(tried.sum(axis=2)[:3, 0], [0, 1, 2])
    np.testing.assert_array_equal(tried[1].argmax(axis=1), trace.actions[0])


def test_more_can_be_kept_of_the_scenario() -> None:
    env = problem("drift").data.lanes("test", 3)
    policy = problem("drift").rules["static_greedy"].make()
    trace = record(policy, env, seed=0, look=lambda s: {"time": s.event_time})
    assert trace.seen["time"].shape == (12, 3)
    # read before each step, and a copy: the next episode's does not reach back
    np.testing.assert_array_equal(trace.seen["time"][0], trace.seen["time"][-1])
    assert record(policy, env, seed=0).seen == {}
