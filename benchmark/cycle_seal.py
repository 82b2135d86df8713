"""Sealed stages: a folder of results that is there whole or not at all, and found again by its key.

A stage's key is a hash of everything that its result depends on; the content of the stages before
it is part of that. A finished stage is renamed into place in one step, so that a process killed at
any moment leaves either a sealed stage or a draft, which the next run drops.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEAL = "seal.json"
WORK = "work"


class UnsealedError(ValueError):
    """A stage is not sealed, where it may not be made."""


@dataclass(frozen=True)
class Sealed:
    """A finished stage.

    Parameters
    ----------
    folder
        Its results.
    digest
        Hash of its key and of its files: what a later stage depends on.
    seconds
        Wall time of its making; that of the last run only where earlier ones were killed.
    fresh
        Whether this run made it.
    """

    folder: Path
    digest: str
    seconds: float
    fresh: bool = False


def seal_stage(
    root: Path,
    name: str,
    inputs: Mapping[str, Any],
    make: Callable[[Path, Path], None] | None,
) -> Sealed:
    """Make a stage, unless it is sealed already for the same inputs.

    Parameters
    ----------
    root
        Folder of all stages; takes ``<name>-<key>``.
    name
        Of the stage.
    inputs
        What the result depends on; JSON values.
    make
        ``(draft, work)``: writes the results into an empty folder; `work` is a folder that outlives
        a kill (checkpoints, lines appended so far) and is removed with the seal. None: the stage
        may only be found, not made.

    Returns
    -------
    Sealed
        The stage in its place.

    Raises
    ------
    UnsealedError
        If it would have to be made and may not be.
    ValueError
        If a sealed file was changed afterwards.
    """
    key = json_digest([name, inputs])
    place = root / f"{name}-{key[:12]}"
    work = root / WORK / place.name
    found = read_seal(place)
    if found is None and make is None:
        raise UnsealedError(f"{place} is not there, or was made of something else")
    if found is None and make is not None:
        draft = place.with_name(f".{place.name}.draft")
        for leftover in (draft, place):
            shutil.rmtree(leftover, ignore_errors=True)
        draft.mkdir(parents=True)
        work.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        make(draft, work)
        seconds = time.perf_counter() - start
        content = {"stage": name, "key": key, "inputs": inputs, "seconds": round(seconds, 3)}
        text = json.dumps({**content, "files": file_hashes(draft)}, indent=1, sort_keys=True)
        (draft / SEAL).write_text(text + "\n", "utf-8")
        draft.rename(place)
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):  # another stage's work is in it
        work.parent.rmdir()
    seal = found or read_seal(place)
    assert seal is not None
    digest = json_digest([seal["key"], seal["files"]])
    return Sealed(place, digest, float(seal["seconds"]), fresh=found is None)


def read_seal(place: Path) -> dict[str, Any] | None:
    """Read and verify a stage's seal; None if there is none.

    Raises
    ------
    ValueError
        If a sealed file is missing or was changed.
    """
    if not (place / SEAL).is_file():
        return None
    seal: dict[str, Any] = json.loads((place / SEAL).read_text("utf-8"))
    check_files(place, seal["files"], remedy="delete the folder, it is then made again")
    return seal


def check_files(
    folder: Path, stated: Mapping[str, str], *, remedy: str, leave_out: str = SEAL
) -> None:
    """Compare a folder's files, but for one that states the hashes, with their stated hashes.

    Raises
    ------
    ValueError
        If one is missing, changed or too many; the message names it and the remedy.
    """
    found = file_hashes(folder, leave_out=leave_out)
    for name in sorted(set(found) | set(stated)):
        if found.get(name) != stated.get(name):
            fault = "is missing" if name not in found else "is not what was sealed"
            raise ValueError(f"{folder / name} {fault}: {remedy}.")


def file_hashes(folder: Path, *, leave_out: str = SEAL) -> dict[str, str]:
    """Hash every file below a folder: relative path -> sha256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / leave_out
    }


def json_digest(content: Any) -> str:
    """Hash a JSON value: the same whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
