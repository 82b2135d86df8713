"""What must hold in an outcome table; each fault is one sentence with its place and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from routing_gym.envs.columns import OUTCOME_DTYPES, QUERY_DTYPES, TableColumns
from routing_gym.envs.errors import TableError
from routing_gym.envs.manifest import MANIFEST, Manifest
from routing_gym.queries.splits import SPLITS, normalise

QUERIES = "queries.parquet"
OUTCOMES = "outcomes.parquet"
EMBEDDINGS = "embeddings.safetensors"
RECOLLECT = "collect that cell again with scripts/collect_outcomes.py"


def check_table(table: TableColumns) -> None:
    """Verify shapes, keys, texts, splits, ranges and finiteness.

    Raises
    ------
    TableError
        At the first fault.
    """
    _check_shapes(table)
    _check_queries(table)
    _check_overlap(table)
    _check_scores(table)
    _check_measurements(table)
    _check_embeddings(table)


def check_pool(manifest: Manifest, names: Sequence[str], fingerprint: str) -> None:
    """Refuse a pool whose adapters, order or weights are not those of the table.

    Raises
    ------
    TableError
        If the names, their order or the fingerprint differ.
    """
    if tuple(names) != manifest.adapter_names:
        raise TableError(
            MANIFEST,
            f"the table's adapters are {manifest.adapter_names} but the pool's are {tuple(names)}",
            "use the pool that made the table, or collect a new table with this pool",
        )
    if fingerprint != manifest.pool_fingerprint:
        raise TableError(
            MANIFEST,
            f"the table's pool has fingerprint {manifest.pool_fingerprint or 'none'!s:.12} but "
            f"this pool has {fingerprint or 'none'!s:.12}: the weights differ",
            "use the pool that made the table, or collect a new table with this pool",
        )


def _check_shapes(table: TableColumns) -> None:
    """Every column has N rows and every outcome N x K cells."""
    n, k = len(table.query_id), len(table.manifest.adapters)
    if n == 0:
        raise TableError(QUERIES, "has no rows", "collect at least one query")
    for name in QUERY_DTYPES:
        if getattr(table, name).shape != (n,):
            shape = getattr(table, name).shape
            raise TableError(QUERIES, f"{name} has shape {shape}, not ({n},)", "give N rows")
    cells = {name: getattr(table, name) for name in OUTCOME_DTYPES}
    cells |= {f"score {name!r}": values for name, values in table.scores.items()}
    for name, values in cells.items():
        if values.shape != (n, k):
            fault = f"{name} has shape {values.shape}, not (N, K) = ({n}, {k})"
            raise TableError(OUTCOMES, fault, "give one cell per query and adapter")
    if set(table.scores) != set(table.manifest.metrics):
        odd = sorted(set(table.scores) ^ set(table.manifest.metrics))
        fault = f"the score {odd[0]!r} is only in one of outcomes and {MANIFEST}"
        raise TableError(OUTCOMES, fault, "describe every score column in the manifest's metrics")


def _check_queries(table: TableColumns) -> None:
    """Ids are unique, texts are not empty, and splits and levels are known ones."""
    for name in QUERY_DTYPES:
        values = getattr(table, name)
        if values.dtype != object:
            continue
        if bad := [row for row, value in enumerate(values) if not isinstance(value, str)]:
            fault = f"{name} is {values[bad[0]]!r}, not a str"
            raise TableError(_row(table, bad[0]), fault, "write a text, '' where there is none")
    _, first, counts = np.unique(table.query_id, return_index=True, return_counts=True)
    if (counts > 1).any():
        row = int(first[counts > 1][0])
        raise TableError(
            _row(table, row), f"query_id occurs {counts.max()} times", "give every query its own id"
        )
    for row, (query_id, text) in enumerate(zip(table.query_id, table.text, strict=True)):
        if not query_id or not text.strip():
            fault = "query_id is empty" if not query_id else "text is an empty query"
            raise TableError(_row(table, row), fault, "remove the query or give it a text")
    for row in np.flatnonzero(~np.isin(table.split, np.array(SPLITS, dtype=object)))[:1]:
        fault = f"split is {table.split[row]!r}"
        raise TableError(_row(table, row), fault, f"use one of {SPLITS}")
    for row in np.flatnonzero((table.complexity < 0) | (table.complexity > 3))[:1]:
        fault = f"complexity is {table.complexity[row]}"
        raise TableError(_row(table, row), fault, "use 1, 2, 3, or 0 where it is not known")


def _check_overlap(table: TableColumns) -> None:
    """No normalised text is in two splits."""
    texts: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for row, (text, split) in enumerate(zip(table.text, table.split, strict=True)):
        texts[split].setdefault(normalise(text), row)
    for left, right in combinations(SPLITS, 2):
        for text in texts[left].keys() & texts[right].keys():
            one, other = texts[left][text], texts[right][text]
            raise TableError(
                _row(table, other),
                f"its text is in split {right!r} and, normalised alike, in split {left!r} "
                f"as query {table.query_id[one]!r}",
                "move both to one split, so that no test text is trained on",
            )


def _check_scores(table: TableColumns) -> None:
    """Every score is finite and within its metric's range."""
    for name, record in table.manifest.metrics.items():
        values = table.scores[name]
        inside = (values >= np.float32(record.low)) & (values <= np.float32(record.high))
        for row, arm in np.argwhere(~inside)[:1]:
            value = values[row, arm]
            fault = f"score {name!r} is {value}, outside [{record.low:g}, {record.high:g}]"
            if not np.isfinite(value):
                fault = f"score {name!r} is {value}, not a number"
            raise TableError(_cell(table, row, arm), fault, RECOLLECT)


def _check_measurements(table: TableColumns) -> None:
    """Tokens and seconds are finite and not negative; every response is a str."""
    for name in ("prompt_tokens", "completion_tokens", "seconds"):
        values = getattr(table, name)
        for row, arm in np.argwhere(~(np.isfinite(values) & (values >= 0)))[:1]:
            fault = f"{name} is {values[row, arm]}, not a number of at least 0"
            raise TableError(_cell(table, row, arm), fault, RECOLLECT)
    responses = table.responses.ravel()
    for index in [i for i, value in enumerate(responses) if not isinstance(value, str)][:1]:
        row, arm = divmod(index, len(table.manifest.adapters))
        fault = f"response is {responses[index]!r}, not a str"
        raise TableError(_cell(table, row, arm), fault, RECOLLECT)


def _check_embeddings(table: TableColumns) -> None:
    """Embeddings are finite and one per query."""
    shape, n = table.embeddings.shape, len(table.query_id)
    remedy = "embed the texts again, in the order of queries.parquet"
    if len(shape) != 2 or shape[0] != n or shape[1] == 0:
        raise TableError(EMBEDDINGS, f"embeddings have shape {shape}, not ({n}, D)", remedy)
    for row in np.flatnonzero(~np.isfinite(table.embeddings).all(axis=1))[:1]:
        fault = f"row {row} (query {table.query_id[row]!r}) is not finite"
        raise TableError(EMBEDDINGS, fault, remedy)


def _row(table: TableColumns, row: int) -> str:
    """Name a row of the queries."""
    return f"{QUERIES}, row {row} (query {table.query_id[row]!r})"


def _cell(table: TableColumns, row: int, arm: int) -> str:
    """Name a cell of the outcomes."""
    adapter = table.manifest.adapter_names[arm]
    return f"{OUTCOMES}, query {table.query_id[row]!r} with adapter {adapter!r}"
