"""Near duplicates: similarities by hand, an index that misses nothing, thresholds in range."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from routing_gym.queries.leaks import jaccard_matrix
from routing_gym.queries.near_duplicates import (
    NEAR_MEANING,
    NEAR_WORDS,
    OWN_MEANING,
    OWN_WORDS,
    TABLE_TEXT,
    TWICE,
    DuplicateFilter,
    MeaningIndex,
    Thresholds,
    WordIndex,
    jaccard,
    shingles,
)
from tests.queries.made_data import encode, evaluation, guarded

pytest.importorskip("datasketch")


def test_shingles_and_jaccard_by_hand() -> None:
    assert shingles("The cat, the CAT sat.", 2) == {"the cat", "cat the", "cat sat"}
    assert shingles("Hi there", 3) == {"hi there"}
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset()) == 0.0


def test_the_matrix_is_the_similarity_of_every_pair() -> None:
    texts = [query.text for query in evaluation()[:12]] + ["a b", "a b c d"]
    matrix = jaccard_matrix(texts, texts[::-1], shingle=3)
    for i, one in enumerate(texts):
        for j, other in enumerate(texts[::-1]):
            assert matrix[i, j] == pytest.approx(jaccard(shingles(one, 3), shingles(other, 3)))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75, 0.9])
def test_the_index_finds_what_brute_force_finds(threshold: float) -> None:
    texts = [query.text for query in evaluation()]
    index = WordIndex(threshold, 2)
    for text in texts[:60]:
        index.add(text)
    exact = jaccard_matrix(texts[60:], texts[:60], shingle=2).max(axis=1)
    for text, best in zip(texts[60:], exact, strict=True):
        found = index.nearest(text)
        assert (found is not None) == (best >= threshold), (text, best)
        assert found is None or found[1] == pytest.approx(best)


def test_the_meaning_index_grows() -> None:
    index = MeaningIndex(np.zeros((0, 0), dtype=np.float32))
    assert index.nearest(np.ones(2, dtype=np.float32)) is None
    for angle in np.linspace(0, 1, 100):
        index.add(np.array([np.cos(angle), np.sin(angle)], dtype=np.float32))
    assert index.nearest(np.array([1.0, 0.0], dtype=np.float32)) == (0, pytest.approx(1.0))


def test_every_reason_of_refusal() -> None:
    queries = evaluation()
    train = next(query for query in queries if query.split == "train")
    other = guarded(queries)[0]
    judge = DuplicateFilter(queries, encode=encode)
    assert judge.refusal(train.text.upper()) == TABLE_TEXT
    assert judge.refusal(f"Please: {train.text}") == ""  # only the very text of the train split
    assert judge.refusal(f"Please: {other.text}") == NEAR_WORDS
    assert judge.refusal("A text of its own, quite unlike them all.") == ""
    assert judge.refusal_of_meaning(encode([f"{other.text} "])[0]) == NEAR_MEANING
    new = "An ode that no table knows, about nothing but the grey and endless sea of old."
    judge.keep(new, encode([new])[0])
    assert judge.own_refusal(new.replace(",", " -"), None) == TWICE
    assert judge.own_refusal(f"{new} Now", None) == OWN_WORDS
    assert judge.own_refusal("Words alone", encode([f"{new} "])[0]) == OWN_MEANING
    assert judge.own_refusal("Words alone", encode(["Words alone"])[0]) == ""


def test_the_nearest_query_is_named() -> None:
    queries = evaluation()
    other = guarded(queries)[3]
    judge = DuplicateFilter(queries, encode=encode)
    near = judge.nearest(f"{other.text} Now!", encode([f"{other.text} Now!"])[0])
    assert (near["query_id"], near["split"]) == (other.query_id, other.split)
    assert near["cosine"] > 0.9
    plain = DuplicateFilter(queries).nearest(f"{other.text} Now!", None)
    assert plain["query_id"] == other.query_id
    assert plain["jaccard"] > 0.8
    assert DuplicateFilter([]).nearest("Alone", None) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"words": 0.0}, "words=0.0 must be a similarity"),
        ({"meaning": 1.2}, "meaning=1.2 must be a similarity"),
        ({"own_words": -1}, "own_words=-1"),
        ({"shingle": 0}, "shingle=0 must be at least 1"),
    ],
)
def test_bad_thresholds(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Thresholds(**values)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_datasketch(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasketch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_datasketch)
    with pytest.raises(ImportError, match=r"pip install 'routing-gym\[llm\]'"):
        WordIndex(0.5, 3)
