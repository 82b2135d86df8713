"""The history: a chain in which every change is found, and one current version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routing_gym.benchmark.cycle_history import (
    Entry,
    append_entry,
    current_version,
    read_history,
    signed_version,
    version_before,
    weights_of,
)


def entry(cycle: int, before: str, after: str, **changes: Any) -> Entry:
    verdict = "promoted" if before != after else "rejected"
    values: dict[str, Any] = {
        "number": 0,
        "cycle": cycle,
        "verdict": verdict,
        "reasons": ("Better.",),
        "signed_by": "gate",
        "before": before,
        "candidate": f"v{cycle:04d}",
        "current": after,
        "time": "2030-01-01T00:00:00+00:00",
        "figures": {"overall_gain": {"value": 0.1, "low": 0.05, "high": 0.15}},
    }
    return Entry(**{**values, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "history.json"
    append_entry(place, entry(1, "v0000", "v0001"))
    append_entry(place, entry(2, "v0001", "v0001"))
    append_entry(place, entry(3, "v0001", "v0003"))
    return place


def test_entries_are_chained(path: Path) -> None:
    entries = read_history(path)
    assert [e.number for e in entries] == [1, 2, 3]
    assert entries[0].previous == "0" * 64
    assert [e.previous for e in entries[1:]] == [e.sha256 for e in entries[:-1]]
    assert current_version(entries) == "v0003"
    assert version_before(entries) == "v0001"
    assert version_before(entries[:2]) == "v0000"
    assert not list(path.parent.glob(".*"))


def test_nothing_is_v0000(tmp_path: Path) -> None:
    assert current_version(read_history(tmp_path / "none.json")) == "v0000"
    with pytest.raises(ValueError, match="there is nothing to go back to"):
        version_before([])


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    content = json.loads(path.read_text())
    content["entries"] = change(content["entries"]) or content["entries"]
    path.write_text(json.dumps(content))


def restated(entries: list[dict[str, Any]]) -> None:
    """Change an entry and give it the hash that it should have."""
    from dataclasses import replace

    made = replace(Entry(**{**entries[0], "reasons": ("Other.",)}), sha256="")
    entries[0] = json.loads(json.dumps({**made.__dict__, "sha256": made.digest}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[1].update(verdict="promoted"), "entry 2 does not have the content"),
        (lambda e: e[0].update(current="v0009"), "entry 1 does not have the content"),
        (lambda e: e[2]["figures"]["overall_gain"].update(low=0.2), "entry 3 does not have"),
        (lambda e: e[:1] + e[2:], "entry 2 does not follow"),
        (lambda e: [e[1], e[0], e[2]], "entry 1 does not follow"),
        (lambda e: e[1:], "entry 1 does not follow"),
        (lambda e: [*e, e[2]], "entry 4 does not follow"),
        (restated, "entry 2 does not follow"),
        (lambda e: e[0].pop("signed_by"), "is not a history"),
        (lambda e: e[0].update(extra=1), "is not a history"),
    ],
)
def test_tampering_is_found(path: Path, change: Any, message: str) -> None:
    def applied(entries: list[dict[str, Any]]) -> Any:
        found = change(entries)
        return found if isinstance(found, list) else None

    rewrite(path, applied)
    with pytest.raises(ValueError, match=message):
        read_history(path)
    with pytest.raises(ValueError, match=message):
        append_entry(path, entry(4, "v0003", "v0004"))


def test_a_damaged_file_is_named(path: Path) -> None:
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=r"history\.json is not a history .* restore it"):
        read_history(path)


def test_an_entry_starts_from_the_current_version(path: Path) -> None:
    with pytest.raises(ValueError, match="before='v0001', but 'v0003' is current"):
        append_entry(path, entry(4, "v0001", "v0004"))
    with pytest.raises(ValueError, match=r"cycle 3 stands in .* already"):
        append_entry(path, entry(3, "v0003", "v0003"))
    with pytest.raises(ValueError, match="verdict='maybe': use one of promoted"):
        entry(4, "v0003", "v0004", verdict="maybe")


def test_weights_are_followed_through_a_history(tmp_path: Path) -> None:
    path, first = tmp_path / "history.json", {"base": "", "code": "c0", "creative": "r0"}
    changed = {"code": {"before": "c0", "after": "c1"}}
    append_entry(path, entry(1, "v0000", "v0001", adapters=changed, version_sha256="one"))
    changed = {"creative": {"before": "r0", "after": "r2"}}
    append_entry(path, entry(2, "v0001", "v0001", adapters=changed))  # rejected
    changed = {"creative": {"before": "r0", "after": "r3"}}
    append_entry(path, entry(3, "v0001", "v0003", adapters=changed))
    back = {"code": {"before": "c1", "after": "c0"}}
    back |= {"creative": {"before": "r3", "after": "r0"}}
    away = entry(0, "v0003", "v0000", verdict="rolled back", candidate="v0000", adapters=back)
    append_entry(path, away)
    entries = read_history(path)
    assert weights_of(entries, "v0000", first) == first
    assert weights_of(entries, "v0001", first) == {"base": "", "code": "c1", "creative": "r0"}
    assert weights_of(entries, "v0003", first) == {"base": "", "code": "c1", "creative": "r3"}
    assert (signed_version(entries, "v0001"), signed_version(entries, "v0000")) == ("one", "")
