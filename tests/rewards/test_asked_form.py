from __future__ import annotations

import time

import numpy as np
import pytest

from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.rewards.asked_form import PATTERNS, AskedForm, asked_form
from routing_gym.rewards.forms import FORMS


@pytest.mark.parametrize(
    ("query", "form", "size"),
    [
        ("What is 2 + 2? Answer with a number.", "number", 0),
        ("Who is taller? Just the name, please!", "word", 0),
        ("Sort 3, 1 and 2. Reply with the list only.", "list", 3),
        ("Sort pear, apple, fig. Separate them with commas.", "list", 3),
        ("Ann, 3, is from Rome. Use the form name | age.", "record", 2),
        ("Write 5 words starting with S. Give just one sentence.", "sentence", 5),
        ("Use words with T, 4 of them. One sentence only.", "sentence", 4),
        ("Add 1 to x. Code only, please.", "code", 0),
        ("When was that? Use the form YYYY-MM-DD.", "date", 0),
        ("Sort a list. Why?", "", 0),
        ("One word only. Now tell me a story.", "", 0),
        ("How many?", "", 0),
        ("...", "", 0),
        ("", "", 0),
        ("Take 999999999 of them. One sentence only.", "sentence", 0),
        (f"Give {10**400} words. One sentence only.", "sentence", 1000),
    ],
)
def test_forms_are_read(query: str, form: str, size: int) -> None:
    assert asked_form(query) == AskedForm(form, size)


def test_every_form_can_be_read() -> None:
    assert PATTERNS.keys() == FORMS.keys()


def test_long_queries_cost_little() -> None:
    start = time.perf_counter()
    for text in ("a" * 100_000, "| a " * 30_000, "a. " * 40_000, "a" * 100_000 + ". b"):
        asked_form(text)
    assert time.perf_counter() - start < 1


@pytest.mark.skipif(not DEFAULT_TABLE.is_dir(), reason="the outcome table is not here")
def test_it_reads_what_the_table_records() -> None:
    table = OutcomeTable.load(DEFAULT_TABLE)
    read = [asked_form(text) for text in table.text.tolist()]
    assert [asked.form for asked in read] == table.form.tolist()
    np.testing.assert_array_equal([asked.size for asked in read], table.form_size)
