from __future__ import annotations

import pytest

from routing_gym.rewards.factuality import UNKNOWN, Factuality
from routing_gym.rewards.metric import Answer

FAMILY = "Ann is the mother of Bob. Bob is the father of Cara. Who is Cara's grandmother?"
RISING = "Sort these numbers from smallest to largest: 5, 3, 9, 1. Use commas."
FALLING = "Arrange in descending order: 5, 3, 9, 1. Use commas."
WORDS = "Sort these words alphabetically: pear, apple, fig. Use commas."
TWICE = "Which word appears twice: pear, apple, fig, pear? Answer with one word."
RELATION = "Ann is married to Bob. They have a child, Cara. What is Ann to Cara? One word only."
DATE = "The report was filed on the 5th of March 1987. Reply in YYYY-MM-DD form."
CODE = "Write a Python function f(x) that doubles x."
RECORD = "Mia is 31 and lives in Rome. Answer as name | age | city."


def factual(query: str, response: str, form: str = "", form_size: int = 0) -> float:
    answer = Answer(query, response, form=form, form_size=form_size)
    return float(Factuality().score([answer])[0])


@pytest.mark.parametrize(
    ("query", "response", "form", "size", "score"),
    [
        ("What is the capital of France?", "Paris.", "word", 0, UNKNOWN),
        ("What is the capital of France?", "London.", "word", 0, UNKNOWN),
        (FAMILY, "Ann", "word", 0, 1.0),
        (FAMILY, "Cara's grandmother is Ann.", "word", 0, 1.0),
        (FAMILY, "Bob", "word", 0, 1.0),  # fooled: the wrong one of the query's names
        (FAMILY, "Cara", "word", 0, 0.0),
        (FAMILY, "Ann or Bob", "word", 0, 0.5),
        (FAMILY, "John", "word", 0, 0.0),
        (FAMILY, "Grandmother", "word", 0, 0.0),
        ("What is 3 + 4 * 2?", "11", "number", 0, 1.0),
        ("What is 3 + 4 * 2?", "4 * 2 = 8, and 3 + 8 = 11. The answer is 11.", "number", 0, 1.0),
        ("What is 3 + 4 * 2?", "14", "number", 0, 0.0),
        ("What is 3 + 4 * 2?", "4 * 2 = 9, so the answer is 11.", "number", 0, 0.5),
        ("How many legs have 2 cats?", "2 * 4 = 8", "number", 0, 1.0),
        ("How many legs have 2 cats?", "8", "number", 0, UNKNOWN),
        (RISING, "1, 3, 5, 9", "list", 4, 1.0),
        (RISING, "9, 5, 3, 1", "list", 4, 0.5),
        (RISING, "1, 3", "list", 4, 0.75),
        (RISING, "1, 2, 3, 4", "list", 4, 0.75),
        (RISING, "Sure", "list", 4, 0.0),
        (FALLING, "9, 5, 3, 1", "list", 4, 1.0),
        (FALLING, "9, 5, 1, 3", "list", 4, (1 + 2 / 3) / 2),
        (WORDS, "apple, fig, pear", "list", 3, 1.0),
        (CODE, "def f(x):\n    return 2 * x", "code", 0, 1.0),
        (CODE, "def f(x):\n    return 2 * y", "code", 0, 0.5),
        (CODE, "def f(x):\n    print(x)", "code", 0, 0.0),
        (CODE, "Double it.", "code", 0, 0.0),
        (CODE, "def f(x):\n    return 3 * x", "code", 0, 1.0),  # fooled: runs, and is wrong
        (TWICE, "pear", "word", 0, 1.0),
        (TWICE, "The word is fig.", "word", 0, 1.0),  # fooled: another of the choices
        (TWICE, "grape", "word", 0, 0.0),
        (TWICE, "pear, fig", "word", 0, 0.5),
        (RELATION, "mother", "word", 0, UNKNOWN),
        (RELATION, "Ann", "word", 0, 0.0),
        (DATE, "1987-03-05", "date", 0, 1.0),
        (DATE, "1987-05-05", "date", 0, 1.0),  # fooled: another number of the query
        (DATE, "1988-04-06", "date", 0, 0.0),
        (DATE, "5th March", "date", 0, 0.0),
        ("When was the moon landing?", "1969-07-20", "date", 0, UNKNOWN),
        (RECORD, "Mia | 31 | Rome", "record", 0, 1.0),
        (RECORD, "Mia | 32 | Rome", "record", 0, 2 / 3),
        ("Write one sentence about Rome.", "Rome is old and Zoe knows.", "sentence", 0, UNKNOWN),
    ],
)
def test_exact(query: str, response: str, form: str, size: int, score: float) -> None:
    assert factual(query, response, form, size) == pytest.approx(score)


@pytest.mark.parametrize(
    ("query", "form"), [(FAMILY, "word"), (RISING, "list"), (RECORD, "record"), (FAMILY, "")]
)
def test_echoing_does_not_pay(query: str, form: str) -> None:
    for response in (query, f"Question: {query}", f"{query}\n{query}", ""):
        assert factual(query, response, form, 4) == 0.0
