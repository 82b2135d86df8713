"""Rules that make wrong answers, and their lures, by hand."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from routing_gym.queries.query import Query
from routing_gym.rewards.lures import LURES, has_lure, overlap
from routing_gym.rewards.wrong_answers import RULES, Material, Stored

ASK = {
    "number": "Ann has 3 sisters and 4 brothers. How many siblings? Just the number, please.",
    "word": "Ann is taller than Ben. Ben is taller than Carl. Who is tallest? Give a name.",
    "list": "Sort 9, 4, 7 in ascending order. Answer with a list.",
    "date": "What is March 9, 1999 in ISO form? Answer as YYYY-MM-DD.",
    "record": "At 40, Zoe lives in Rome. Her friend Max does not. Answer as name | age | city.",
    "sentence": "Write a sentence with the words river, lantern. One sentence only.",
    "code": "Write f(x) that doubles x. Code only, please.",
}
RIGHT = {
    "number": "7",
    "word": "Ann",
    "list": "4, 7, 9",
    "date": "1999-03-09",
    "record": "Zoe | 40 | Rome",
    "sentence": "The lantern fell in the river.",
    "code": "def f(x):\n    return x * 2",
}
PEER = {
    "number": "5",
    "word": "Ben",
    "list": "1, 2, 3",
    "date": "2001-02-03",
    "record": "Max | 33 | Oslo",
    "sentence": "The clock stood by the candle.",
    "code": "def g(x):\n    return x + 1",
}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def stored(form: str, response: str | None = None, **fields: Any) -> Stored:
    query = fields.pop("query", None) or Query(form, ASK[form], "general", form, form=form)
    return Stored(query, fields.pop("adapter", "one"), response or RIGHT[form], True, **fields)


def material(form: str, *wrong: str, others: tuple[Stored, ...] = ()) -> Material:
    peer = stored(form, PEER[form], query=Query("p", "Another?", "general", form, form=form))
    return Material(stored(form), others=others, peers=(peer,), wrong=wrong)


def made(rule: str, form: str, *wrong: str) -> set[str]:
    return set(RULES[rule].propose(material(form, *wrong), rng()))


@pytest.mark.parametrize(
    ("rule", "form", "expected"),
    [
        ("perturbed_number", "number", {"5", "6", "8", "9", "17"}),
        ("perturbed_number", "word", set()),
        ("perturbed_number", "code", set()),
        ("swapped_entity", "number", {"3", "4"}),
        ("swapped_entity", "word", {"Ben"}),
        ("swapped_entity", "code", set()),
        ("borrowed_content", "word", {"Ben"}),
        ("borrowed_content", "code", {"def f(x):\n    return x + 1"}),
        ("exchanged_items", "list", {"7, 4, 9", "9, 7, 4", "4, 9, 7"}),
        ("exchanged_items", "record", {"40 | Zoe | Rome", "Rome | 40 | Zoe", "Zoe | Rome | 40"}),
        ("exchanged_items", "word", set()),
        (
            "changed_code",
            "code",
            {"def f(x):\n    return x + 2", "def f(x):\n    return x * 3"},
        ),
        ("changed_code", "word", set()),
        (
            "shifted_date",
            "date",
            {
                "1999-03-08",
                "1999-03-10",
                "1999-02-09",
                "1999-04-09",
                "1998-03-09",
                "2000-03-09",
                "1999-09-03",
            },
        ),
        ("shifted_date", "number", set()),
        ("run_on", "word", set()),
        ("echo", "word", {ASK["word"]}),
        ("empty", "word", {""}),
    ],
)
def test_rules_by_hand(rule: str, form: str, expected: set[str]) -> None:
    assert made(rule, form) == expected


def test_entities_of_a_sentence_come_from_other_answers() -> None:
    for text in made("swapped_entity", "sentence"):
        assert len({"lantern", "river"} & set(re.findall(r"\w+", text))) == 1
        assert len({"clock", "stood", "candle"} & set(re.findall(r"\w+", text))) == 1


def test_entities_of_a_record_come_from_the_query_where_it_has_some() -> None:
    expected = {"Max | 40 | Rome", "Zoe | 40 | Max"}
    assert made("swapped_entity", "record") == expected


@pytest.mark.parametrize("form", ["number", "word", "list", "date", "record"])
def test_dressed_rules_hold_a_wrong_content(form: str) -> None:
    for rule in ("confident_padding", "repeated", "hedged", "restated_query"):
        texts = made(rule, form, PEER[form])
        assert texts
        assert all(PEER[form] in text and len(text) > len(PEER[form]) for text in texts)
        assert made(rule, form) == set()
    assert made("repeated", "number", "5") == {"5, 5, 5, 5"}
    assert any(RIGHT[form] in text for text in made("hedged", form, PEER[form]))


def test_sentences_and_code_are_hedged_by_a_refusal() -> None:
    assert all("sentence" in text for text in made("hedged", "sentence"))
    assert all("function" in text for text in made("hedged", "code"))


def test_sentences_run_on() -> None:
    texts = made("run_on", "sentence")
    assert len(texts) > 1
    assert all(text.startswith("The lantern fell in the river") for text in texts)
    assert all(text.endswith(".") for text in texts)


def test_whole_answers_of_other_arms_come_before_those_cut_off() -> None:
    cut = [stored("word", f"cut {i}", finished=False) for i in range(5)]
    whole = [stored("word", f"whole {i}") for i in range(5)]
    texts = RULES["longer_arm"].propose(material("word", others=(*cut, *whole)), rng())
    assert [text.split()[0] for text in texts] == ["whole"] * 5 + ["cut"] * 5


def test_overlap_by_hand() -> None:
    assert overlap("Who is the tallest?", "Ann is the one.") == 0.5
    assert overlap("Who is the tallest?", "") == 0.0


@pytest.mark.parametrize(
    ("lure", "wrong", "held"),
    [
        ("longer", "Benjamin", True),
        ("longer", "Ben", False),
        ("overlap", "Ann, taller than Ben", True),
        ("overlap", "Zoe", False),
        ("form", "Ben", True),
        ("form", "It is Ben.", False),
        ("form", " ", False),
        ("cheaper", "", True),
        ("cheaper", "Ben", False),
        ("fluent", "Ben", True),
    ],
)
def test_lures_by_hand(lure: Any, wrong: str, held: bool) -> None:
    assert has_lure(lure, query=ASK["word"], form="word", right="Ann", wrong=wrong) is held


def test_every_rule_is_tried_on_every_form() -> None:
    for name, rule in RULES.items():
        applies = [form for form in ASK if made(name, form, PEER[form])]
        assert applies or rule.kind == "real", name


def test_every_rule_promises_a_known_lure() -> None:
    assert {rule.lure for rule in RULES.values()} == set(LURES)
