from __future__ import annotations

import pytest

from routing_gym.rewards.text import (
    copied_share,
    distinct_share,
    ends_properly,
    names,
    sentences,
    words,
)

FAMILY = "Ann is the mother of Bob. Bob is the father of Cara. Who is Cara's grandmother?"


def test_words_fold_case_and_keep_numbers() -> None:
    assert words("Ann's 3 Well-known CATS, 1.") == ["ann's", "3", "well-known", "cats", "1"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One thing.", 1),
        ("One thing. Two things! Three?", 3),
        ("Dr. Smith saw Mr. Jones.", 1),
        ('"Stop!" he said. Then he left.', 2),
        ("no end\nnew line", 2),
        ("", 0),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_names_are_not_common_words() -> None:
    assert names(FAMILY) == ["Ann", "Bob", "Bob", "Cara", "Cara"]
    assert names("The answer is Mary-Jane.") == ["Mary-Jane"]


@pytest.mark.parametrize(("text", "ends"), [("Yes.", True), ('"Yes."', True), ("Yes", False)])
def test_ends_properly(text: str, ends: bool) -> None:
    assert ends_properly(text) is ends


def test_distinct_share() -> None:
    assert distinct_share(["a", "b", "a", "b"], 2) == pytest.approx(2 / 3)  # ab ba ab
    assert distinct_share(["a"], 2) == 1.0


def test_copied_share() -> None:
    assert copied_share(FAMILY, FAMILY) == 1.0
    assert copied_share(FAMILY, f"Question: {FAMILY.upper()} Ann.") == 1.0
    assert copied_share(FAMILY, "Ann") == 0.0
    assert copied_share("a b c d e", "a b c d") == 0.5  # abcd of abcd, bcde
    assert copied_share("Why?", "why") == 1.0
    assert copied_share("?!", "x") == 0.0
