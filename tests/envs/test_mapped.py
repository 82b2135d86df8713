"""A mapped split behaves as the split it was written from, and reads nothing when opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routing_gym.envs.data import RoutingData
from routing_gym.envs.dynamics import RoutingDynamics
from routing_gym.envs.mapped import DESCRIPTION, open_mapped, save_mapped
from routing_gym.envs.routing import RoutingEnv
from routing_gym.envs.routing_vector import RoutingVectorEnv
from tests.synthetic import identity_table


@pytest.fixture
def data() -> RoutingData:
    return identity_table(n=60, k=3, d=8).data("train")


@pytest.fixture
def mapped(data: RoutingData, tmp_path: Path) -> RoutingData:
    parts = [data.take(np.arange(10)), data.take(np.arange(10, len(data)))]
    save_mapped(parts, tmp_path / "split", num_queries=len(data))
    return open_mapped(tmp_path / "split")


def test_arrays_are_the_same_and_on_disk(data: RoutingData, mapped: RoutingData) -> None:
    assert mapped.adapters == data.adapters
    for name in ("observations", "rewards", "accuracy", "query_ids", "tasks", "complexity"):
        values = getattr(mapped, name)
        assert isinstance(values, np.memmap)
        np.testing.assert_array_equal(values, getattr(data, name))
    assert list(mapped.scores) == list(data.scores)
    for name, values in data.costs.items():
        np.testing.assert_array_equal(mapped.costs[name], values)


@pytest.mark.parametrize("observation", ["embedding", "index"])
def test_environments_step_alike(data: RoutingData, mapped: RoutingData, observation: str) -> None:
    plain = RoutingVectorEnv(5, data=data, observation=observation)  # type: ignore[arg-type]
    other = RoutingVectorEnv(5, data=mapped, observation=observation)  # type: ignore[arg-type]
    first, second = plain.reset(seed=3), other.reset(seed=3)
    np.testing.assert_array_equal(first[0], second[0])
    for step in range(4):
        actions = (np.arange(5) + step) % 3
        mine, theirs = plain.step(actions), other.step(actions)
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])
        for name in ("query_id", "task", "regret", "accuracy"):
            ours, yours = mine[4]["final_info"][name], theirs[4]["final_info"][name]
            np.testing.assert_array_equal(ours, yours)
        np.testing.assert_array_equal(
            mine[4]["final_info"]["scores"]["quality"], theirs[4]["final_info"]["scores"]["quality"]
        )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_are_read_past_the_mapping(data: RoutingData, tmp_path: Path, dtype: type) -> None:
    known = replace(data, observations=data.observations.astype(dtype))
    save_mapped([known], tmp_path / "split", num_queries=len(known))
    dynamics = RoutingDynamics(open_mapped(tmp_path / "split"))
    rows = np.array([3, 0, len(known) - 1, 3])
    found = dynamics.observe(rows)
    assert found.dtype == np.float32
    assert found.flags.writeable
    np.testing.assert_array_equal(found, known.observations[rows].astype(np.float32))
    # a view has another start than its file's: read through the mapping
    view = replace(dynamics.data, **{"observations": dynamics.data.observations[::-1]})
    np.testing.assert_array_equal(
        RoutingDynamics(view).observe(rows), known.observations[::-1][rows].astype(np.float32)
    )


def test_the_scalar_environment_too(data: RoutingData, mapped: RoutingData) -> None:
    plain, other = RoutingEnv(data=data), RoutingEnv(data=mapped)
    np.testing.assert_array_equal(plain.reset(seed=1)[0], other.reset(seed=1)[0])
    mine, theirs = plain.step(1), other.step(1)
    assert mine[1:4] == theirs[1:4]
    assert mine[4] == theirs[4]


def test_half_precision_stays_on_disk(data: RoutingData, tmp_path: Path) -> None:
    half = replace(data, observations=data.observations.astype(np.float16))
    save_mapped([half], tmp_path / "half", num_queries=len(half))
    mapped = open_mapped(tmp_path / "half")
    assert mapped.observations.dtype == np.float16
    assert RoutingEnv(data=mapped).reset(seed=0)[0].dtype == np.float32


def test_bad_input(data: RoutingData, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="save_mapped"):
        open_mapped(tmp_path / "none")
    with pytest.raises(ValueError, match=f"hold {len(data)} queries, not num_queries=99"):
        save_mapped([data], tmp_path / "short", num_queries=99)
    with pytest.raises(ValueError, match="more than num_queries=3"):
        save_mapped([data], tmp_path / "long", num_queries=3)
    other = replace(data, adapters=("x", "y", "z"))
    with pytest.raises(ValueError, match="other adapters"):
        save_mapped([data, other], tmp_path / "mixed", num_queries=2 * len(data))
    folder = tmp_path / "good"
    save_mapped([data], folder, num_queries=len(data))
    with pytest.raises(FileExistsError, match="another folder"):
        save_mapped([data], folder, num_queries=len(data))
    (folder / "rewards.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"rewards\.npy is gone"):
        open_mapped(folder)
    (folder / DESCRIPTION).write_text('{"version": 0}')
    with pytest.raises(ValueError, match="version 0, not 1"):
        open_mapped(folder)
