"""Reading the long tables of queries, arms and scores that the field publishes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from routing_gym.adapters.embedding import QueryEncoder
from routing_gym.envs.columns import TableColumns
from routing_gym.envs.errors import TableError
from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from routing_gym.envs.table_io import cell_order
from routing_gym.queries.splits import SPLITS, assign_split

REQUIRED = ("query_id", "query", "arm", "score")
SPLIT_WORDS = {  # other words for the splits, which would otherwise be drawn anew unnoticed
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}
DROPPED_SPLIT = "contaminated"
HASHED_FEATURES = 256
METRICS = {
    "accuracy": MetricRecord(role="truth"),
    "cost": MetricRecord(direction="lower", role="cost"),
}
Embeddings = np.ndarray | QueryEncoder | Callable[[Sequence[str]], np.ndarray]
NOT_MEASURED = ("prompt_tokens", "completion_tokens", "seconds", "finished")


def hashed_words(texts: Sequence[str], *, features: int = HASHED_FEATURES) -> np.ndarray:
    """Embed texts by hashing their words and pairs of words; needs no model and no fitting.

    Parameters
    ----------
    texts
        N texts.
    features
        D, the number of buckets.

    Returns
    -------
    np.ndarray
        float32 (N, D), rows of norm 1 (0 for a text without words), entries in [-1, 1].
    """
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import

    hasher = HashingVectorizer(n_features=features, ngram_range=(1, 2), norm="l2")
    return hasher.transform(texts).toarray().astype(np.float32)


def read_tidy(
    source: Any,
    *,
    embeddings: Embeddings | None = None,
    encoder: str = "",
    score_range: tuple[float, float] | None = None,
    seed: int = 0,
) -> TableColumns:
    """Turn a tidy table into the columns of an outcome table.

    ``score`` becomes the verified ``accuracy``: as it is when all scores are in [0, 1], else
    scaled from ``score_range`` (by default the lowest and highest score seen), which the
    manifest records under ``generation["score_range"]``. A ``cost`` becomes the score ``cost``,
    divided by the highest one, which is recorded likewise. Rows whose ``split`` is
    ``contaminated`` are dropped. Where ``split`` is not train, validation or test, a hash of the
    normalised text decides (60/15/25 %), so that equal texts are never parted; another word for
    one of them, such as ``Train`` or ``dev``, is refused.
    The arms' order is alphabetical. Tokens and seconds, which such tables lack, are 0.

    Parameters
    ----------
    source
        A data frame, a pyarrow table, or a path of a ``.parquet`` or ``.csv`` file, with the
        columns ``query_id, query, arm, score[, cost, task, split]``.
    embeddings
        float (N, D) in the order in which the query ids first appear, a function from the texts
        to it, or an encoder, which is first fitted to the texts of the train split (all texts,
        where the source has no train split); ``None`` is `hashed_words`.
    encoder
        The name to record for ``embeddings``; empty takes the encoder's own.
    score_range
        Lowest and highest possible score.
    seed
        Of the assignment of splits.

    Raises
    ------
    TableError
        If a column, a cell or a value is missing, doubled or out of range, a query has two
        texts, or nothing is left.
    """
    lines = _drop_contaminated(_read_lines(source))
    ids, first = _first_lines(lines["query_id"])
    arms = tuple(sorted(set(lines["arm"])))
    if len(arms) < 2:
        raise TableError("column arm", f"names only {arms}", "give the scores of at least 2 arms")
    order = cell_order(  # (N, K) line numbers
        lines["query_id"], lines["arm"], rows=ids, columns=arms, place="the source"
    )
    texts = np.array([lines["query"][line] for line in first], dtype=object)
    _check_texts(lines, order, texts)
    scores, notes = _scores(lines, order, score_range)
    splits = _splits(lines, order, texts, seed)
    vectors, own_name = _embed(embeddings, texts, splits)
    tasks = np.array([lines["task"][line] if "task" in lines else "" for line in first], object)
    n, k = order.shape
    return TableColumns(
        query_id=np.array(ids, dtype=object),
        text=texts,
        domain=tasks,
        task=tasks,
        complexity=np.zeros(n),
        split=splits,
        form=np.full(n, "", dtype=object),
        form_size=np.zeros(n),
        reference=np.full(n, "", dtype=object),
        scores=scores,
        prompt_tokens=np.zeros((n, k)),
        completion_tokens=np.zeros((n, k)),
        seconds=np.zeros((n, k)),
        finished=np.ones((n, k)),
        responses=np.full((n, k), "", dtype=object),
        embeddings=vectors,
        manifest=Manifest(
            adapters=tuple(AdapterRecord(arm) for arm in arms),
            metrics={name: METRICS[name] for name in scores},
            encoder=encoder or own_name,
            generation=notes,
            seeds={"split": seed},
        ),
    )


def read_csv(path: Path) -> pa.Table:
    """Read a CSV file whose quoted texts may run over several lines."""
    options = pa.csv.ParseOptions(newlines_in_values=True)
    return pa.csv.read_csv(path, parse_options=options)


def _embed(
    embeddings: Embeddings | None, texts: np.ndarray, splits: np.ndarray
) -> tuple[np.ndarray, str]:
    """Return embeddings (N, D) of the texts and the name of what made them, if it has one."""
    if embeddings is None:
        return hashed_words(list(texts)), f"hashed_words-{HASHED_FEATURES}"
    if isinstance(embeddings, QueryEncoder):
        train = splits == SPLITS[0]
        embeddings.fit(list(texts[train if train.any() else slice(None)]))
        return embeddings.encode(list(texts)), embeddings.name
    return (embeddings(list(texts)) if callable(embeddings) else embeddings), ""


def _read_lines(source: Any) -> dict[str, list[Any]]:
    """Read the source as columns of Python values, checking the columns' names."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise TableError(str(path), "does not exist", "pass a .parquet or .csv file")
        try:
            content = read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
        except pa.ArrowInvalid as error:
            fault = f"cannot be read ({str(error).rstrip('.')})"
            raise TableError(str(path), fault, "pass a .parquet or .csv file") from error
    else:
        content = source if isinstance(source, pa.Table) else pa.Table.from_pandas(source)
    for name in REQUIRED:
        if name not in content.column_names:
            remedy = f"needed are {REQUIRED}, found are {tuple(content.column_names)}"
            raise TableError(f"column {name}", "is missing", remedy)
    names = [n for n in (*REQUIRED, "cost", "task", "split") if n in content.column_names]
    lines = {name: content[name].to_pylist() for name in names}
    for name in [n for n in names if n not in ("score", "cost")]:
        empty = next((i for i, value in enumerate(lines[name]) if value is None), None)
        if empty is not None:
            raise TableError(f"row {empty}", f"{name} is empty", "fill it or drop the row")
        lines[name] = [str(value) for value in lines[name]]
    return lines


def _drop_contaminated(lines: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Leave out the rows that the publisher marked as contaminated."""
    if "split" not in lines:
        return lines
    kept = [i for i, split in enumerate(lines["split"]) if split != DROPPED_SPLIT]
    if not kept:
        raise TableError("the source", "holds no (uncontaminated) rows", "pass another table")
    return {name: [values[i] for i in kept] for name, values in lines.items()}


def _first_lines(query_ids: Sequence[str]) -> tuple[list[str], list[int]]:
    """List the ids in order of first appearance, and the line of each."""
    first: dict[str, int] = {}
    for line, query_id in enumerate(query_ids):
        first.setdefault(query_id, line)
    return list(first), list(first.values())


def _check_texts(lines: dict[str, list[Any]], order: np.ndarray, texts: np.ndarray) -> None:
    """One query id has one text, and it is not empty."""
    for text, cells in zip(texts, order, strict=True):
        place = f"query {lines['query_id'][cells[0]]!r}"
        if any(lines["query"][line] != text for line in cells):
            raise TableError(place, "has different texts in different rows", "give it one text")
        if not text.strip():
            raise TableError(place, "is an empty query", "remove it or give it a text")


def _scores(
    lines: dict[str, list[Any]], order: np.ndarray, score_range: tuple[float, float] | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Make accuracy and, where it is given, cost, each (N, K), and the notes for the manifest."""
    accuracy, notes = _scaled(_numbers(lines, "score")[order], score_range)
    scores = {"accuracy": accuracy}
    if any(value is not None and value == value for value in lines.get("cost", ())):
        cost = _numbers(lines, "cost")[order]
        scores["cost"], notes["cost_ceiling"] = _relative(cost)
    return scores, notes | {"not_measured": list(NOT_MEASURED)}


def _numbers(lines: dict[str, list[Any]], name: str) -> np.ndarray:
    """Read a column as finite float64 (lines,)."""
    values = lines[name]
    try:
        numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"column {name}", f"is not numeric ({error})", "give numbers") from error
    for row in np.flatnonzero(~np.isfinite(numbers))[:1]:
        place = f"query {lines['query_id'][row]!r} with arm {lines['arm'][row]!r}"
        fault = f"{name} is {'missing' if values[row] is None else values[row]}, not a number"
        raise TableError(place, fault, "fill it or drop the query")
    return numbers


def _scaled(
    scores: np.ndarray, score_range: tuple[float, float] | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Bring scores (N, K) to [0, 1] and note the range that they came from."""
    low, high = float(scores.min()), float(scores.max())
    if score_range is None:
        if low >= 0 and high <= 1:
            return scores, {}
        score_range = (low, high)
    bottom, top = map(float, score_range)
    if not bottom < top or low < bottom or high > top:
        fault = f"scores lie in [{low:g}, {high:g}] but score_range is {score_range}"
        raise TableError("column score", fault, "pass score_range=(low, high) with low < high")
    return (scores - bottom) / (top - bottom), {"score_range": [bottom, top]}


def _relative(cost: np.ndarray) -> tuple[np.ndarray, float]:
    """Divide costs (N, K) by the highest one."""
    ceiling = float(cost.max())
    if cost.min() < 0:
        raise TableError("column cost", f"holds {cost.min():g}", "give costs of at least 0")
    return cost / (ceiling or 1.0), ceiling


def _splits(
    lines: dict[str, list[Any]], order: np.ndarray, texts: np.ndarray, seed: int
) -> np.ndarray:
    """Take the source's splits if any is one of ours, else assign them by the normalised text."""
    named = set(lines.get("split", ()))
    for name in sorted(named - set(SPLITS)):
        meant = SPLIT_WORDS.get(name.strip().lower())
        if meant is not None or named & set(SPLITS):
            remedy = f"call it {meant!r}" if meant else f"use {', '.join(SPLITS)}"
            raise TableError("column split", f"holds {name!r}", remedy)
    if not named & set(SPLITS):
        return np.array([assign_split(text, seed=seed) for text in texts], dtype=object)
    given = np.array(lines["split"], dtype=object)[order]  # (N, K)
    for row in np.flatnonzero((given != given[:, :1]).any(axis=1))[:1]:
        place = f"query {lines['query_id'][order[row, 0]]!r}"
        raise TableError(place, "has different splits in different rows", "give it one split")
    return given[:, 0]
