"""Versions of a pool: its file, the adapters that changed, its outcome table and its router.

Version v0000 is the pool and table that the project ships and is never written to. Every other one
is a folder of the store, made once and renamed into place; which of them is current, the history
alone decides.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.benchmark.cycle_history import FIRST_VERSION
from routing_gym.benchmark.cycle_seal import check_files, file_hashes, json_digest
from routing_gym.envs.table import OutcomeTable

POOL, RECORD = "pool.yaml", "version.json"


@dataclass(frozen=True)
class Version:
    """A pool with its table.

    Parameters
    ----------
    name
        ``v0000`` and so on.
    pool
        Its adapters.
    pool_file
        Name or path that other commands take as ``--pool``.
    table_folder
        Of its outcome table.
    router
        Folder of its trained policy; None for v0000.
    sha256
        Hash of its record; empty for v0000.
    """

    name: str
    pool: PoolSpec
    pool_file: str
    table_folder: Path
    router: Path | None = None
    sha256: str = ""

    def table(self) -> OutcomeTable:
        """Load its table, refusing one of another pool."""
        table = OutcomeTable.load(self.table_folder)
        table.check_pool(self.pool.names, self.pool.fingerprint)
        return table


@dataclass(frozen=True)
class VersionStore:
    """Where versions lie.

    Parameters
    ----------
    folders
        Looked through in turn, the first is written to: the store's and the report's.
    pool, table
        Name or file of the pool, and folder of the table, that are v0000.
    """

    folders: tuple[Path, ...]
    pool: str
    table: Path

    def open(self, name: str, *, signed: str = "") -> Version:
        """Open a version and verify all of its files.

        Parameters
        ----------
        name
            ``v0000`` and so on.
        signed
            Hash of the record that the history signed; one of another history may lie in a folder
            under the same name. Empty takes any.

        Raises
        ------
        FileNotFoundError
            If it is in none of the folders.
        ValueError
            If it is not the signed one, not complete, or a file is not the recorded one.
        """
        if name == FIRST_VERSION:
            return Version(name, load_pool(self.pool), self.pool, self.table)
        found = [f / name for f in self.folders if (f / name / RECORD).is_file()]
        if not found:
            raise FileNotFoundError(
                f"version {name} lies in none of {', '.join(map(str, self.folders))}: restore its "
                "folder, go back to a version that is here with --rollback true (--rollback_to "
                f"{FIRST_VERSION}), or begin a history of your own with another --output and "
                "--store."
            )
        for folder in found:
            if not signed or json_digest(_read_record(folder)) == signed:
                return read_version(folder)
        raise ValueError(
            f"{found[0]} is not the one that the history signed ({signed[:12]}): restore that, or "
            f"go back with --rollback true (--rollback_to {FIRST_VERSION})."
        )

    def place(self, name: str) -> Path:
        """Return the folder in which a new version is put."""
        return self.folders[0] / name


def read_version(folder: Path) -> Version:
    """Read and verify a version's folder.

    Raises
    ------
    ValueError
        If a file, or an adapter outside the folder, is not the recorded one.
    """
    record = _read_record(folder)
    check_files(folder, record["files"], remedy="restore the version", leave_out=RECORD)
    pool = PoolSpec.from_yaml(folder / POOL)
    if pool.fingerprint != record["pool_fingerprint"]:
        raise ValueError(
            f"{folder / POOL}: the weights of an adapter are not those of this version; it was "
            f"made of {record['adapters']}: restore them."
        )
    router = folder / "router"
    return Version(
        name=record["version"],
        pool=pool,
        pool_file=str(folder / POOL),
        table_folder=folder / "table",
        router=router if router.is_dir() else None,
        sha256=json_digest(record),
    )


def build_version(
    place: Path,
    *,
    pool: PoolSpec,
    parts: Mapping[str, Path],
    note: Mapping[str, Any],
) -> Version:
    """Put a version in its place, whole or not at all.

    Parameters
    ----------
    place
        Its folder; one of the same content is kept, one of another (of a cycle that was begun and
        never judged) is replaced.
    pool
        The pool; adapters named in `parts` are copied into the folder, the others stay where they
        are and are referred to.
    parts
        Name in the version's folder (``table``, ``router``, ``adapters/<name>``) -> folder that is
        copied there.
    note
        Goes into the record; JSON values.
    """
    draft = place.with_name(f".{place.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, folder in parts.items():
        shutil.copytree(folder, draft / name)
    _write_pool(draft, pool, own={name for name in parts if name.startswith("adapters/")})
    record = {
        "version": place.name,
        "pool_fingerprint": pool.fingerprint,
        "adapters": {a.name: a.sha256 for a in pool.adapters},
        **note,
        "files": file_hashes(draft, leave_out=RECORD),
    }
    (draft / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
    if place.is_dir():
        if (place / RECORD).read_bytes() == (draft / RECORD).read_bytes():
            shutil.rmtree(draft)
            return read_version(place)
        shutil.rmtree(place)
    draft.rename(place)
    return read_version(place)


def with_adapter(pool: PoolSpec, name: str, folder: Path) -> PoolSpec:
    """Replace one adapter of a pool by another version of it."""
    adapters = list(pool.adapters)
    adapters[pool.position(name)] = AdapterSpec(name, folder)
    return PoolSpec(pool.base_model, tuple(adapters))


def _read_record(folder: Path) -> dict[str, Any]:
    """Read what a version's folder says of itself."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / RECORD} is damaged: restore the version.") from error
    return record


def _write_pool(folder: Path, pool: PoolSpec, *, own: set[str]) -> None:
    """Write a pool file whose paths are relative to it."""
    places: dict[str, str | None] = {}
    for adapter in pool.adapters:
        inside = f"adapters/{adapter.name}"
        if inside in own:
            places[adapter.name] = inside
        elif adapter.path is not None:
            places[adapter.name] = os.path.relpath(adapter.path, folder.resolve())
        else:
            places[adapter.name] = None
    content = {"base_model": pool.base_model, "adapters": places}
    (folder / POOL).write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
