"""What a question asks, apart from its words: two texts with one content are one question."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from routing_gym.queries.dataset import make_task
from routing_gym.queries.query import Query
from routing_gym.queries.task import Task
from routing_gym.queries.tasks import TASKS

Content = tuple[str, ...]
_PUNCTUATION = ".,;:?!"  # not operators and signs


class ContentIndex:
    """The contents of known queries, so that the same question is found in whatever words.

    Parameters
    ----------
    queries
        Queries of known tasks; those that cannot be read back are counted in `unread`.
    """

    def __init__(self, queries: Iterable[Query]) -> None:
        self.unread = 0
        self._known: dict[str, dict[tuple[str, ...], dict[Content, str]]] = {}
        for query in queries:
            slots = read_slots(query)
            if slots is None:
                self.unread += 1
                continue
            kinds = self._known.setdefault(query.task, {}).setdefault(tuple(slots), {})
            kinds.setdefault(content_of(slots), query.query_id)

    def find(self, task: str, slots: Mapping[str, Any]) -> str | None:
        """Return the id of a query that asks for the same slots; None if there is none.

        A phrasing may leave out a slot that another says in other words, so that a query is
        compared in the slots that it has.
        """
        for names, contents in self._known.get(task, {}).items():
            if all(name in slots for name in names):
                found = contents.get(content_of({name: slots[name] for name in names}))
                if found is not None:
                    return found
        return None


def content_of(slots: Mapping[str, Any]) -> Content:
    """Reduce slots to what does not depend on the phrasing that they stand in.

    Parameters
    ----------
    slots
        Slot name -> value.

    Returns
    -------
    tuple of str
        The folded words of all values, sorted: phrasings tell facts and question in either order,
        and where one slot follows another a text does not say where the first ends. The same words
        in another order therefore count as the same question, which errs on the safe side.
    """
    words = (word for value in slots.values() for word in str(value).casefold().split())
    return tuple(sorted(filter(None, (word.strip(_PUNCTUATION) for word in words))))


def read_slots(query: Query) -> dict[str, str] | None:
    """Read the slots back from a text of its task's own phrasings and endings.

    Returns
    -------
    dict or None
        Slot name -> value, up to the boundary between slots that stand side by side; None for a
        text that the task did not phrase, or a query of an unknown task.
    """
    if query.task not in TASKS and ":" not in query.task:
        return None
    task = make_task(query.task)
    for ending in task.known_endings:
        if query.text.endswith(f" {ending}"):
            body = query.text.removesuffix(f" {ending}")
            found = next(filter(None, (reader.fullmatch(body) for reader in _readers(task))), None)
            return found.groupdict() if found else None
    return None


@cache
def _readers(task: Task) -> tuple[re.Pattern[str], ...]:
    """Make readers of a task's phrasings; the one with the most fixed words is asked first."""
    return tuple(map(_reader, sorted(task.phrasings, key=_fixed_length, reverse=True)))


def _reader(phrasing: str) -> re.Pattern[str]:
    """Turn a format string into a pattern with one group per slot."""
    pattern, seen = "", set[str]()
    for literal, slot, _, _ in string.Formatter().parse(phrasing):
        pattern += re.escape(literal)
        if slot is not None:
            pattern += f"(?P={slot})" if slot in seen else f"(?P<{slot}>.+?)"
            seen.add(slot)
    return re.compile(pattern, re.DOTALL)


def _fixed_length(phrasing: str) -> int:
    """Count the characters of a format string outside of its slots."""
    return sum(len(literal) for literal, _, _, _ in string.Formatter().parse(phrasing))
