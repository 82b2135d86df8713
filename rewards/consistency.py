"""Self-consistency: whether the answering model would say the same again."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

import numpy as np

from routing_gym.queries.extract import final_choice, final_number, numbers, python_code, sentence
from routing_gym.rewards.checks import named_months
from routing_gym.rewards.constraints import enumerated
from routing_gym.rewards.forms import list_items
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.text import COMMON_WORDS, names, without_fences, words

UNMEASURED = 0.5
MAX_WORDS = 3  # of a word answer that is read as it stands


class Consistency:
    """Probability that the model that answered gives the same answer again; 0.5 if unmeasured.

    With samples: the share of them that agree (Wang et al., "Self-Consistency Improves Chain of
    Thought Reasoning in Language Models", 2023), read as the form asks: the number, the word, the
    items, the date, the fields, the code's syntax tree, else the words. Without samples: the
    product of the recorded token probabilities, which is what the share of samples that agree
    token by token tends to; it costs nothing, and is a lower bound where one answer has many
    wordings. An empty answer has 0.

    **Sees** guessing: where the model has no idea, its samples scatter.

    **Is fooled by** a model that repeats the same error each time, and by free text, of which a
    right one is never said twice.
    """

    name = "consistency"
    direction: Direction = "higher"

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        scores = [agreement(answer) for answer in answers]
        return np.array([UNMEASURED if s is None else s for s in scores], dtype=np.float64)


def agreement(answer: Answer) -> float | None:
    """Self-consistency of one answer, as in `Consistency`; None if nothing was measured."""
    if not words(answer.response):
        return 0.0
    if answer.samples:
        meant = read_out(answer.response, answer)
        agreeing = sum(read_out(sample, answer) == meant for sample in answer.samples)
        return agreeing / len(answer.samples)
    if answer.token_log_probs:
        return min(1.0, float(np.exp(sum(answer.token_log_probs))))
    return None


def read_out(text: str, asked: Answer) -> tuple[object, ...]:
    """Read what a text says as an answer to the query and form of `asked`.

    Returns
    -------
    tuple
        Equal for two texts that say the same in other words around it; a text that does not have
        the form is read as its words.
    """
    reader = READERS.get(asked.form)
    found = reader(text, asked.query) if reader else ()
    return (asked.form, *found) if found else tuple(words(text))


def _number(text: str, query: str) -> tuple[object, ...]:
    """Read the final number."""
    value = final_number(text)
    return () if value is None else (value,)


def _word(text: str, query: str) -> tuple[object, ...]:
    """Read a few words as they stand, a sentence as what it chooses from the query's names."""
    given = [word for word in words(text) if word not in ("a", "an", "the")]
    if len(given) <= MAX_WORDS:
        return tuple(given)
    known = {*(name.casefold() for name in names(query)), *enumerated(query)}
    choices = known.intersection(given) or set(given) - COMMON_WORDS
    return (final_choice(text, choices),) if choices else ()


def _list(text: str, query: str) -> tuple[object, ...]:
    """Read the items in their order, numbers by value."""
    items = list_items(text)
    read = [numbers(item) for item in items]
    return tuple(
        found[0] if len(found) == 1 else item.casefold()
        for item, found in zip(items, read, strict=True)
    )


def _date(text: str, query: str) -> tuple[object, ...]:
    """Read year, month and day, the month from its number or its name; the day comes last."""
    named = named_months(text)
    fields = [int(field) for field in re.findall(r"\d+", text)]
    year = [field for field in fields if field >= 1000]
    rest = [field for field in fields if field < 1000]
    if len(year) != 1 or len(named) + len(rest) != 2:
        return ()
    return (*year, *named, *rest)


def _record(text: str, query: str) -> tuple[object, ...]:
    """Read the fields of the first line that has bars."""
    lines = [line for line in without_fences(text).splitlines() if "|" in line]
    return (
        tuple(" ".join(words(field)) for field in lines[0].strip("| .").split("|")) if lines else ()
    )


def _sentence(text: str, query: str) -> tuple[object, ...]:
    """Read the words of the first sentence."""
    return tuple(words(sentence(text)))


def _code(text: str, query: str) -> tuple[object, ...]:
    """Read the function's syntax tree, so that layout and comments do not count."""
    source = python_code(text)
    return (ast.dump(ast.parse(source)),) if source else ()


READERS: dict[str, Callable[[str, str], tuple[object, ...]]] = {
    "number": _number,
    "word": _word,
    "list": _list,
    "date": _date,
    "record": _record,
    "sentence": _sentence,
    "code": _code,
}
