"""The priced split refuses arrays that do not fit together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from routing_gym.envs.data import RoutingData
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def data() -> RoutingData:
    return identity_table(n=40, k=3, d=4).data("train")


def test_sizes(data: RoutingData) -> None:
    assert len(data) == 24
    assert data.num_adapters == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapters": ("one",)}, "at least 2"),
        ({"rewards": np.zeros((24, 4))}, r"rewards has shape \(24, 4\)"),
        ({"tasks": np.array(["a"])}, "tasks has 1 rows"),
        ({"scores": {"relevance": np.zeros((3, 3))}}, r"scores\['relevance'\] has shape"),
        ({"costs": {"seconds": np.zeros((24, 1))}}, r"costs\['seconds'\] has shape"),
        ({"accuracy": np.full((24, 3), np.nan)}, "not finite"),
    ],
)
def test_refuses(data: RoutingData, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(data, **change)


def test_some_of_the_queries(data: RoutingData) -> None:
    rows = np.array([5, 0, 5])
    some = data.take(rows)
    assert len(some) == 3
    assert some.adapters == data.adapters
    assert some.query_ids.tolist() == data.query_ids[rows].tolist()
    for field in dataclasses.fields(RoutingData)[1:]:
        whole, part = getattr(data, field.name), getattr(some, field.name)
        if isinstance(whole, dict):
            assert list(part) == list(whole)
            for name, values in whole.items():
                np.testing.assert_array_equal(part[name], values[rows])
        else:
            np.testing.assert_array_equal(part, whole[rows])
    assert data.scores
    assert data.costs


def test_none_of_the_queries_is_no_split(data: RoutingData) -> None:
    with pytest.raises(ValueError, match="no rows"):
        data.take(np.array([], dtype=int))


def test_refuses_no_rows(data: RoutingData) -> None:
    with pytest.raises(ValueError, match="no rows"):
        dataclasses.replace(data, observations=np.zeros((0, 4)))
