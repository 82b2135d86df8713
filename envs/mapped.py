"""A priced split on disk as plain arrays, mapped into memory: for tables that do not fit there.

A folder holds one ``.npy`` file per array and ``mapped.json``. Opening it reads nothing but the
headers; a row is read from disk when an environment meets it. What a writer hands over is checked
while it is written, so that opening needs no scan.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from routing_gym.envs.data import RoutingData

DESCRIPTION = "mapped.json"
VERSION = 1
ARRAYS = ("observations", "rewards", "accuracy", "query_ids", "tasks", "domains", "complexity")
GROUPS = ("scores", "costs")


def save_mapped(
    parts: Iterator[RoutingData] | Sequence[RoutingData], folder: Path | str, *, num_queries: int
) -> None:
    """Write a split part by part; each part is checked as any `RoutingData` is.

    Parameters
    ----------
    parts
        Consecutive queries; the first decides adapters, names, widths and dtypes (a float16
        embedding stays one).
    folder
        Made; refused if it holds a mapped split already.
    num_queries
        N, the sum of the parts' lengths.

    Raises
    ------
    FileExistsError
        If the folder holds a mapped split.
    ValueError
        If the parts differ in adapters or names, a text is longer than those of the first part, or
        their lengths do not sum to N.
    """
    folder = Path(folder)
    if (folder / DESCRIPTION).exists():
        raise FileExistsError(
            f"{folder} holds a mapped split: choose another folder, or remove it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    written, files, first = 0, {}, None
    for part in parts:
        if first is None:
            first = part
            files = {
                name: open_memmap(
                    folder / f"{name}.npy", "w+", values.dtype, (num_queries, *values.shape[1:])
                )
                for name, values in _columns(part).items()
            }
        _check_part(part, first, written, num_queries)
        for name, values in _columns(part).items():
            if values.dtype.kind == "U" and values.dtype.itemsize > files[name].dtype.itemsize:
                raise ValueError(
                    f"a text of {name} in part {written} is longer than those of the first part: "
                    f"give all parts the dtype of the longest."
                )
            files[name][written : written + len(part)] = values
        written += len(part)
    if first is None or written != num_queries:
        raise ValueError(f"the parts hold {written} queries, not num_queries={num_queries}.")
    for values in files.values():
        values.flush()
    description = {
        "version": VERSION,
        "adapters": list(first.adapters),
        "queries": num_queries,
        **{group: list(getattr(first, group)) for group in GROUPS},
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", "utf-8")


def open_mapped(folder: Path | str) -> RoutingData:
    """Map a split into memory without reading it.

    Parameters
    ----------
    folder
        What `save_mapped` wrote.

    Returns
    -------
    RoutingData
        Its arrays are read-only ``np.memmap``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no mapped split, or a file of it is gone.
    ValueError
        If it was written by another version, or a file does not fit the description.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: write the split with routing_gym.envs.mapped.save_mapped."
        )
    description = json.loads(path.read_text("utf-8"))
    if description.get("version") != VERSION:
        raise ValueError(f"{path} has version {description.get('version')}, not {VERSION}.")
    names = [*ARRAYS, *(f"{g}-{name}" for g in GROUPS for name in description[g])]
    arrays = {name: _open(folder / f"{name}.npy", description["queries"]) for name in names}
    fields: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
    for group in GROUPS:
        fields[group] = {name: arrays[f"{group}-{name}"] for name in description[group]}
    return RoutingData(adapters=tuple(description["adapters"]), **fields)


def is_mapped(values: np.ndarray) -> bool:
    """Say whether an array lies on disk: scanning it would read all of it."""
    return isinstance(values, np.memmap)


def _columns(part: RoutingData) -> dict[str, np.ndarray]:
    """Name every array of a part as its file is named."""
    columns = {name: getattr(part, name) for name in ARRAYS}
    for group in GROUPS:
        columns |= {f"{group}-{name}": values for name, values in getattr(part, group).items()}
    return columns


def _check_part(part: RoutingData, first: RoutingData, written: int, total: int) -> None:
    """Refuse a part that does not continue the first."""
    same = part.adapters == first.adapters and _columns(part).keys() == _columns(first).keys()
    if not same or part.observations.shape[1] != first.observations.shape[1]:
        raise ValueError(
            f"the part at query {written} has other adapters, names or embedding widths than the "
            "first: write parts of one table."
        )
    if written + len(part) > total:
        raise ValueError(f"the parts hold more than num_queries={total} queries.")


def _open(path: Path, queries: int) -> np.ndarray:
    """Map one array, or say what is wrong with its file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is gone: write the split anew.")
    values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(values) != queries:
        raise ValueError(f"{path} has {len(values)} rows, not {queries}: write the split anew.")
    return values
