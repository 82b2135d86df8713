"""Positions and numbers of hand-written texts."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.adapters.embedding import make_encoder
from routing_gym.adapters.position import FEATURES, PositionEncoder, position_features

NAMES = [name for name, _, _ in FEATURES]


def features(text: str) -> dict[str, float]:
    return dict(zip(NAMES, position_features([text])[0].tolist(), strict=True))


def test_the_answering_sentence_is_found() -> None:
    found = features("The cat is red. The dog is blue. The bird is grey. What colour is the dog?")
    assert found["sentences"] == 4
    assert found["its position from the start"] == 1
    assert found["its position from the end"] == 2
    assert found["relative position of the answering sentence"] == pytest.approx(1 / 3)
    assert found["relative position of the question"] == 1
    assert found["share of the question's words in it"] == pytest.approx(1 / 2)  # colour, dog
    assert found["it follows the question"] == 0
    assert found["sentences between the two"] == 2


def test_nothing_to_look_up() -> None:
    assert features("Write a poem.")["relative position of the answering sentence"] == -1


def test_numbers_by_hand() -> None:
    found = features("What is 12 + 305 - 7?")
    assert found["numbers"] == 3
    assert found["first number"] == pytest.approx(np.log1p(12))
    assert found["largest number"] == pytest.approx(np.log1p(305))
    assert found["last digit of the last number"] == 7
    assert found["digits"] == 6
    assert found["last number less the first"] == pytest.approx(-np.log1p(5))
    assert (found["additions"], found["subtractions"], found["operators"]) == (1, 1, 2)


def test_negative_numbers_and_none() -> None:
    assert features("Is -3 less than 2?")["negative numbers"] == 1
    assert features("Who are you?")["numbers"] == 0


def test_the_encoder_is_bounded_registered_and_needs_no_fit() -> None:
    encoder = make_encoder("position")
    texts = ["", "9" * 300, "a? " * 500, "What is 2 + 2?"]
    encoder.fit(texts)
    vectors = encoder.encode(texts)
    assert vectors.shape == (4, len(FEATURES))
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.abs(vectors).max() <= 5 / np.sqrt(len(FEATURES)) + 1e-6
    np.testing.assert_array_equal(vectors, PositionEncoder().encode(texts))
    assert encoder.encode([]).shape == (0, len(FEATURES))
