"""Lanes of scenarios for the tests of learned policies, observed through perfect predictions."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from routing_gym.envs.budget import BudgetVectorEnv
from routing_gym.envs.cascade import CascadeVectorEnv
from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table


@lru_cache
def predicted(n: int = 200) -> RoutingData:
    """The identity problem's train split; what is observed of it are values and costs."""
    data = identity_table(n=n, k=4, d=8).data("train")
    costs = data.costs["completion_tokens"] / 100
    seen = np.hstack([data.scores["quality"], costs]).astype(np.float32)
    return replace(data, observations=seen)


def budget_lanes(lanes: int, **options: Any) -> BudgetVectorEnv:
    options = {"horizon": 4, "budget_low": 0.3} | options
    return BudgetVectorEnv(lanes, data=predicted(), lean=True, **options)


def cascade_lanes(lanes: int, **options: Any) -> CascadeVectorEnv:
    return CascadeVectorEnv(lanes, data=predicted(), lean=True, **options)
