from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_log import DecisionLog
from tests.agents.problems import by_hand
from tests.benchmark.off_policy_logs import logged

DATA = by_hand([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])


def changed(**values: Any) -> DecisionLog:
    return dataclasses.replace(logged(DATA, decisions=6), **values)


def test_only_rewarded_decisions_without_fallback_count() -> None:
    rewards = np.array([np.nan, 1.0, 0.0, 1.0, 0.5, 0.5])
    fallbacks = np.array([False, True, False, False, False, False])
    log = changed(rewards=rewards, fallbacks=fallbacks)
    usable = log.usable()
    assert usable.decision_ids.tolist() == ["d2", "d3", "d4", "d5"]
    assert usable.all_propensities is not None
    assert len(usable.all_propensities) == 4


def test_a_fallback_needs_no_propensity() -> None:
    propensities = np.array([np.nan, 0.5, 0.5, 0.5, 0.5, 0.5])
    fallbacks = np.arange(6) == 0
    assert len(changed(propensities=propensities, fallbacks=fallbacks).usable()) == 5


def test_queries_are_told_apart_by_what_is_known_best() -> None:
    log = logged(DATA, decisions=40)
    assert set(log.query_keys) == {"id q0", "id q1", "id q2"}
    assert len(set(dataclasses.replace(log, query_ids=None).query_keys)) == 3  # by embedding
    bare = dataclasses.replace(log, query_ids=None, observations=None)
    assert len(set(bare.query_keys)) == 40
    texts = dataclasses.replace(bare, queries=np.array(["same", ""] * 20))
    assert len(set(texts.query_keys)) == 21


def test_rows_are_decisions() -> None:
    decision = logged(DATA, decisions=3).decisions()[0]
    assert decision.adapter == DATA.adapters[decision.action]
    assert decision.propensities == (0.5, 0.5)
    assert decision.query is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adapters": ("a",)}, "at least two different, non-empty names: with one arm"),
        ({"adapters": ("a", "a")}, "at least two different"),
        ({"decision_ids": np.array(["d0"] * 6)}, "decision_id 'd0' occurs 6 times"),
        ({"actions": np.array([0, 1, 2, 0, 1, 0])}, "decision 'd2': action 2 is no position"),
        (
            {"propensities": np.array([0.5, 0.0, 0.5, 0.5, 0.5, 0.5])},
            r"'d1': propensity 0.0 is not",
        ),
        ({"propensities": np.full(6, 1.5)}, r"propensity 1.5 is not in \(0, 1\]"),
        ({"propensities": np.full(6, np.nan)}, "propensity nan is not in"),
        ({"propensities": np.full(6, 0.4)}, "propensity 0.4 is not that of its action"),
        ({"all_propensities": np.full((6, 2), 0.6)}, "propensities sum to 1.2, not to 1"),
        ({"all_propensities": np.tile([1.5, -0.5], (6, 1))}, "not all in"),
        ({"all_propensities": np.full((6, 3), 1 / 3)}, "K = 2"),
        ({"rewards": np.full(6, np.inf)}, "reward inf is not finite"),
        ({"rewards": np.zeros(5)}, "rewards has 5 entries, not N = 6"),
        ({"observations": np.full((6, 2), np.nan)}, "embedding is not finite"),
    ],
)
def test_faults_name_the_decision(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**values)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no decision"):
        logged(DATA, decisions=4).subset(np.zeros(4, dtype=np.bool_))


def test_a_log_without_feedback_is_refused() -> None:
    with pytest.raises(ValueError, match=r"none of the 6 decisions counts .* wait for feedback"):
        changed(rewards=np.full(6, np.nan)).usable()


def test_a_log_of_one_adapter_is_refused() -> None:
    always = np.tile([0.0, 1.0], (3, 1))
    with pytest.raises(ValueError, match="one adapter only: all 9 decisions chose 'b'"):
        logged(DATA, always, decisions=9).check_exploration()


def test_another_pool_is_refused() -> None:
    log = logged(DATA, decisions=3, pool="first")
    log.check_pool(("a", "b"), "first", owner="agent")
    log.check_pool(("a", "b"), "", owner="agent")
    with pytest.raises(ValueError, match=r"agent is for adapters \('b', 'a'\), the log for"):
        log.check_pool(("b", "a"), "first", owner="agent")
    with pytest.raises(ValueError, match="agent is for pool 'second', the log for 'first'"):
        log.check_pool(("a", "b"), "second", owner="agent")
