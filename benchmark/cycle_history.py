"""The history of a pool's improvement: signed-off entries in a chain of hashes, in one file.

The file is the only place that says which version is current, namely the last entry's `current`:
one rename adds the entry and changes the version, so that nothing can be half promoted. Every entry
holds the hash of the one before it, so that an edited, removed or reordered entry is found.
(Entries cut off at the end leave a valid, shorter chain: keep the file in version control.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from routing_gym.benchmark.cycle_seal import json_digest
from routing_gym.queries.whole_file import write_whole

HISTORY = "history.json"
FIRST_VERSION = "v0000"
GENESIS = "0" * 64
VERDICTS = ("promoted", "rejected", "rolled back")


@dataclass(frozen=True)
class Entry:
    """One signed-off decision.

    Parameters
    ----------
    number
        Place in the chain, from 1.
    cycle
        Number of the cycle; 0 for a rollback.
    verdict
        One of `VERDICTS`.
    reasons
        Why, one sentence each.
    signed_by
        ``"gate"``, or the person who approved it.
    before, candidate, current
        The version that was current, the one that was judged (or gone back to), and the one that
        is current from now on.
    time
        UTC, ISO 8601.
    region, adapter
        What the cycle worked on; empty for a rollback.
    config_hash
        Hash of the cycle's settings.
    tables, pools
        Fingerprints: ``{"before": ..., "after": ...}``.
    adapters
        Name -> sha256 of the weights ``{"before": ..., "after": ...}``.
    version_sha256
        Hash of the candidate's ``version.json``; empty for the first version.
    figures
        Figure -> number or interval.
    seconds
        Stage -> wall time.
    commit, command
        What was run.
    previous
        Hash of the entry before; of nothing: 64 zeros.
    sha256
        Hash of everything else in the entry.

    Raises
    ------
    ValueError
        If the verdict is unknown.
    """

    number: int
    cycle: int
    verdict: str
    reasons: tuple[str, ...]
    signed_by: str
    before: str
    candidate: str
    current: str
    time: str
    region: str = ""
    adapter: str = ""
    config_hash: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    version_sha256: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    commit: str = ""
    command: str = ""
    previous: str = GENESIS
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict={self.verdict!r}: use one of {', '.join(VERDICTS)}.")

    @property
    def digest(self) -> str:
        """The hash that `sha256` has to be."""
        return json_digest({**asdict(self), "sha256": ""})


def read_history(path: Path) -> list[Entry]:
    """Read and verify a history; empty if there is none.

    Raises
    ------
    ValueError
        If the file is damaged or the chain is broken; the message names the entry.
    """
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text("utf-8"))["entries"]
        entries = [_entry(item) for item in content]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a history ({error}): restore it from a copy.") from error
    previous, current = GENESIS, FIRST_VERSION
    for place, entry in enumerate(entries, 1):
        fault = _fault(entry, place=place, previous=previous, current=current)
        if fault:
            raise ValueError(
                f"{path}: entry {place} {fault}; the history was edited: restore it from a copy."
            )
        previous, current = entry.sha256, entry.current
    return entries


def append_entry(path: Path, entry: Entry) -> Entry:
    """Seal an entry and add it to a history, in one step.

    Parameters
    ----------
    path
        The history; made if it does not exist.
    entry
        Its number, `previous` and `sha256` are set here.

    Returns
    -------
    Entry
        As it was written.

    Raises
    ------
    ValueError
        If the history is broken, the entry starts from another version than the current one, or
        its cycle stands there already.
    """
    entries = read_history(path)
    if entry.before != current_version(entries):
        raise ValueError(
            f"before={entry.before!r}, but {current_version(entries)!r} is current: another "
            "command changed it meanwhile; run the cycle again."
        )
    if entry.cycle and entry_of(entries, entry.cycle):
        raise ValueError(f"cycle {entry.cycle} stands in {path} already: it has one entry.")
    previous = entries[-1].sha256 if entries else GENESIS
    linked = replace(entry, number=len(entries) + 1, previous=previous, sha256="")
    whole = replace(linked, sha256=linked.digest)
    content = {"schema": 1, "entries": [asdict(item) for item in [*entries, whole]]}
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return whole


def current_version(entries: Sequence[Entry]) -> str:
    """Name the version that is current after some entries."""
    return entries[-1].current if entries else FIRST_VERSION


def entry_of(entries: Sequence[Entry], cycle: int) -> Entry | None:
    """Find the entry of a cycle."""
    return next((entry for entry in entries if entry.cycle == cycle), None)


def last_cycle(entries: Sequence[Entry]) -> int:
    """Return the highest cycle of a history; 0 if there is none."""
    return max((entry.cycle for entry in entries), default=0)


def version_before(entries: Sequence[Entry]) -> str:
    """Name the version that the last change replaced: where a rollback goes.

    Raises
    ------
    ValueError
        If the version never changed.
    """
    for entry in reversed(entries):
        if entry.current != entry.before:
            return entry.before
    raise ValueError("no version was promoted so far: there is nothing to go back to.")


def signed_version(entries: Sequence[Entry], name: str) -> str:
    """Return the hash under which a version was judged; empty for the first version."""
    return next((entry.version_sha256 for entry in entries if entry.candidate == name), "")


def weights_of(entries: Sequence[Entry], version: str, first: Mapping[str, str]) -> dict[str, str]:
    """Follow the adapters' hashes through a history, so that no version need be there.

    Parameters
    ----------
    entries
        The history.
    version
        One that it names.
    first
        Name -> sha256 of the adapters of the first version.

    Returns
    -------
    dict
        Name -> sha256 of the version's adapters.
    """
    known = {FIRST_VERSION: dict(first)}
    for entry in [entry for entry in entries if entry.cycle]:
        trained = {name: pair["after"] for name, pair in entry.adapters.items()}
        known[entry.candidate] = known[entry.before] | trained
    return known[version]


def _entry(content: Mapping[str, Any]) -> Entry:
    """Read one entry, refusing fields that are not there or unknown."""
    names = {part.name for part in fields(Entry)}
    if set(content) != names:
        raise ValueError(f"an entry has the fields {sorted(set(content) ^ names)} wrong")
    return Entry(**{**content, "reasons": tuple(content["reasons"])})


def _fault(entry: Entry, *, place: int, previous: str, current: str) -> str:
    """Say what is wrong with an entry in its place of the chain; empty if nothing is."""
    if entry.sha256 != entry.digest:
        return "does not have the content that its hash was taken of"
    if entry.previous != previous:
        return "does not follow the entry before it"
    if entry.number != place:
        return f"has the number {entry.number}"
    return "" if entry.before == current else f"starts from {entry.before}, not from {current}"
