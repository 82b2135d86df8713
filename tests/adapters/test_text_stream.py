"""Text that comes in pieces is the text that comes at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from routing_gym.adapters.text_stream import TextStream
from tests.adapters.tiny import tiny_tokenizer

TEXTS = (
    "Paris.",
    "  two\n lines \n\n",
    "naïve café 😀🇫🇷 — ﬁn",
    "日本語のテキスト",
    "def f(x):\n    return x + 2\n",
    "",
    " \n ",
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def pieces_of(
    tokenizer: Any, text: str, stop: tuple[str, ...] = ()
) -> tuple[list[str], TextStream]:
    stream, pieces = TextStream(tokenizer, stop), []
    for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]:
        pieces.append(stream.add(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()], stream


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_whole_characters_and_join(tokenizer: Any, text: str) -> None:
    pieces, stream = pieces_of(tokenizer, text)
    assert "".join(pieces) == text.strip()
    assert not stream.stopped
    for piece in pieces:
        assert "\ufffd" not in piece
        piece.encode("utf-8")
    if len(text) > 10:
        assert sum(map(bool, pieces)) > 3


def test_half_a_character_at_the_end_is_no_text(tokenizer: Any) -> None:
    ids = tokenizer("ab😀", add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    assert "".join([stream.add(token) for token in ids[:-1]]) == "ab"
    assert stream.finish() == ""


def test_what_stands_before_half_a_character_is_text(tokenizer: Any) -> None:
    half = tokenizer("😀", add_special_tokens=False)["input_ids"][0]
    stream = TextStream(tokenizer)
    assert stream.add(half) == ""
    stream._tokens += tokenizer("a", add_special_tokens=False)["input_ids"]
    assert stream.add(half) == ""
    assert stream.finish() == "\ufffda"


def test_bytes_that_are_no_character_do_not_hold_up_the_rest(tokenizer: Any) -> None:
    half = tokenizer("😀", add_special_tokens=False)["input_ids"][0]
    ids = [half, *tokenizer("ab", add_special_tokens=False)["input_ids"]]
    stream = TextStream(tokenizer)
    text = "".join([stream.add(token) for token in ids]) + stream.finish()
    assert text == tokenizer.decode(ids) == "\ufffdab"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two three", ("two",), "one"),
        ("one two three", ("four", "t"), "one"),
        ("one two three", ("three", "two"), "one"),
        ("one two three", ("twice",), "one two three"),
        ("one tw", ("two",), "one tw"),
        ("one\ntwo", ("\n",), "one"),
        ("\none", ("\n",), ""),
        ("aab", ("ab",), "a"),
        ("ababac", ("abac",), "ab"),
        ("x😀y", ("😀",), "x"),
        ("one", ("one",), ""),
    ],
)
def test_stops(tokenizer: Any, text: str, stop: tuple[str, ...], expected: str) -> None:
    pieces, stream = pieces_of(tokenizer, text, stop)
    assert "".join(pieces) == expected
    assert stream.stopped == any(word in text for word in stop)


def test_whatever_the_tokens_the_text_is_the_same(tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        ids = [int(i) for i in rng.integers(2, len(tokenizer), size=30)]
        ids += tokenizer(" end.", add_special_tokens=False)["input_ids"]
        stream = TextStream(tokenizer)
        text = "".join([stream.add(token) for token in ids]) + stream.finish()
        assert text == tokenizer.decode(ids, skip_special_tokens=True).strip()
