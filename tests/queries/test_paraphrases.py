"""Paraphrases: what keeps slots, numbers, form and secret stands; everything else has a fault."""

from __future__ import annotations

from typing import Any

import pytest

from routing_gym.queries import paraphrases
from routing_gym.queries.paraphrases import paraphrase_fault
from routing_gym.rewards.asked_form import asked_form

RHYME = {
    "body": "Write a line that ends with a word rhyming with cat.",
    "slots": {"word": "cat"},
    "target": "I like the hat.",
    "ending": "One sentence only.",
}
SUM = {
    "body": "What is 12 + 30?",
    "slots": {"sum": "12 + 30"},
    "target": "42",
    "ending": "Just the number, please.",
}
COUNT = {
    "body": "Write a sentence of 3 words that all start with B.",
    "slots": {"count": 3, "letter": "B"},
    "target": "Bears bake bread.",
    "ending": "One sentence only.",
}


@pytest.mark.parametrize(
    ("question", "other", "fault"),
    [
        (RHYME, "Could you give me a line whose end rhymes with cat?", ""),
        (RHYME, "CAT is my word: end a line with its rhyme.", ""),
        (RHYME, None, paraphrases.EMPTY),
        (RHYME, "  ", paraphrases.EMPTY),
        (RHYME, RHYME["body"].upper(), paraphrases.UNCHANGED),  # type: ignore[attr-defined]
        (RHYME, "Rhyme on cat. " * 40, paraphrases.LONG),
        (RHYME, "Rhyme\non cat.", paraphrases.LONG),
        (RHYME, "Give me a line that rhymes with dog.", paraphrases.SLOTS),
        (RHYME, "Give me a line on catalogues.", paraphrases.SLOTS),
        (RHYME, "Rhyme on cat. I like the hat.", paraphrases.ANSWER),
        (RHYME, "Rhyme on cat. Answer with one word.", paraphrases.FORM),
        (SUM, "Please tell me what 12 + 30 comes to.", ""),
        (SUM, "Add 12 and 30.", paraphrases.SLOTS),
        (SUM, "What is 12 + 30 - 7?", paraphrases.NUMBERS),
        (SUM, "What is 12 + 30? It is 42.", paraphrases.NUMBERS),
        (COUNT, "I want a sentence of 3 words, each of which starts with B.", ""),
        (COUNT, "I want 3 of them: words with B, in a row.", paraphrases.FORM),
    ],
)
def test_faults(question: dict[str, Any], other: str | None, fault: str) -> None:
    given = {key: value for key, value in question.items() if key != "body"}
    assert paraphrase_fault(question["body"], other, **given, asked=asked_form) == fault


def test_a_name_given_away_is_a_fault() -> None:
    fault = paraphrase_fault(
        "What is the capital of France?",
        "Paris is the capital of France, is it not?",
        slots={"country": "France"},
        target="Paris",
        ending="Just the city.",
    )
    assert fault == paraphrases.ANSWER
