from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.rewards.encoding import RememberingEncoder


class Lengths:
    """Embeds a text as its length, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.extend(texts)
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def test_each_text_is_encoded_once_until_forgotten() -> None:
    inner = Lengths()
    encoder = RememberingEncoder(inner)
    np.testing.assert_array_equal(encoder.encode(["a", "bb", "a"]), [[1], [2], [1]])
    np.testing.assert_array_equal(encoder.encode(["ccc", "bb"]), [[3], [2]])
    assert inner.asked == ["a", "bb", "ccc"]
    encoder.forget()
    encoder.encode(["a"])
    assert inner.asked == ["a", "bb", "ccc", "a"]


def test_no_texts_need_no_encoder() -> None:
    inner = Lengths()
    assert RememberingEncoder(inner).encode([]).shape == (0, 0)
    assert inner.asked == []
