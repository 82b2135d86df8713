"""How well an answer has the form that its query asks for, one pure function per form."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from routing_gym.queries.extract import numbers
from routing_gym.rewards.constraints import (
    COUNT_WORDS,
    asked_ends,
    asked_first_letter,
    asked_keywords,
    asked_word_count,
    ends_share,
    first_letter_share,
    keyword_share,
)
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.source import asked_name, find_code, functions, gives_result
from routing_gym.rewards.text import (
    COMMON_WORDS,
    WORD,
    ends_properly,
    sentences,
    without_fences,
    words,
)

FINAL_NUMBER = re.compile(
    r"(?:answer|result|total|sum|value)\s*(?:is|was|:|=)+\s*\W{0,3}[-−]?\d|####\s*[-−]?\d|\\boxed",
    re.IGNORECASE,
)
BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
LEAD_IN = re.compile(r"[^\n,;:\[\]]*:\s*(?=\S)")
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
SHORT_MONTHS = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec"
DATE = re.compile(
    r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[/.]\d{1,2}[/.]\d{4}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{MONTHS}|{SHORT_MONTHS})\.?,?\s+\d{{4}}\b"
    rf"|\b(?:{MONTHS}|{SHORT_MONTHS})\.?\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b",
    re.IGNORECASE,
)


def number_form(answer: Answer) -> float:
    """One clear number: 1 alone, .8 in a sentence or marked as final, .3 among others, 0 none."""
    found = set(numbers(answer.response))
    count = len(words(answer.response))
    if not found:
        spelled = [word for word in words(answer.response) if word in COUNT_WORDS or word == "zero"]
        return 0.8 if len(set(spelled)) == 1 and count <= 12 else 0.0
    if len(found) == 1:
        return 1.0 if count <= 3 else 0.8
    return 0.8 if FINAL_NUMBER.search(answer.response) else 0.3


def word_form(answer: Answer) -> float:
    """At most three words: 1; a short sentence: .8; then less; list: .5; code: .1; number: 0."""
    given = WORD.findall(answer.response)
    if not any(word[0].isalpha() for word in given):
        return 0.0
    if "```" in answer.response or re.search(r"^\s*(?:def|import)\s", answer.response, re.M):
        return 0.1
    if len(given) <= 3:
        return 0.5 if re.search(r"\w\s*[,;]\s*\w", answer.response) else 1.0
    if len(given) <= 12:
        return 0.8
    return 0.4 if len(given) <= 30 else 0.1


def list_form(answer: Answer) -> float:
    """Short items, as many as asked: nearness of the count times the share of short items."""
    items = list_items(answer.response)
    if not items:
        return 0.0
    short = sum(len(words(item)) <= 3 for item in items) / len(items)
    if answer.form_size:
        off = abs(len(items) - answer.form_size)
        return short * (1 - off / max(len(items), answer.form_size))
    return short if len(items) > 1 else 0.5 * short


def sentence_form(answer: Answer) -> float:
    """One sentence with an end that does what the query demands of it (mean of the parts)."""
    text = without_fences(answer.response).strip()
    given = words(text)
    if len(given) < 3 or not any(word[0].isalpha() for word in given):
        return 0.0
    parts = [1 / len(sentences(text)), float(ends_properly(text))]
    keywords = asked_keywords(answer.query)
    if len(keywords) > 1:
        parts += 2 * [keyword_share(keywords, text)]
    ends = asked_ends(answer.query)
    if any(ends):
        parts += 2 * [ends_share(ends, text)]
    letter = asked_first_letter(answer.query)
    if letter:
        parts += 2 * [first_letter_share(letter, text)]
    size = asked_word_count(answer.query)
    if not size and answer.form_size != len(keywords):
        size = answer.form_size
    if size:
        parts.append(1 - abs(len(given) - size) / max(len(given), size))
    return sum(parts) / len(parts)


def code_form(answer: Answer) -> float:
    """Python that parses: .3; defines a function: .7; has the asked name and a result: .15 each."""
    tree = find_code(answer.response)
    if tree is None:
        return 0.0
    defined = functions(tree)
    if not defined:
        return 0.3
    name = asked_name(answer.query)
    score = 0.7
    score += 0.15 * (name is None or name in defined)
    score += 0.15 * any(gives_result(function) for function in defined.values())
    return score


def date_form(answer: Answer) -> float:
    """One date that exists: 1 alone, .8 in a sentence, .4 among others, .2 impossible, 0 none."""
    found = set(DATE.findall(answer.response))
    if not found:
        return 0.0
    if len(found) > 1:
        return 0.4
    if not _exists(found.pop()):
        return 0.2
    return 1.0 if len(words(answer.response)) <= 4 else 0.8


def record_form(answer: Answer) -> float:
    """One line of as many fields between bars as the query shows ("name | age | city")."""
    lines = [line for line in without_fences(answer.response).splitlines() if line.strip()]
    records = [line for line in lines if "|" in line]
    if not records:
        return 0.0
    shown = re.findall(r"\w+(?:\s*\|\s*\w+)+", answer.query)
    asked = answer.form_size or (shown[-1].count("|") + 1 if shown else 2)
    fields = [field.strip() for field in records[0].strip("| .").split("|")]
    fit = 1 - abs(len(fields) - asked) / max(len(fields), asked)
    filled = sum(bool(field) for field in fields) / len(fields)
    return fit * filled * (1.0 if len(lines) == 1 else 0.6)


def free_form(answer: Answer) -> float:
    """Any text that is not empty: 1."""
    return float(bool(words(answer.response)))


FORMS: dict[str, Callable[[Answer], float]] = {
    "number": number_form,
    "word": word_form,
    "list": list_form,
    "sentence": sentence_form,
    "code": code_form,
    "date": date_form,
    "record": record_form,
}
"""Form of an answer -> how well a response keeps it, in [0, 1]."""


def list_items(response: str) -> list[str]:
    """Items of a list: separated by commas, semicolons, "and" or lines; else by white space.

    A lead-in up to a colon ("The sorted words are: ..."), brackets, bullets, quotes and the final
    stop are no part of an item. Prose without any separator has no items.
    """
    text = without_fences(response).strip()
    lead_in = LEAD_IN.match(text)
    if lead_in and re.search("[A-Za-z]", lead_in.group()):
        text = text[lead_in.end() :]
    lines = [BULLET.sub("", line) for line in text.splitlines()]
    text = "\n".join(lines).strip().strip("[](){}").rstrip(".")
    pieces = re.split(r"[,;\n]|\s+and\s+", text)
    if len(pieces) == 1:
        pieces = text.split()
        if any(piece.casefold() in COMMON_WORDS for piece in pieces):
            return []
    stripped = (piece.strip(" \t\"'`*[](){}.") for piece in pieces)
    return [piece for piece in stripped if piece]


def _exists(date: str) -> bool:
    """Tell whether a numeric date is in the calendar in either order; written months pass."""
    fields = re.findall(r"\d+", date)
    if len(fields) < 3:
        day = int(fields[0])
        return 1 <= day <= 31
    first, second, third = (int(field) for field in fields[:3])
    orders = [(first, second, third)] if first > 31 else [(third, first, second)]
    if first <= 31:
        orders.append((third, second, first))
    for year, month, day in orders:
        try:
            datetime.date(year, month, day)
        except ValueError:
            continue
        return True
    return False
