from __future__ import annotations

import math

import pytest

from routing_gym.rewards.factuality import UNKNOWN, WEIGHTS, Factuality
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


FACTS = "Known: Ann is taller than Bob. Cara is shorter than Bob. Who is the tallest? One name."
LIKES = "Noor loves opera music. Ren hates opera music. Ada loves tea. Who hates opera music?"
TURNS = "A robot called Nina points west. It turns left. Where does it point in the end?"


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
        ("How many legs have 2 cats?", "eight", "number", 0, UNKNOWN),
        ("How many legs have 2 cats?", "A few.", "number", 0, 0.0),
        (FACTS, "Ann", "word", 0, 1.0),
        (FACTS, "The tallest is Bob.", "word", 0, 1.0),  # fooled
        (FACTS, "Cara", "", 0, 1.0),  # fooled
        (FACTS, "Zoe", "word", 0, 0.0),
        (LIKES, "Ren", "word", 0, 1.0),
        (LIKES, "Noor loves opera, so the answer is Ren.", "word", 0, 0.75),
        (LIKES, "Noor", "word", 0, 0.5),
        (LIKES, "Opera", "word", 0, 0.0),
        (TURNS, "south", "word", 0, UNKNOWN),
        (TURNS, "east", "word", 0, UNKNOWN),  # fooled: another direction
        (TURNS, "Aleph", "word", 0, 0.0),
        ("Which heading fits the text best? One word.", "Rome", "word", 0, UNKNOWN),
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
        (TWICE, "The word is fig.", "word", 0, 0.5),  # one of the choices, but not twice there
        (TWICE, "grape", "word", 0, 0.0),
        (TWICE, "pear, fig", "word", 0, 0.25),
        (RELATION, "mother", "word", 0, UNKNOWN),
        (RELATION, "Ann", "word", 0, 0.0),
        (RELATION, "red", "word", 0, 0.0),
        (DATE, "1987-03-05", "date", 0, 1.0),
        (DATE, "1987-05-05", "date", 0, 2 / 3),
        (DATE, "1987-03-19", "date", 0, 2 / 3),
        ("It was 05/06/1987. Use YYYY-MM-DD.", "1987-05-06", "date", 0, 1.0),
        ("It was 05/06/1987. Use YYYY-MM-DD.", "1987-06-05", "date", 0, 1.0),  # fooled: or this
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


def test_self_consistency_counts_where_the_form_leaves_one_way_to_say_it() -> None:
    weight = WEIGHTS["consistency"]
    samples = ("11", "11", "14", "14")
    answers = [
        Answer("What is 3 + 4 * 2?", "11", form="number", samples=samples),
        Answer("How many legs have 2 cats?", "11", form="number", samples=samples),
        Answer("Write one sentence about Rome.", "11", form="sentence", samples=samples),
    ]
    expected = [(1 + weight * 0.5) / (1 + weight), 0.5, UNKNOWN]
    assert Factuality().score(answers) == pytest.approx(expected)


def test_confidence_without_samples_is_the_probability_of_the_answer() -> None:
    answer = Answer("How many legs?", "8", form="number", token_log_probs=(-0.1, -0.3))
    assert Factuality().score([answer])[0] == pytest.approx(math.exp(-0.4))


def test_weights_are_free() -> None:
    answer = Answer("What is 3 + 4 * 2?", "11", form="number", p_true=0.2, samples=("14",))
    weights = {"checks": 2.0, "consistency": 1.0, "p_true": 1.0}
    assert Factuality(weights=weights).score([answer])[0] == pytest.approx(2.2 / 4)
    assert Factuality(weights={"p_true": 1.0}).score([answer])[0] == pytest.approx(0.2)
    assert Factuality(weights={}).score([answer])[0] == UNKNOWN


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"check": 1.0}, "'check': known are checks"),
        ({"checks": -1.0}, "'checks'.=-1.0"),
        ({"p_true": float("nan")}, "finite"),
    ],
)
def test_wrong_weights(weights: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Factuality(weights=weights)
