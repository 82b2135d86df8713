"""What makes a wrong answer tempting for a careless evaluator."""

from __future__ import annotations

import re
from typing import Literal

from routing_gym.rewards.text import words

Lure = Literal["longer", "fluent", "overlap", "form", "cheaper"]
LURES: dict[Lure, str] = {
    "longer": "more characters",
    "fluent": "likelier in every token under the base model",
    "overlap": "more of the query's words",
    "form": "the look of the asked form, with other content",
    "cheaper": "no word at all, so no cost",
}
LOOKS = {
    "word": r"^\W*[\w-]+\W*$",
    "number": r"^\W*-?\d+\W*$",
    "list": r"\d+, ?\d+",
    "date": r"^\d{4}-\d{2}-\d{2}$",
    "record": r"\w \| \d+ \| \w",
    "sentence": r"^[A-Z][^\n]*[.!?]$",
    "code": r"^def \w+\(\w*\):\n    \S",
}


def has_lure(lure: Lure, *, query: str, form: str, right: str, wrong: str) -> bool:
    """Tell whether a wrong text tempts against a right one.

    Parameters
    ----------
    lure
        A key of `LURES`; "fluent" is always granted here, since only a model can tell.
    query, form
        What was asked, and in which form.
    right, wrong
        The two answers.
    """
    if lure == "longer":
        return len(wrong) > len(right)
    if lure == "overlap":
        return overlap(query, wrong) > overlap(query, right)
    if lure == "form":
        look = re.compile(LOOKS.get(form, ""))
        return bool(wrong.strip()) and bool(look.search(wrong)) == bool(look.search(right))
    return lure == "fluent" or not wrong.strip()


def overlap(query: str, response: str) -> float:
    """Share of the query's distinct words that the response holds, in [0, 1]."""
    asked = set(words(query))
    return len(asked & set(words(response))) / len(asked) if asked else 0.0
