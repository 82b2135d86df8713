from __future__ import annotations

from dataclasses import replace

import pytest

from routing_gym.queries.query import FORMS as QUERY_FORMS
from routing_gym.rewards.completeness import TRUNCATED, Completeness
from routing_gym.rewards.constraints import (
    asked_ends,
    asked_first_letter,
    asked_keywords,
    asked_word_count,
)
from routing_gym.rewards.forms import FORMS, list_items
from routing_gym.rewards.metric import Answer

FAMILY = "Ann is the mother of Bob. Bob is the father of Cara. Who is Cara's grandmother?"
SORT = "Sort these numbers in ascending order: 5, 3, 9, 1. Answer with a comma-separated list."
KEYWORDS = "Write one sentence with the words river, lantern and old."
CODE = "Write a Python function f(x) that doubles x. Code only, please."
RECORD = "Mia is 31 and lives in Rome. Answer as name | age | city."


def complete(query: str, response: str, form: str, form_size: int = 0, **more: bool) -> float:
    answer = Answer(query, response, form=form, form_size=form_size, **more)
    return float(Completeness().score([answer])[0])


def test_every_form_of_a_query_has_a_check() -> None:
    assert set(FORMS) == set(QUERY_FORMS)


@pytest.mark.parametrize(
    ("query", "response", "form", "size", "score"),
    [
        ("What is the capital of France?", "Paris.", "word", 0, 1.0),
        (FAMILY, "Ann", "word", 0, 1.0),
        (FAMILY, "Cara's grandmother is Ann.", "word", 0, 0.8),
        (FAMILY, "12", "word", 0, 0.0),
        (FAMILY, "Ann, Bob", "word", 0, 0.5),
        (FAMILY, "def f(x):\n    return x", "word", 0, 0.1),
        (FAMILY, "word " * 50, "word", 0, 0.1),
        ("How many?", "7", "number", 0, 1.0),
        ("How many?", "-1,234.5", "number", 0, 1.0),
        ("How many?", "She has 7 sisters in all.", "number", 0, 0.8),
        ("How many?", "3 and 4, so the answer is 7.", "number", 0, 0.8),
        ("How many?", "It could be 3 or 4.", "number", 0, 0.3),
        ("How many?", "Seven.", "number", 0, 0.8),
        ("How many?", "Some.", "number", 0, 0.0),
        (SORT, "1, 3, 5, 9", "list", 4, 1.0),
        (SORT, "The sorted numbers are: 1, 3, 5, and 9.", "list", 4, 1.0),
        (SORT, "[1, 3, 5, 9]", "list", 4, 1.0),
        (SORT, "1 3 5 9", "list", 4, 1.0),
        (SORT, "- 1\n- 3\n- 5\n- 9", "list", 4, 1.0),
        (SORT, "1, 3", "list", 4, 0.5),
        (SORT, "Sorting is the way to put things in order.", "list", 4, 0.0),
        (SORT, "7", "list", 0, 0.5),
        (CODE, "def f(x):\n    return 2 * x", "code", 0, 1.0),
        (CODE, "def g(x):\n    return 2 * x", "code", 0, 0.85),
        (CODE, "def f(x):\n    print(2 * x)", "code", 0, 0.85),
        (CODE, "import math", "code", 0, 0.3),
        (CODE, "def f(x:", "code", 0, 0.0),
        (CODE, "Just double it.", "code", 0, 0.0),
        (KEYWORDS, "An old man lit a lantern by the river.", "sentence", 0, 1.0),
        (KEYWORDS, "An old man lit a lantern by the river.", "sentence", 3, 1.0),
        (KEYWORDS, "An old man lit a lantern by the river", "sentence", 0, 0.75),
        (KEYWORDS, "A man walked home in the rain.", "sentence", 0, 0.5),
        (KEYWORDS, "river, lantern", "sentence", 0, 0.0),
        ("Write a sentence of four words.", "The old man sleeps.", "sentence", 4, 1.0),
        ("Write a sentence of four words.", "Men sleep well. Or not.", "sentence", 4, 2.3 / 3),
        ("When was it?", "2024-02-29", "date", 0, 1.0),
        ("When was it?", "It was on March 5, 2024, a Tuesday.", "date", 0, 0.8),
        ("When was it?", "2023-02-29", "date", 0, 0.2),
        ("When was it?", "2024-01-01 or 2024-01-02", "date", 0, 0.4),
        ("When was it?", "Yesterday", "date", 0, 0.0),
        (RECORD, "Mia | 31 | Rome", "record", 0, 1.0),
        (RECORD, "Mia | 31", "record", 0, 2 / 3),
        (RECORD, "Mia, 31, Rome", "record", 0, 0.0),
        ("Tell me something.", "Cats sleep.", "", 0, 1.0),
        ("Tell me something.", "Cats sleep.", "song", 0, 1.0),
    ],
)
def test_exact(query: str, response: str, form: str, size: int, score: float) -> None:
    assert complete(query, response, form, size) == pytest.approx(score)


@pytest.mark.parametrize("form", ["", *FORMS])
def test_empty_and_echo_are_not_complete(form: str) -> None:
    for response in ("", "  \n", "...", FAMILY, f"{FAMILY} {FAMILY}"):
        assert complete(FAMILY, response, form) == 0.0


def test_truncated_is_not_complete() -> None:
    answer = Answer("Tell me something.", "Cats sleep because they", finished=False)
    whole = replace(answer, finished=True)
    assert Completeness().score([answer, whole]).tolist() == [TRUNCATED, 1.0]


def test_truncated_code_is_not_complete() -> None:
    assert complete(CODE, "def f(x):\n    y = x\n    return (y +", "code") == 0.0


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("apple, pear and plum.", ["apple", "pear", "plum"]),
        ("1. apple\n2. pear", ["apple", "pear"]),
        ('["a", "b"]', ["a", "b"]),
        ("Sure: red; green", ["red", "green"]),
        ("```\nred, green\n```", ["red", "green"]),
        ("", []),
    ],
)
def test_list_items(text: str, items: list[str]) -> None:
    assert list_items(text) == items


@pytest.mark.parametrize(
    ("query", "keywords"),
    [
        (KEYWORDS, ["river", "lantern", "old"]),
        ("Make a sentence that uses the words: river, lantern, old.", ["river", "lantern", "old"]),
        ("Use these three words in a sentence: river, old and moon.", ["river", "old", "moon"]),
        ("Put 'river' and 'moon' into one sentence.", ["river", "moon"]),
        ("Write one sentence about a river.", []),
        ("Be creative: river, moon must all appear.", ["river", "moon"]),
        ("Use only words that begin with T, 3 of them, in a sentence.", []),
        ("A line that ends with moon, in rhyme", []),
    ],
)
def test_asked_keywords(query: str, keywords: list[str]) -> None:
    assert asked_keywords(query) == keywords


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("Write a sentence of exactly 8 words.", 8),
        ("An eight-word sentence about rain, please.", 8),
        ("Use the 3 words below.", 0),
        ("Use these three words: a, b.", 0),
        ("Write a sentence.", 0),
    ],
)
def test_asked_word_count(query: str, count: int) -> None:
    assert asked_word_count(query) == count


@pytest.mark.parametrize(
    ("query", "letter"),
    [
        ("Every word starts with the letter B.", "b"),
        ('All words must begin with "m".', "m"),
        ("Start with a greeting.", ""),
    ],
)
def test_asked_first_letter(query: str, letter: str) -> None:
    assert asked_first_letter(query) == letter


@pytest.mark.parametrize(
    ("query", "ends"),
    [
        ("Write a sentence that starts with Often and ends with clock.", ("often", "clock")),
        ("The first word is Soon and the last word is moon.", ("soon", "moon")),
        ("Begin with Once, finish with stone.", ("once", "stone")),
        ("Write a line that ends with a word rhyming with moon.", ("", "")),
        ("Every word starts with the letter B.", ("", "")),
    ],
)
def test_asked_ends(query: str, ends: tuple[str, str]) -> None:
    assert asked_ends(query) == ends


def test_first_and_last_word_are_seen() -> None:
    query = "Write a sentence that starts with Often and ends with clock."
    assert complete(query, "Often the cat sleeps by the clock.", "sentence") == 1.0
    assert complete(query, "Often the cat sleeps by the door.", "sentence") == 0.75


def test_alliteration_is_seen() -> None:
    query = "Write a sentence in which every word starts with the letter b."
    assert complete(query, "Big brave bears build boats.", "sentence") == 1.0
    assert complete(query, "The old man sleeps well.", "sentence") == 0.5
