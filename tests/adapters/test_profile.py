"""The pool's profile: sums of medians, its file, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.profile import DEFAULT_PROFILE, OPERATIONS, PoolProfile, Timing

FAST = Timing(0.25, 0.125, 0.5, 3)


def profile() -> PoolProfile:
    return PoolProfile(
        {
            "base": {"decode": FAST},
            "one": {"load": Timing(1.0, 1.0, 1.0, 3), "switch": FAST, "decode": FAST},
        },
        pool_fingerprint="f",
        provenance={"threads": 1},
    )


def test_seconds_by_hand() -> None:
    assert profile().seconds("one", "load", "switch") == 1.25
    assert profile().seconds("one") == 0
    assert profile().swap_seconds(["base", "one"]) == {"base": 0.0, "one": 1.25}


def test_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "profile.json"
    profile().save(path)
    assert PoolProfile.load(path) == profile()


def test_what_was_not_measured() -> None:
    with pytest.raises(ValueError, match=r"no adapter 'two' \(it has base, one\): measure it"):
        profile().seconds("two", "load")
    with pytest.raises(ValueError, match=r"no 'merge' of adapter 'one'.*measure_pool_costs"):
        profile().seconds("one", "merge")
    with pytest.raises(ValueError, match="no 'load' of adapter 'base'"):
        profile().seconds("base", "load")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((1.0, 2.0, 3.0, 1), "low <= median"),
        ((1.0, 0.0, 0.5, 1), "low <= median"),
        ((-1.0, -1.0, -1.0, 1), "0 <= low"),
        ((float("inf"), 0.0, float("inf"), 1), "inf"),
        ((float("nan"), 0.0, 1.0, 1), "low <= median"),
        ((1.0, 1.0, 1.0, 0), "repeats >= 1"),
    ],
)
def test_timings_that_cannot_be(numbers: tuple[float, float, float, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Timing(*numbers)


def test_unknown_operations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown operation 'laod'; known are load"):
        PoolProfile({"one": {"laod": FAST}})


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"adapters": {"one": {"load": 3}}, "pool": "", "provenance": {}}'],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"is damaged .*measure it with scripts/"):
        PoolProfile.load(path)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"measure it with scripts/measure_pool_costs.py"):
        PoolProfile.load(tmp_path / "profile.json")


def test_the_embedded_pools_own() -> None:
    found, spec = PoolProfile.load(), load_pool("default")
    assert found.pool_fingerprint == spec.fingerprint
    assert set(found.timings) == set(spec.names)
    for adapter in spec.adapters:
        expected = {"decode"} if adapter.path is None else set(OPERATIONS)
        assert set(found.timings[adapter.name]) == expected
    assert "scripts/measure_pool_costs.py" in found.provenance["command"]
    assert json.loads(DEFAULT_PROFILE.read_text())["unit"] == "seconds"
