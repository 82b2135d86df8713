"""Open queries: texts without a verifier, read from a file and kept apart from the evaluation."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from routing_gym.queries.near_duplicates import DuplicateFilter, Encode, Thresholds
from routing_gym.queries.query import Query

OPEN_TASK = "open"


def read_open_queries(path: str | Path, *, domain: str) -> list[Query]:
    """Read texts, one per line of a ``.txt`` file or under ``text`` in each line of a ``.jsonl``.

    Parameters
    ----------
    path
        The file.
    domain
        Domain that the queries are given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is no such text, or there is none.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"queries={str(path)!r} does not exist: check the path.")
    texts = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if line.strip():
            texts.append(line.strip() if file.suffix != ".jsonl" else _text(line, file, number))
    if not texts:
        raise ValueError(f"{file} holds no text: write one query a line.")
    return [
        Query(
            query_id=f"{OPEN_TASK}-{hashlib.sha256(text.encode()).hexdigest()[:10]}",
            text=text,
            domain=domain,
            task=OPEN_TASK,
        )
        for text in dict.fromkeys(texts)
    ]


def screen(
    queries: Sequence[Query],
    evaluation: Sequence[Query],
    *,
    thresholds: Thresholds | None = None,
    encode: Encode | None = None,
) -> tuple[list[tuple[Query, dict[str, Any]]], Counter[str]]:
    """Leave out queries that are near to an evaluation query or to an earlier one.

    Parameters
    ----------
    queries
        In order of preference.
    evaluation
        Every query of the outcome table with its split.
    thresholds, encode
        As in `DuplicateFilter`.

    Returns
    -------
    kept : list of (Query, dict)
        With the nearest evaluation query of each.
    dropped : Counter
        Reason -> queries.
    """
    judge = DuplicateFilter(evaluation, thresholds=thresholds, encode=encode)
    vectors = list(encode([q.text for q in queries])) if encode and queries else None
    kept, dropped = [], Counter[str]()
    for row, query in enumerate(queries):
        vector = None if vectors is None else vectors[row]
        reason = judge.refusal(query.text) or judge.refusal_of_meaning(vector)
        reason = reason or judge.own_refusal(query.text, vector)
        if reason:
            dropped[reason] += 1
            continue
        judge.keep(query.text, vector)
        kept.append((query, judge.nearest(query.text, vector)))
    return kept, dropped


def _text(line: str, file: Path, number: int) -> str:
    """Take the text out of a line of JSON."""
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{file}, line {number} is no JSON ({error}).") from error
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{file}, line {number} lacks a text: write {{"text": "..."}}.')
    return text.strip()
