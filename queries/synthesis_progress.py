"""Finished parts of made data on disk, so that a killed run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample

PROGRESS_FILE = "progress.jsonl"


class Progress:
    """The targets that were finished, one line each.

    Parameters
    ----------
    folder
        Where ``progress.jsonl`` lies; None keeps nothing.
    identity
        JSON values of all that determines the samples. Lines of another identity are not used.
    """

    def __init__(self, folder: Path | None, identity: Sequence[Any]) -> None:
        self._key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
        self._path = folder / PROGRESS_FILE if folder else None
        self._done: dict[str, tuple[list[Sample], dict[str, int]]] = {}
        self._read()

    @property
    def dropped(self) -> dict[str, dict[str, int]]:
        """Target's label -> reason -> drafts."""
        return {label: dropped for label, (_, dropped) in self._done.items()}

    def found(self, label: str) -> tuple[list[Sample], dict[str, int]] | None:
        """Return a finished target's samples and what was dropped; None if it is not finished."""
        return self._done.get(label)

    def keep(self, label: str, samples: Sequence[Sample], dropped: Mapping[str, int]) -> None:
        """Keep a finished target."""
        self._done[label] = (list(samples), dict(dropped))
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            line = [self._key, label, list(map(dataclasses.asdict, samples)), dict(dropped)]
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _read(self) -> None:
        """Read the lines of the same identity; a last line that a kill cut off is removed."""
        if self._path is None or not self._path.is_file():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._path.write_bytes(whole)
        for key, label, samples, dropped in map(json.loads, whole.decode().splitlines()):
            if key == self._key:
                made = [Sample(Query(**s["query"]), s["target"], s["provenance"]) for s in samples]
                self._done[label] = (made, dropped)
