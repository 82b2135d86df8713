"""Reading and writing the folder of an outcome table."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from routing_gym.envs.columns import TableColumns
from routing_gym.envs.errors import TableError
from routing_gym.envs.manifest import MANIFEST, Manifest
from routing_gym.envs.table_checks import EMBEDDINGS, OUTCOMES, QUERIES

FILES = (QUERIES, OUTCOMES, EMBEDDINGS)
SCORE_PREFIX = "score_"  # the measured "seconds" and the metric "seconds" share one file

_RESTORE = "restore the file from where the table came, or collect the table again"
_QUERY_TYPES = {
    "query_id": pa.string(),
    "text": pa.string(),
    "domain": pa.string(),
    "task": pa.string(),
    "complexity": pa.int64(),
    "split": pa.string(),
    "form": pa.string(),
    "form_size": pa.int64(),
    "reference": pa.string(),
}
_OUTCOME_TYPES = {
    "prompt_tokens": pa.int32(),
    "completion_tokens": pa.int32(),
    "seconds": pa.float32(),
    "finished": pa.bool_(),
    "response": pa.string(),
}


def write_table(
    table: TableColumns, folder: Path, *, overwrite: bool, embedding_dtype: str
) -> None:
    """Write every file beside the target, then put them in place with one rename.

    Parameters
    ----------
    table
        What to write.
    folder
        The target.
    overwrite
        Replace a table that is there; a folder that is no table is never replaced.
    embedding_dtype
        ``"float32"`` or ``"float16"``.

    Raises
    ------
    TableError
        If the target exists and may not be replaced.
    ValueError
        If ``embedding_dtype`` is neither.
    """
    if embedding_dtype not in ("float32", "float16"):
        raise ValueError(f"embedding_dtype={embedding_dtype!r} must be 'float32' or 'float16'.")
    folder = folder.resolve()
    _refuse_target(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    draft, old = (folder.with_name(f".{folder.name}.{kind}-{mark}") for kind in ("draft", "old"))
    try:
        _write_files(table, draft, embedding_dtype)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)


def read_table(folder: Path) -> TableColumns:
    """Read the files of a folder, checking hashes, columns, keys and cells.

    Raises
    ------
    TableError
        If a file is missing, edited, truncated or unreadable, or a column or cell is missing or
        occurs twice.
    """
    path = folder / MANIFEST
    if not path.is_file():
        remedy = "pass the folder of a table, or collect one with scripts/collect_outcomes.py"
        raise TableError(str(folder), f"is not an outcome table (it has no {MANIFEST})", remedy)
    try:
        manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise TableError(MANIFEST, f"is not UTF-8 ({error})", _RESTORE) from error
    for name in FILES:
        _check_hash(folder / name, manifest)
    queries = _read_parquet(folder / QUERIES, _QUERY_TYPES)
    score_types = {f"{SCORE_PREFIX}{name}": pa.float32() for name in manifest.metrics}
    keys = {"query_id": pa.string(), "adapter": pa.string()}
    outcomes = _read_parquet(folder / OUTCOMES, keys | _OUTCOME_TYPES | score_types)
    order = cell_order(
        outcomes["query_id"],
        outcomes["adapter"],
        rows=queries["query_id"],
        columns=manifest.adapter_names,
    )
    cells = {name: values[order] for name, values in outcomes.items()}  # each (N, K)
    return TableColumns(
        **queries,
        scores={name: cells[f"{SCORE_PREFIX}{name}"] for name in manifest.metrics},
        **{name: cells[name] for name in _OUTCOME_TYPES if name != "response"},
        responses=cells["response"],
        embeddings=_read_embeddings(folder / EMBEDDINGS),
        manifest=manifest,
    )


def cell_order(
    query_ids: Iterable[str],
    arms: Iterable[str],
    *,
    rows: Iterable[str],
    columns: Iterable[str],
    place: str = OUTCOMES,
) -> np.ndarray:
    """Find where each cell of the (N, K) table lies in the long form.

    Parameters
    ----------
    query_ids, arms
        The keys of the long form, in its order.
    rows, columns
        The N query ids and the K adapter names, in the order of the table.
    place
        What the long form is called in messages.

    Returns
    -------
    np.ndarray
        int64 (N, K), line numbers of the long form.

    Raises
    ------
    TableError
        If a key is unknown, doubled or missing.
    """
    row_of = _numbered_ids(rows)
    arm_of = {name: arm for arm, name in enumerate(columns)}
    order = np.full((len(row_of), len(arm_of)), -1, dtype=np.int64)
    for line, (query_id, name) in enumerate(zip(query_ids, arms, strict=True)):
        row, arm = row_of.get(query_id, -1), arm_of.get(name, -1)
        where = f"{place}, row {line}"
        if row < 0:
            fault = f"the query {query_id!r} is not in {QUERIES}"
            raise TableError(where, fault, "remove the row or add the query")
        if arm < 0:
            fault = f"the adapter {name!r} is not in the manifest"
            raise TableError(where, fault, f"remove the row, or use one of {tuple(arm_of)}")
        if order[row, arm] >= 0:
            fault = f"repeats query {query_id!r} with adapter {name!r} of row {order[row, arm]}"
            raise TableError(where, fault, "keep one row per query and adapter")
        order[row, arm] = line
    missing = np.argwhere(order < 0)
    if len(missing):
        query_id, name = list(row_of)[missing[0][0]], list(arm_of)[missing[0][1]]
        where = f"{place}, query {query_id!r} with adapter {name!r}"
        fault = f"the cell is missing ({len(missing)} in all)"
        raise TableError(where, fault, "add its row; scripts/collect_outcomes.py collects gaps")
    return order


def _numbered_ids(rows: Iterable[str]) -> dict[str, int]:
    """Map query ids to row numbers, refusing an id that occurs twice."""
    row_of: dict[str, int] = {}
    for row, query_id in enumerate(rows):
        if row_of.setdefault(query_id, row) != row:
            fault = f"query_id {query_id!r} is that of row {row_of[query_id]} too"
            raise TableError(f"{QUERIES}, row {row}", fault, "give every query its own id")
    return row_of


def _refuse_target(folder: Path, overwrite: bool) -> None:
    """Only a table may be replaced, and only when asked."""
    if not folder.exists():
        return
    if not folder.is_dir() or any(path.name not in (*FILES, MANIFEST) for path in folder.iterdir()):
        fault = "exists and holds something else than an outcome table"
        raise TableError(str(folder), fault, "choose another folder")
    if not overwrite and any(folder.iterdir()):
        raise TableError(str(folder), "exists", "choose another folder or pass overwrite=True")


def _write_files(table: TableColumns, draft: Path, embedding_dtype: str) -> None:
    """Write the four files into a new folder, the manifest with the others' hashes last."""
    draft.mkdir()
    queries = {n: pa.array(getattr(table, n), kind) for n, kind in _QUERY_TYPES.items()}
    n, k = len(table.query_id), len(table.manifest.adapters)
    outcomes: dict[str, Any] = {
        "query_id": np.repeat(table.query_id, k),
        "adapter": np.array(list(table.manifest.adapter_names) * n, dtype=object),
    }
    outcomes |= {f"{SCORE_PREFIX}{m}": table.scores[m].ravel() for m in table.manifest.metrics}
    for name, kind in _OUTCOME_TYPES.items():
        values = table.responses if name == "response" else getattr(table, name)
        outcomes[name] = pa.array(values.ravel(), kind)
    for name, columns in ((QUERIES, queries), (OUTCOMES, outcomes)):
        pq.write_table(pa.table(columns), draft / name, compression="zstd", compression_level=9)
    embeddings = np.ascontiguousarray(table.embeddings.astype(embedding_dtype))
    metadata = {"encoder": table.manifest.encoder}
    save_file({"embeddings": embeddings}, draft / EMBEDDINGS, metadata=metadata)
    files = {name: _sha256(draft / name) for name in FILES}
    manifest = dataclasses.replace(table.manifest, files=files)
    (draft / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _sha256(path: Path) -> str:
    """Hash a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_hash(path: Path, manifest: Manifest) -> None:
    """Refuse a file that is missing or is not the one that the manifest describes."""
    if not path.is_file():
        raise TableError(path.name, f"is missing from {path.parent}", _RESTORE)
    if path.name not in manifest.files:
        remedy = f"add the sha256 of {path.name} to the manifest's files"
        raise TableError(MANIFEST, f"states no sha256 for {path.name}", remedy)
    found, stated = _sha256(path), manifest.files[path.name]
    if found != stated:
        fault = (
            f"is truncated or edited: its sha256 is {found:.12}, the manifest states {stated:.12}"
        )
        raise TableError(path.name, fault, _RESTORE)


def _read_parquet(path: Path, types: dict[str, pa.DataType]) -> dict[str, np.ndarray]:
    """Read named columns as numpy arrays (str as objects), refusing gaps and wrong types."""
    try:
        content = pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        fault = f"is not a readable parquet file ({str(error).rstrip('.')})"
        raise TableError(path.name, fault, _RESTORE) from error
    columns = {}
    for name, kind in types.items():
        if name not in content.column_names:
            known = ", ".join(content.column_names)
            fault, remedy = f"lacks the column {name!r}", f"add it; the file has {known}"
            raise TableError(path.name, fault, remedy)
        column = content[name]
        if column.null_count and not pa.types.is_floating(kind):
            row = column.is_null().to_pylist().index(True)
            raise TableError(f"{path.name}, row {row}", f"{name} is empty (null)", "fill it")
        try:
            column = column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            fault = f"column {name!r} cannot be read as {kind} ({str(error).rstrip('.')})"
            raise TableError(path.name, fault, f"write it as {kind}") from error
        columns[name] = (
            np.array(column.to_pylist(), dtype=object)
            if pa.types.is_string(kind)
            else column.to_numpy()
        )
    return columns


def _read_embeddings(path: Path) -> np.ndarray:
    """Read the embeddings as float32 (N, D)."""
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        fault = f"is not a readable safetensors file ({error})"
        raise TableError(path.name, fault, _RESTORE) from error
    if "embeddings" not in tensors:
        fault = f"holds {sorted(tensors)}, not 'embeddings'"
        raise TableError(path.name, fault, "name the tensor 'embeddings'")
    return tensors["embeddings"].astype(np.float32)
