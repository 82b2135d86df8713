"""Decision logs as files: every fault of a file names the line and the remedy.

The format is described in `routing_gym.benchmark.off_policy_log`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_sql import LogPart, read_sql_log
from routing_gym.benchmark.off_policy_tables import FORMS, is_database

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".parquet")
REQUIRED = ("decision_id", "time", "adapters", "pool_fingerprint", "policy_version")
FEEDBACK = {"decision_id", "reward", "time"}


def read_log(path: Path | str, part: LogPart | None = None) -> DecisionLog:
    """Read and verify a log.

    Parameters
    ----------
    path
        A ``.jsonl`` or ``.parquet`` file, or a database: a ``.db`` or ``.sqlite`` file,
        ``sqlite:///...`` or ``postgresql://...``.
    part
        Which decisions and rewards of a database are read; None reads all.

    Returns
    -------
    DecisionLog
        In the order of the file, with later feedback filled in.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is malformed, a field is missing or wrong, pools are mixed, feedback belongs to no
        decision, or `part` is given for a file that is no database.
    """
    if is_database(str(path)):
        return read_sql_log(str(path), part)
    if part is not None and not part.whole:
        raise ValueError(
            f"log {str(path)!r} is read whole: only a database has parts; leave out{part.text}."
        )
    path = Path(path)
    _check_suffix(path, f", or be a database: {FORMS}")
    if not path.is_file():
        raise FileNotFoundError(f"log {str(path)!r} does not exist: check the path.")
    lines = _json_lines(path) if path.suffix == ".jsonl" else _parquet_rows(path)
    rows: list[Row] = []
    places: list[str] = []
    feedback: dict[str, tuple[str, Row]] = {}
    for place, row in lines:
        if "decision_id" in row and set(row) <= FEEDBACK:
            feedback[str(row["decision_id"])] = (place, row)
        else:
            _check_row(row, place, rows[0] if rows else row)
            rows.append(row)
            places.append(place)
    if not rows:
        raise ValueError(f"{path.name} holds no decision: log some, or check the path.")
    _fill_in(rows, feedback)
    try:
        return _to_log(rows, places)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def write_log(log: DecisionLog, path: Path | str) -> None:
    """Write a log as ``.jsonl`` or ``.parquet``, whole or not at all.

    Raises
    ------
    ValueError
        If the path ends otherwise.
    """
    path = Path(path)
    _check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(path.suffix + ".part")
    if path.suffix == ".jsonl":
        lines = (decision.to_json() + "\n" for decision in log.decisions())
        unfinished.write_text("".join(lines), "utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [json.loads(decision.to_json()) for decision in log.decisions()]
        names = list(dict.fromkeys(name for row in rows for name in row))
        pq.write_table(
            pa.table({name: [row.get(name) for row in rows] for name in names}), unfinished
        )
    os.replace(unfinished, path)


def _check_suffix(path: Path, others: str = "") -> None:
    """Refuse a file that is neither JSON Lines nor Parquet; `others` says what else there is."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"log {str(path)!r} must end in {' or '.join(SUFFIXES)}{others}.")


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield place and content of each line that is not empty."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path.name}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{place}: is not JSON ({error}); the line may have been cut off: remove it."
                ) from error
            if not isinstance(row, dict):
                raise ValueError(f"{place}: is not a JSON object: one decision per line.")
            yield place, {name: value for name, value in row.items() if value is not None}


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield place and content of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path.name} is no Parquet file ({error}): write it again.") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        kept = {name: value for name, value in row.items() if value is not None}
        yield f"{path.name}, row {number}", kept


def _check_row(row: Row, place: str, first: Row) -> None:
    """Refuse a row that lacks a field, has a wrong type, or is of another pool than the first."""
    for name in REQUIRED:
        if name not in row:
            raise ValueError(f"{place}: lacks {name!r}: every decision needs it.")
        wanted = list if name == "adapters" else str
        if not isinstance(row[name], wanted):
            raise ValueError(f"{place}: {name}={row[name]!r} is no {wanted.__name__}.")
    if (row["adapters"], row["pool_fingerprint"]) != (first["adapters"], first["pool_fingerprint"]):
        raise ValueError(
            f"{place}: pool {row['pool_fingerprint']!r} with adapters {row['adapters']} differs "
            f"from {first['pool_fingerprint']!r} with {first['adapters']} before it: split the log "
            "by pool."
        )
    _check_time(row["time"], place)
    row["action"] = _action(row, place)
    row["fallback"] = row.get("fallback", False)
    if not isinstance(row["fallback"], bool):
        raise ValueError(f"{place}: fallback={row['fallback']!r} must be true or false.")
    if "propensity" not in row and not row["fallback"]:
        raise ValueError(
            f"{place}: lacks 'propensity', the probability with which the adapter was drawn: "
            "without it no other policy can be evaluated; log it (1 for a policy that never draws)."
        )
    for name in ("propensity", "reward"):
        row[name] = _number(row, name, place)
    for name in ("propensities", "eligible", "embedding"):
        if (name in row) != (name in first):
            raise ValueError(f"{place}: {name!r} is given in some decisions only: in all or none.")
        if name in row:
            width = len(first[name]) if name == "embedding" else len(row["adapters"])
            _check_numbers(row[name], name, width, place)


def _check_time(text: str, place: str) -> None:
    """Refuse a time that is not ISO 8601 with an offset."""
    try:
        known = datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            f"{place}: time={text!r} is not ISO 8601 with an offset, like "
            "'2025-01-31T12:00:00+00:00'."
        )


def _action(row: Row, place: str) -> int:
    """Read position and name of the adapter, of which one suffices and both must agree."""
    names, action, adapter = row["adapters"], row.get("action"), row.get("adapter")
    if adapter is not None and adapter not in names:
        raise ValueError(f"{place}: adapter={adapter!r} is unknown: the pool's are {names}.")
    if action is None and adapter is None:
        raise ValueError(f"{place}: lacks 'action' (or 'adapter'): say which adapter answered.")
    if action is None:
        return int(names.index(adapter))
    if isinstance(action, bool) or not isinstance(action, int) or not 0 <= action < len(names):
        raise ValueError(f"{place}: action={action!r} is no position 0 to {len(names) - 1}.")
    if adapter is not None and names[action] != adapter:
        raise ValueError(
            f"{place}: action={action} is {names[action]!r}, but adapter={adapter!r}: log both "
            "alike."
        )
    return action


def _number(row: Row, name: str, place: str) -> float:
    """Read an optional number; nan if it is absent."""
    value = row.get(name)
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError(f"{place}: {name}={value!r} is no number: leave it out or repair it.")
    return float(value)


def _check_numbers(values: Any, name: str, width: int, place: str) -> None:
    """Refuse what is no list of so many numbers."""
    if not isinstance(values, list) or len(values) != width or width == 0:
        size = len(values) if isinstance(values, list) else values
        raise ValueError(f"{place}: {name} has {size} entries, not {width}.")
    if not all(isinstance(value, (int, float)) for value in values):
        raise ValueError(f"{place}: {name} holds something that is no number.")


def _fill_in(rows: list[Row], feedback: Mapping[str, tuple[str, Row]]) -> None:
    """Give decisions the rewards that arrived later."""
    known = {row["decision_id"]: row for row in rows}
    for name, (place, line) in feedback.items():
        if name not in known:
            raise ValueError(f"{place}: feedback for decision {name!r}, which is not in the log.")
        known[name]["reward"] = _number(line, "reward", place)


def _to_log(rows: list[Row], places: list[str]) -> DecisionLog:
    """Turn checked rows into arrays."""

    def column(name: str, dtype: Any) -> np.ndarray:
        return np.array([row[name] for row in rows], dtype=dtype)

    def optional(name: str, dtype: Any) -> np.ndarray | None:
        return column(name, dtype) if name in rows[0] else None

    def texts(name: str) -> np.ndarray | None:
        values = [row.get(name, "") for row in rows]
        wrong = [i for i, value in enumerate(values) if not isinstance(value, str)]
        if wrong:
            raise ValueError(f"{places[wrong[0]]}: {name}={values[wrong[0]]!r} is no text.")
        return np.array(values, dtype=np.str_) if any(values) else None

    return DecisionLog(
        adapters=tuple(rows[0]["adapters"]),
        pool_fingerprint=rows[0]["pool_fingerprint"],
        decision_ids=column("decision_id", np.str_),
        times=column("time", np.str_),
        policy_versions=column("policy_version", np.str_),
        actions=column("action", np.int64),
        propensities=column("propensity", np.float64),
        rewards=column("reward", np.float64),
        fallbacks=column("fallback", np.bool_),
        all_propensities=optional("propensities", np.float64),
        observations=optional("embedding", np.float32),
        queries=texts("query"),
        query_ids=texts("query_id"),
        eligible=optional("eligible", np.bool_),
        encoders=texts("encoder"),
    )
