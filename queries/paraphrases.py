"""What a paraphrase must hold to, whoever wrote it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from routing_gym.queries.content import content_of
from routing_gym.queries.extract import numbers
from routing_gym.queries.splits import normalise

AskedForm = Callable[[str], Hashable]
"""Reads the asked form and size from a text; see `routing_gym.rewards.asked_form.asked_form`."""

EMPTY, UNCHANGED = "paraphrase is empty", "paraphrase is the same text"
LONG, SLOTS = "paraphrase is too long", "paraphrase lost a slot"
NUMBERS, ANSWER = "paraphrase has other numbers", "paraphrase gives the answer away"
FORM = "paraphrase asks for another form"
MEANING = "paraphrase means something else"
SAME_MEANING = 0.6
"""Cosine below which a paraphrase is taken to ask for something else."""
_SPARE = 80  # characters


class Paraphraser(Protocol):
    """Puts texts into other words; see `routing_gym.rewards.paraphraser.Paraphraser`."""

    name: str

    def __call__(self, texts: Sequence[str]) -> Sequence[str | None]:
        """Rephrase each text; None where nothing came back."""


def paraphrase_fault(
    body: str,
    other: str | None,
    *,
    slots: Mapping[str, Any],
    target: str,
    ending: str,
    asked: AskedForm | None = None,
) -> str:
    """Say what is wrong with a paraphrase; "" if it may stand.

    Parameters
    ----------
    body, other
        A question without the sentence that asks for its form, and the paraphrase.
    slots
        What the question was made from; every value that stands in the body must stand in the
        paraphrase, letter for letter but for the case.
    target
        A right answer, which the paraphrase may not hold where the body does not.
    ending
        The sentence that asks for the form; it will follow the paraphrase.
    asked
        Reads the asked form from a text; None leaves that out.
    """
    if not other or not other.strip():
        return EMPTY
    if normalise(other) == normalise(body):
        return UNCHANGED
    if len(other) > 2 * len(body) + _SPARE or "\n" in other.strip():
        return LONG
    values = [str(value) for value in slots.values() if _holds(body, str(value))]
    if not all(_holds(other, value) for value in values):
        return SLOTS
    if Counter(numbers(other)) != Counter(numbers(body)):
        return NUMBERS
    if _holds(other, target) and not _holds(body, target):
        return ANSWER
    if asked and (
        asked(f"{other} {ending}") != asked(f"{body} {ending}") or asked(other) != asked(body)
    ):
        return FORM
    return ""


def _holds(text: str, value: str) -> bool:
    """Tell whether a value stands in a text as whole words, whatever the case."""
    folded = [" ".join(part.casefold().split()) for part in (text, value)]
    return bool(content_of({"value": value})) and (
        re.search(rf"(?<!\w){re.escape(folded[1])}(?!\w)", folded[0]) is not None
    )
