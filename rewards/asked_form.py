"""The form of answer that a query asks for in so many words, where nobody has recorded it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from routing_gym.queries.extract import numbers
from routing_gym.rewards.constraints import asked_word_count, enumerated

_ONLY = r"(?:just|only|simply)"
_ONE = r"(?:one|a|a single|the)"
PATTERNS = {  # the first that is found counts: a record has words, a list has numbers
    "code": r"\bpython (?:code|function)\b|\bcode only\b|\b(?:just|only) (?:the )?code\b",
    "date": r"\bYYYY-MM-DD\b|\bISO (?:date|form|format)\b",
    "record": r"\w+(?:\s*\|\s*\w+)+",
    "list": r"\b(?:python|comma-separated) list\b|\blist only\b|\b(?:just|only) (?:a|the) list\b"
    r"|\b(?:with|by|using) commas\b",
    "sentence": rf"\b{_ONE} sentence\b|\bsentence only\b",
    "number": rf"\b{_ONLY} {_ONE} number\b|\b(?:one|a|a single) number\b|\bnumber only\b",
    "word": rf"\b(?:one|a single) (?:word|name)\b|\b(?:word|name|city) only\b"
    rf"|\b{_ONLY} the (?:\w+(?:'s)? )?(?:word|name|city)\b|\b(?:give|answer with) (?:a|the) "
    r"(?:\w+(?:'s)? )?name\b",
}
_READERS = {form: re.compile(pattern, re.IGNORECASE) for form, pattern in PATTERNS.items()}
_OF_THEM = re.compile(r"\b(\d{1,3}) of them\b")
_DEMAND = 200  # characters that are read at most, since a query may be a page without a full stop
_MOST = 1000


@dataclass(frozen=True)
class AskedForm:
    """What a query asks for, as `routing_gym.rewards.metric.Answer` takes it.

    Parameters
    ----------
    form
        Key of `routing_gym.rewards.forms.FORMS`; "" if the query names none.
    size
        Items, fields or words; 0 if free.
    """

    form: str = ""
    size: int = 0


def asked_form(query: str) -> AskedForm:
    """Read the asked form from the last sentence of a query ("Answer with one word.").

    A query that only implies its form ("How many?") names none.
    """
    demand = _last_sentence(query)
    form = next((name for name, reader in _READERS.items() if reader.search(demand)), "")
    return AskedForm(form, min(_size(form, query, demand), _MOST))


def _last_sentence(query: str) -> str:
    """Cut off what stands before the last sentence, and all but the end of a long one."""
    body = query.rstrip(" \t\r\n.?!")
    return query[max(body.rfind(end) for end in ".?!") + 1 :][-_DEMAND:]


def _size(form: str, query: str, demand: str) -> int:
    """Read how many items, fields or words are asked for."""
    if form == "record":
        found = _READERS[form].search(demand)
        return found.group().count("|") + 1 if found else 0
    if form == "list":
        told = query.removesuffix(demand)
        return len(numbers(told)) or len(enumerated(told))
    if form == "sentence":
        counted = _OF_THEM.search(query)
        return int(counted.group(1)) if counted else asked_word_count(query)
    return 0
