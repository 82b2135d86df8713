"""The scenarios of the study: whatever a rule is, it plays; no rule beats the bound."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from routing_gym.benchmark.scenario_problems import PROBLEMS, make_problem, problem_name
from routing_gym.benchmark.scenario_study import build
from tests.benchmark.scenarios import JUDGING, problem, splits

CASES = [(name, rule) for name in PROBLEMS for rule in problem(name).rules]


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_every_rule_plays_and_stays_below_the_bound(name: str, rule: str) -> None:
    family = problem(name).rules[rule]
    bound = JUDGING.bounds(problem(name), "test")
    assert bound is not None
    for parameter in family.grid[:: max(1, len(family.grid) - 1)] or (None,):
        played = JUDGING.play(build(family, parameter), problem(name).data, "test")
        assert played.returns.shape == (12,)
        assert (played.returns <= bound + 1e-9).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_lanes_are_seen_through_predictions(name: str) -> None:
    lanes = problem(name).data.lanes("validation", 3)
    assert lanes.num_envs == 3
    assert lanes.scenario.lean
    assert lanes.scenario.embeddings.shape[1] % 4 == 0
    assert len(lanes.scenario.data) == len(splits().validation)
    few = problem(name).data.lanes("test", 2, rows=np.array([1, 1, 4, 5, 6, 7]))
    np.testing.assert_array_equal(
        few.scenario.data.query_ids, splits().test.query_ids[[1, 1, 4, 5, 6, 7]]
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_processes_can_exchange_what_training_needs(name: str) -> None:
    data = problem(name).data
    assert pickle.loads(pickle.dumps(data)).name == name
    for family in problem(name).rules.values():
        pickle.dumps(build(family, family.grid[0] if family.grid else None))


@pytest.mark.parametrize("name", PROBLEMS)
def test_there_is_a_yardstick_and_a_competitor(name: str) -> None:
    families = problem(name).rules.values()
    assert {family.privileged for family in families} == {True, False}
    assert any(family.grid for family in families if not family.privileged)


def test_options_reach_the_environment() -> None:
    lanes = make_problem("drift", splits(), {"length": 7, "delay": 2}).data.lanes("train", 2)
    assert (lanes.scenario.length, lanes.scenario.delay) == (7, 2)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="did you mean 'horizon'"):
        make_problem("budget", splits(), {"horizn": 3}).data.lanes("train", 2)


def test_names() -> None:
    assert problem_name("RoutingGym/AdapterCache-v0") == "adapter_cache"
    assert [problem_name(name) for name in PROBLEMS] == list(PROBLEMS)
    with pytest.raises(ValueError, match=r"scenario 'budgt'.*did you mean 'budget'"):
        problem_name("budgt")
    with pytest.raises(ValueError, match="is none of budget, adapter_cache"):
        make_problem("chess", splits())
