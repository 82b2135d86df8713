"""Latent semantic analysis without scikit-learn: what `TfidfEncoder` saved, run in NumPy."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from safetensors.numpy import load as load_arrays

_WORD = re.compile(r"(?u)\b\w\w+\b")


class TfidfPart:
    """Encodes texts as the fitted `routing_gym.adapters.tfidf.TfidfEncoder` does.

    Parameters
    ----------
    description, arrays
        The bytes of its ``tfidf.json`` and ``tfidf.safetensors``.

    Raises
    ------
    ValueError
        If they do not belong together.
    """

    def __init__(self, description: bytes, arrays: bytes) -> None:
        content, loaded = json.loads(description), load_arrays(arrays)
        self._terms = {term: i for i, term in enumerate(content["terms"])}
        self._longest = int(content["config"]["ngrams"])
        self._rarity = loaded["rarity"].astype(np.float32)
        self._components = np.ascontiguousarray(loaded["components"].T)  # (terms, D)
        if not len(self._terms) == len(self._rarity) == len(self._components):
            raise ValueError("tfidf.json and tfidf.safetensors hold different numbers of terms.")

    @property
    def width(self) -> int:
        """D."""
        return self._components.shape[1]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D), rows of length 1 (0 for a text without known terms)."""
        rows = [self._row(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.width), np.float32)

    def _row(self, text: str) -> np.ndarray:
        """Embed one text."""
        counts = Counter(self._terms[term] for term in self._found(text) if term in self._terms)
        places = np.fromiter(sorted(counts), dtype=np.int64, count=len(counts))
        frequency = np.array([counts[place] for place in places.tolist()], dtype=np.float32)
        weights = (np.log(frequency) + np.float32(1)) * self._rarity[places]
        row = _unit(weights) @ self._components[places]
        return _unit(np.asarray(row, dtype=np.float32))

    def _found(self, text: str) -> list[str]:
        """Return the words, and the runs of up to the longest number of them."""
        words = _WORD.findall(text.lower())
        runs = list(words)
        for length in range(2, min(self._longest, len(words)) + 1):
            runs += [" ".join(words[i : i + length]) for i in range(len(words) - length + 1)]
        return runs


def _unit(row: np.ndarray) -> np.ndarray:
    """Scale to length 1; zeros stay."""
    length = np.linalg.norm(row)
    return np.asarray(row / length if length > 0 else row)
