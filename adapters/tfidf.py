"""Latent semantic analysis: a text encoder that is fitted to a table's own train split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

DESCRIPTION, ARRAYS = "tfidf.json", "tfidf.safetensors"


@dataclass(frozen=True)
class TfidfConfig:
    """Settings of the encoder.

    Parameters
    ----------
    features
        D at most, at least 1; fewer where the texts span less.
    ngrams
        The longest run of words that counts as a term, at least 1.
    min_texts
        Terms of fewer train texts are ignored, at least 1.
    max_terms
        Most terms, the most frequent ones, at least 1.
    seed
        Of the randomised decomposition.
    """

    features: int = 384
    ngrams: int = 2
    min_texts: int = 2
    max_terms: int = 30_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("features", "ngrams", "min_texts", "max_terms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small: give at least 1.")


class TfidfEncoder:
    """Words and pairs of words, weighted by rarity, reduced to the directions that vary most.

    tf-idf with logarithmic term counts (Salton & Buckley 1988), then a truncated singular value
    decomposition (Deerwester et al. 1990), both fitted to the train split alone.

    Parameters
    ----------
    config
        See `TfidfConfig`.
    """

    def __init__(self, config: TfidfConfig | None = None) -> None:
        self.config = config or TfidfConfig()
        self.name = "tfidf"
        self._vectoriser: Any = None
        self._components = np.zeros((0, 0), np.float32)  # (D, terms)

    def fit(self, texts: Sequence[str]) -> None:
        """Learn terms, weights and directions from texts, and take a name that identifies them.

        Raises
        ------
        ValueError
            If the texts leave fewer than two terms.
        """
        from sklearn.decomposition import TruncatedSVD  # slow to import

        config = self.config
        self._vectoriser = self._make_vectoriser(config.min_texts, config.max_terms)
        try:
            weights = self._vectoriser.fit_transform(texts)  # sparse (N, terms)
        except ValueError as error:
            raise ValueError(
                f"the {len(texts)} train texts hold no terms that occur in {config.min_texts} of "
                f"them ({error}): give more texts, or a lower min_texts."
            ) from error
        features = min(config.features, min(weights.shape) - 1)
        if features < 1:
            raise ValueError(
                f"{weights.shape[0]} texts with {weights.shape[1]} terms span nothing: give more."
            )
        decomposition = TruncatedSVD(features, n_iter=4, random_state=config.seed).fit(weights)
        self._components = np.ascontiguousarray(decomposition.components_, dtype=np.float32)
        self.name = f"tfidf-{features}@{_digest([asdict(config), *sorted(texts)])}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D), rows of length 1 (0 for a text without known terms).

        Raises
        ------
        RuntimeError
            If the encoder has not been fitted.
        """
        if self._vectoriser is None:
            raise RuntimeError("the tfidf encoder is not fitted: call fit with the train texts.")
        if not len(texts):
            return np.zeros((0, len(self._components)), np.float32)
        rows = self._vectoriser.transform(texts) @ self._components.T
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(length > 0, length, 1)).astype(np.float32)

    def save(self, folder: Path | str) -> None:
        """Write what was fitted as ``tfidf.json`` and ``tfidf.safetensors``.

        Raises
        ------
        RuntimeError
            If the encoder has not been fitted.
        """
        if self._vectoriser is None:
            raise RuntimeError("the tfidf encoder is not fitted: call fit before save.")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        terms = self._vectoriser.get_feature_names_out().tolist()
        content = {"name": self.name, "config": asdict(self.config), "terms": terms}
        (folder / DESCRIPTION).write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        arrays = {"rarity": self._vectoriser.idf_, "components": self._components}
        save_file(arrays, folder / ARRAYS)

    @classmethod
    def load(cls, folder: Path | str) -> TfidfEncoder:
        """Read what ``save`` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder holds no saved encoder.
        """
        folder = Path(folder)
        content = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        arrays = load_file(folder / ARRAYS)
        encoder = cls(TfidfConfig(**content["config"]))
        vectoriser = encoder._make_vectoriser(1, None)
        vectoriser.set_params(vocabulary={term: i for i, term in enumerate(content["terms"])})
        vectoriser.idf_ = arrays["rarity"]
        encoder._vectoriser, encoder._components = vectoriser, arrays["components"]
        encoder.name = content["name"]
        return encoder

    def _make_vectoriser(self, min_texts: int, max_terms: int | None) -> Any:
        """Make an unfitted vectoriser."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

        return TfidfVectorizer(
            sublinear_tf=True,
            ngram_range=(1, self.config.ngrams),
            min_df=min_texts,
            max_features=max_terms,
            dtype=np.float32,
        )


def _digest(content: Sequence[Any]) -> str:
    """Hash JSON values."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
