"""The episodes that judge: the same for everybody, and pools of resampled queries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.scenario_judging import Judging, means
from routing_gym.benchmark.scenario_problems import PROBLEMS
from routing_gym.benchmark.scenario_study import build
from tests.benchmark.scenarios import JUDGING, problem


def rule_of(name: str) -> Any:
    label, family = next((k, f) for k, f in problem(name).rules.items() if not f.privileged)
    assert label
    return build(family, family.grid[0] if family.grid else None)


@pytest.mark.parametrize("name", PROBLEMS)
def test_pools_are_below_their_bounds(name: str) -> None:
    pools = JUDGING.play_pools(rule_of(name), problem(name).data)
    bounds = JUDGING.pool_bounds(problem(name))
    assert bounds is not None
    assert pools.shape == bounds.shape == (3, 4)
    assert (pools <= bounds + 1e-9).all()
    np.testing.assert_array_equal(pools, JUDGING.play_pools(rule_of(name), problem(name).data))


def test_pools_differ_in_their_queries() -> None:
    envs = [env for env, _ in JUDGING._pools(problem("budget").data)]
    ids = [env.scenario.data.query_ids for env in envs]
    test = problem("budget").data.splits.test.query_ids
    for drawn in ids:
        assert len(drawn) == len(test)
        assert set(drawn) < set(test)  # with replacement, some are left out
    assert not np.array_equal(ids[0], ids[1])
    assert len({seed for _, seed in JUDGING._pools(problem("budget").data)}) == 3


def test_validation_and_test_are_other_episodes_of_other_queries() -> None:
    data = problem("budget").data
    validation, test = (JUDGING.play(rule_of("budget"), data, s) for s in ("validation", "test"))
    assert (len(validation.returns), len(test.returns)) == (6, 12)
    assert not np.array_equal(validation.returns, test.returns[:6])


def test_without_pools_there_are_none() -> None:
    judging = Judging(4, 4)
    assert judging.play_pools(rule_of("budget"), problem("budget").data).shape == (0, 256)


def test_means_by_hand() -> None:
    result = JUDGING.play(rule_of("cascade"), problem("cascade").data, "test")
    found = means(result)
    assert found["return"] == result.returns.mean()
    assert found["length"] == result.lengths.mean() == 2.0  # one try, then accept
    assert found["tries"] == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_episodes": 0}, "validation_episodes=0 must be a whole number of at least 1"),
        ({"test_episodes": 1.5}, "test_episodes=1.5"),
        ({"pools": 1}, "pools=1 shows no differences"),
        ({"pools": -1}, "pools=-1"),
        ({"pool_episodes": 1}, "pool_episodes=1 must be a whole number of at least 2"),
        ({"pools": True}, "pools=True"),
    ],
)
def test_refuses_impossible_numbers(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judging(**({"validation_episodes": 4, "test_episodes": 4} | settings))
