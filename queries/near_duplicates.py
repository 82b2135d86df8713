"""Near duplicates of texts: by their words (MinHash) and by their meaning (embeddings)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from routing_gym.queries.query import Query
from routing_gym.queries.splits import normalise

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts (N) -> float (N, D) with rows of length 1."""

TABLE_TEXT = "text of the table"
NEAR_WORDS, NEAR_MEANING = "near an evaluation query (words)", "near an evaluation query (meaning)"
TWICE = "text made before"
OWN_WORDS, OWN_MEANING = "near another sample (words)", "near another sample (meaning)"
ROUNDING = 1e-4  # of a cosine in float32: what an exact check may find on the other side
_PERMUTATIONS = 128
_MISSED = 1e-6  # accepted probability that the index misses a pair at the threshold


@dataclass(frozen=True)
class Thresholds:
    """From which similarity on two texts are near duplicates.

    The Jaccard similarity is that of the sets of word shingles. In short questions made from
    phrasings it mostly tells whether the phrasing is the same: one word in the middle, which may be
    all that makes it another question, touches as many shingles as the threshold leaves. The cosine
    tells the same question in a slightly other wording.

    Parameters
    ----------
    words, meaning
        Jaccard similarity and cosine from which on a sample is too near to an evaluation query.
    own_words, own_meaning
        The same between two samples.
    shingle
        Words per shingle.

    Raises
    ------
    ValueError
        If a similarity is not in (0, 1], or the shingle below 1.
    """

    words: float = 0.75
    meaning: float = 0.92
    own_words: float = 0.85
    own_meaning: float = 0.98
    shingle: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "shingle" and value < 1:
                raise ValueError(f"shingle={value} must be at least 1 word.")
            if field.name != "shingle" and not 0 < value <= 1:
                raise ValueError(f"{field.name}={value} must be a similarity in (0, 1].")


def shingles(text: str, size: int) -> frozenset[str]:
    """Return a text's runs of so many normalised words; the whole text if it is shorter."""
    words = normalise(text).split()
    return frozenset(" ".join(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared members of two sets, as a share of all members of both; 0 if both are empty."""
    return len(one & other) / (len(one | other) or 1)


class WordIndex:
    """Texts by MinHash, so that those near to another are found without comparing with all.

    What the index proposes is compared exactly. The chance that it misses a pair at the threshold
    is below one in a million.

    Parameters
    ----------
    threshold
        Jaccard similarity that is looked for, in (0, 1].
    shingle
        Words per shingle.

    Raises
    ------
    ImportError
        If datasketch is not installed; the message carries the remedy.
    """

    def __init__(self, threshold: float, shingle: int) -> None:
        sketch = _datasketch()
        self._threshold, self._size = threshold, shingle
        self._empty = sketch.MinHash(num_perm=_PERMUTATIONS, seed=1)  # its copies are cheap
        rows = max(r for r in range(1, 33) if r == 1 or _misses(threshold, r) <= _MISSED)
        self._lsh = sketch.MinHashLSH(num_perm=_PERMUTATIONS, params=(_PERMUTATIONS // rows, rows))
        self._kept: list[frozenset[str]] = []

    def add(self, text: str) -> None:
        """Remember a text."""
        found = shingles(text, self._size)
        self._lsh.insert(len(self._kept), self._minhash(found))
        self._kept.append(found)

    def nearest(self, text: str) -> tuple[int, float] | None:
        """Find the nearest text at or above the threshold: its number and the similarity."""
        if not self._kept:
            return None
        own = shingles(text, self._size)
        proposed = sorted(self._lsh.query(self._minhash(own)))
        best = max(((jaccard(own, self._kept[i]), -i) for i in proposed), default=(0.0, 0))
        return (-best[1], best[0]) if best[0] >= self._threshold else None

    def _minhash(self, parts: frozenset[str]) -> Any:
        """Sketch a set."""
        sketch = self._empty.copy()
        sketch.update_batch([part.encode() for part in sorted(parts)])
        return sketch


class MeaningIndex:
    """Embeddings of texts in one growing matrix.

    Parameters
    ----------
    vectors
        float (N, D), rows of length 1; may have no rows.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._rows = np.array(vectors, dtype=np.float32)
        self._count = len(vectors)

    def add(self, vector: np.ndarray) -> None:
        """Remember an embedding (D,)."""
        if self._count == len(self._rows):
            spare = np.zeros((max(64, len(self._rows)), len(vector)), dtype=np.float32)
            self._rows = np.concatenate([self._rows.reshape(-1, len(vector)), spare])
        self._rows[self._count] = vector
        self._count += 1

    def nearest(self, vector: np.ndarray) -> tuple[int, float] | None:
        """Find the nearest text, its number and the cosine; None in an empty index."""
        if not self._count:
            return None
        cosines = self._rows[: self._count] @ vector
        best = int(cosines.argmax())
        return best, float(cosines[best])


class DuplicateFilter:
    """Refuses texts that stand in a table, are too near to its evaluation queries, or come twice.

    Parameters
    ----------
    evaluation
        Every query of the table. Of the split ``"train"`` only the very texts are refused, of all
        others near duplicates too.
    thresholds
        What counts as near.
    encode
        Embeds texts; None leaves the meaning out.
    """

    def __init__(
        self,
        evaluation: Sequence[Query],
        *,
        thresholds: Thresholds | None = None,
        encode: Encode | None = None,
    ) -> None:
        self.thresholds = thresholds or Thresholds()
        self.guarded = [query for query in evaluation if query.split != "train"]
        self._taboo = {normalise(query.text) for query in evaluation}
        self._words = WordIndex(self.thresholds.words, self.thresholds.shingle)
        for query in self.guarded:
            self._words.add(query.text)
        self._made: set[str] = set()
        self._own_words = WordIndex(self.thresholds.own_words, self.thresholds.shingle)
        none = np.zeros((0, 0), dtype=np.float32)
        texts = [query.text for query in self.guarded]
        self._meaning = MeaningIndex(encode(texts) if encode and texts else none)
        self._own_meaning = MeaningIndex(none)

    def refusal(self, text: str) -> str:
        """Say why a text is refused for its words against the evaluation; "" if it is not."""
        if normalise(text) in self._taboo:
            return TABLE_TEXT
        return NEAR_WORDS if self._words.nearest(text) else ""

    def refusal_of_meaning(self, vector: np.ndarray | None) -> str:
        """Say why an embedding (D,) is refused against the evaluation; "" if it is not."""
        near = None if vector is None else self._meaning.nearest(vector)
        return NEAR_MEANING if near and near[1] >= self.thresholds.meaning - ROUNDING else ""

    def own_refusal(self, text: str, vector: np.ndarray | None) -> str:
        """Say why a sample is refused against those that were kept; "" if it is not."""
        if normalise(text) in self._made:
            return TWICE
        if self._own_words.nearest(text):
            return OWN_WORDS
        near = None if vector is None else self._own_meaning.nearest(vector)
        return OWN_MEANING if near and near[1] >= self.thresholds.own_meaning - ROUNDING else ""

    def keep(self, text: str, vector: np.ndarray | None) -> None:
        """Remember a sample that was made."""
        self._made.add(normalise(text))
        self._own_words.add(text)
        if vector is not None:
            self._own_meaning.add(vector)

    def nearest(self, text: str, vector: np.ndarray | None) -> dict[str, Any]:
        """Describe the evaluation query that is nearest in meaning, or in words without vectors."""
        if not self.guarded:
            return {}
        own, size = shingles(text, self.thresholds.shingle), self.thresholds.shingle
        found = None if vector is None else self._meaning.nearest(vector)
        if found is None:
            near = [jaccard(own, shingles(query.text, size)) for query in self.guarded]
            found = int(np.argmax(near)), float("nan")
        query = self.guarded[found[0]]
        record: dict[str, Any] = {"query_id": query.query_id, "split": query.split}
        if vector is not None:
            record["cosine"] = round(found[1], 4)
        return {**record, "jaccard": round(jaccard(own, shingles(query.text, size)), 4)}


def _misses(threshold: float, rows: int) -> float:
    """Probability that bands of so many rows never collide for a pair at the threshold."""
    return float((1.0 - threshold**rows) ** (_PERMUTATIONS // rows))


def _datasketch() -> Any:
    """Import datasketch, which is an extra."""
    try:
        import datasketch
    except ImportError as error:
        raise ImportError(
            "near duplicates are found with datasketch: pip install 'routing-gym[llm]'."
        ) from error
    return datasketch
