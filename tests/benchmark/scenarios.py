"""A small table, its scenarios, and settings with which a study of them takes seconds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from routing_gym.benchmark.runs import Splits
from routing_gym.benchmark.scenario_judging import Judging
from routing_gym.benchmark.scenario_problems import ScenarioProblem, make_problem
from tests.synthetic import identity_table

ADAPTERS = tuple(f"adapter_{arm}" for arm in range(4))
OPTIONS: dict[str, dict[str, Any]] = {
    "budget": {"horizon": 5, "budget_low": 0.3},
    "adapter_cache": {"length": 8, "profile": dict.fromkeys(ADAPTERS, 0.3)},
    "cascade": {},
    "drift": {"length": 12},
    "preference": {},
}
QUICK: dict[str, Any] = {
    "total_steps": 64,
    "num_envs": 4,
    "steps_per_update": 8,
    "batch_size": 16,
    "epochs": 1,
    "imitation_steps": 2,
    "hidden_sizes": [8],
}
JUDGING = Judging(validation_episodes=6, test_episodes=12, pools=3, pool_episodes=4)


@lru_cache
def splits() -> Splits:
    table = identity_table(n=120, k=4, d=8)
    return Splits(*(table.data(name) for name in ("train", "validation", "test")))


@lru_cache
def problem(name: str) -> ScenarioProblem:
    return make_problem(name, splits(), OPTIONS[name])
