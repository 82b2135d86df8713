from __future__ import annotations

import numpy as np
import pytest

from routing_gym.adapters.tfidf import TfidfConfig, TfidfEncoder

TEXTS = ["red fox", "red fox runs", "blue whale", "blue whale swims", "red whale"]


def fitted(texts: list[str] = TEXTS) -> TfidfEncoder:
    encoder = TfidfEncoder()
    encoder.fit(texts)
    return encoder


def test_alike_texts_are_close_and_rows_have_length_one() -> None:
    vectors = fitted().encode(["red fox", "fox red", "blue whale"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.5


def test_only_the_fitted_texts_teach() -> None:
    encoder = fitted()
    before = encoder.encode(["red fox"])
    encoder.encode(["zebra zebra zebra"] * 50)
    np.testing.assert_array_equal(encoder.encode(["red fox"]), before)
    np.testing.assert_array_equal(encoder.encode(["zebra"]), 0)  # a word that it never saw


def test_the_name_identifies_the_texts() -> None:
    assert fitted().name == fitted(TEXTS[::-1]).name
    assert fitted().name != fitted([*TEXTS, "red dog"]).name


def test_refuses_to_encode_or_save_before_it_is_fitted(tmp_path: object) -> None:
    with pytest.raises(RuntimeError, match="call fit with the train texts"):
        TfidfEncoder().encode(["a"])
    with pytest.raises(RuntimeError, match="call fit before save"):
        TfidfEncoder().save(str(tmp_path))


def test_refuses_texts_without_common_terms() -> None:
    with pytest.raises(ValueError, match="hold no terms that occur in 2"):
        fitted(["alpha", "beta"])
    with pytest.raises(ValueError, match="span nothing"):
        fitted(["alpha", "alpha"])
    with pytest.raises(ValueError, match="features=0 is too small"):
        TfidfConfig(features=0)
