"""What the tests of made data share: an evaluation of known queries and an encoder of letters."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from routing_gym.queries.dataset import make_queries
from routing_gym.queries.query import Query


def evaluation(**mix: int) -> list[Query]:
    """Queries with their splits, without reasoning-gym unless asked for."""
    return make_queries(mix or {"rhyme": 60, "bookends": 30}, seed=0)


def encode(texts: Sequence[str]) -> np.ndarray:
    """Embed texts by their runs of four letters."""
    rows = np.zeros((len(texts), 256), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        folded = f"  {text.casefold()}  "
        for i in range(len(folded) - 3):
            row[zlib.crc32(folded[i : i + 4].encode()) % 256] += 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def guarded(queries: Sequence[Query]) -> list[Query]:
    """Those of the validation and test split."""
    return [query for query in queries if query.split != "train"]


def reworded(query: Query, text: str) -> Query:
    """The same question in another text."""
    return replace(query, text=text, query_id="planted", split="")
