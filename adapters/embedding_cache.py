"""Embeddings on disk, by content; several processes may share a folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

FILE = "embeddings.sqlite"
_ASKED = 500  # keys per query; SQLite's oldest limit is 999
_PATIENCE = 60  # seconds to wait for another process's write


class EmbeddingCache:
    """A store of vectors under keys that stand for their content.

    Parameters
    ----------
    folder
        Where ``embeddings.sqlite`` lies; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / FILE

    def read(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return key -> float32 (D,) for those keys that are there.

        Raises
        ------
        ValueError
            If the file is not a cache of embeddings; the message carries the remedy.
        """
        if not self.path.is_file():
            return {}
        wanted = list(dict.fromkeys(keys))
        found: dict[str, np.ndarray] = {}
        with self._open() as store:
            for start in range(0, len(wanted), _ASKED):
                part = wanted[start : start + _ASKED]
                marks = ",".join("?" * len(part))
                rows = store.execute(
                    f"SELECT key, vector FROM embedding WHERE key IN ({marks})", part
                )
                found |= {key: np.frombuffer(vector, "<f4") for key, vector in rows}
        return found

    def write(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors, float (D,) each, all or none of them.

        Raises
        ------
        ValueError
            If a vector is not finite, or the file is not a cache of embeddings.
        """
        for key, vector in vectors.items():
            if not np.isfinite(vector).all():
                raise ValueError(
                    f"the embedding of the text with key {key:.12} is not finite: check the "
                    "encoder and the text."
                )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as store, store:  # the second ends the transaction
            store.executemany(
                "INSERT OR REPLACE INTO embedding VALUES (?, ?)",
                [(key, np.asarray(v, "<f4").tobytes()) for key, v in vectors.items()],
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file, with its one table."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as store:
                store.execute(
                    "CREATE TABLE IF NOT EXISTS embedding (key TEXT PRIMARY KEY, vector BLOB)"
                )
                yield store
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{self.path} cannot be used as a cache of embeddings ({error}): delete it, or "
                "choose another folder."
            ) from error
