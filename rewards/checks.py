"""Claims of an answer that can be checked cheaply against its query, never against a reference.

Each check returns a share in [0, 1] of what it examined, or None where it has nothing to examine.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable

from routing_gym.queries.extract import final_choice, final_number, numbers
from routing_gym.rewards.arithmetic import asked_value, equalities
from routing_gym.rewards.constraints import COUNT_WORDS, enumerated
from routing_gym.rewards.forms import MONTHS, list_items
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.source import find_code, functions, gives_result, undefined_names
from routing_gym.rewards.text import COMMON_WORDS, names, sentences, words

ASKS_NAME = re.compile(
    r"\b(?:who|whose|whom|which (?:person|one|child|of them)|(?:one|a|the|just the) name)\b", re.I
)
ASKS_SORTING = re.compile(r"\b(?:sort|order|arrange|rank|put)\w*\b", re.I)
ENUMERATION = re.compile(r"[\w'\".-]{1,24}(?:\s?,\s?[\w'\".-]{1,24}){2}")
ALL_ITEMS = re.compile(r"\b(?:sort|arrange|rank|reverse|order)\w*\b|\bin (?:\w+ )*order\b", re.I)
ASKS_REPEATED = re.compile(
    r"\b(?:twice|double|(?:two|2) times|more than once|repeat\w*|duplicate\w*|not unique)\b",
    re.IGNORECASE,
)
ASKED_KINDS = (
    (
        re.compile(
            r"^(?=.*\b(?:north|east|south|west)\b)"
            r".*(?:\b(?:direction|heading|which way)\b|\bwhere\b.*\b(?:point|look|face))",
            re.IGNORECASE | re.DOTALL,
        ),
        frozenset("north east south west".split()),
    ),
    (
        re.compile(
            r"\b(?:related|relation(?:ship)?)\b|\b[Ww]hat (?:is )?[A-Z]\w+ (?:is )?to [A-Z]"
        ),
        frozenset(
            """mother father parent sister brother sibling daughter son child wife husband spouse
            grandmother grandfather granddaughter grandson aunt uncle niece nephew cousin
            mother-in-law father-in-law sister-in-law brother-in-law daughter-in-law
            son-in-law""".split()
        ),
    ),
)
ISO_DATE = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
RISING = re.compile(
    r"\b(?:ascending|increasing|alphabetical(?:ly)?|rising"
    r"|(?:smallest|lowest|least|low|small|shortest|a)(?: number| value| one)?"
    r"(?: comes)?(?: (?:to|first)\b|-to-))",
    re.I,
)
FALLING = re.compile(
    r"\b(?:descending|decreasing|falling|reverse(?:d)? alphabetical(?:ly)?"
    r"|(?:largest|highest|biggest|greatest|most|high|large|z)(?: number| value| one)?"
    r"(?: comes)?(?: (?:to|first)\b|-to-))",
    re.I,
)


def stated_arithmetic(answer: Answer) -> float | None:
    """Share of the equalities in the answer ("3 + 4 = 7") that hold."""
    if answer.form == "code":
        return None
    truths = equalities(answer.response)
    return sum(truths) / len(truths) if truths else None


def asked_arithmetic(answer: Answer) -> float | None:
    """Whether the answer's number is the value of the one expression in the query."""
    if answer.form not in ("number", ""):
        return None
    value = asked_value(answer.query)
    if value is None:
        return None
    given = final_number(answer.response)
    return float(given is not None and abs(given - value) <= 1e-6 * max(1.0, abs(value)))


def sound_code(answer: Answer) -> float | None:
    """Code parses and gives a result (.5), and reads no name that nothing defines (1)."""
    if answer.form != "code":
        return None
    tree = find_code(answer.response)
    if tree is None or not any(map(gives_result, functions(tree).values())):
        return 0.0
    return 0.5 if undefined_names(tree) else 1.0


def grounded_name(answer: Answer) -> float | None:
    """Whether a question for a name over stated facts is answered by one of their names.

    Asked only of queries that state facts (three sentences, two names). The only name that the
    question itself holds is no answer to it; of several names each gets its share. A bare name
    from the query that does not ask for one scores 0, anything else there is not judged.
    """
    if answer.form not in ("word", ""):
        return None
    known, mentioned = set(names(answer.query)), set(names(answer.response))
    if len(known) < 2 or len(sentences(answer.query)) < 3:
        return None
    if not ASKS_NAME.search(answer.query):
        return 0.0 if mentioned & known and len(words(answer.response)) <= 2 else None
    question = next(s for s in sentences(answer.query) if ASKS_NAME.search(s))
    asked_about = set(names(question))
    hits = mentioned & (known - asked_about if len(asked_about) == 1 else known)
    return 1 / len(hits) if hits else 0.0


def grounded_choice(answer: Answer) -> float | None:
    """Whether a one-word answer is one of the words that the query enumerates (three or more)."""
    choices = set(enumerated(answer.query))
    if answer.form != "word" or len(choices) < 3:
        return None
    hits = choices.intersection(words(answer.response))
    return 1 / len(hits) if hits else 0.0


def fact_of_name(answer: Answer) -> float | None:
    """Whether the name given stands in the stated fact that shares most words with the question.

    Judged only where some fact shares two words with the question, names and common words aside
    ("Who spurns the color plum?").
    """
    told = sentences(answer.query)
    questions = [fact for fact in told if ASKS_NAME.search(fact)]
    if answer.form not in ("word", "") or not questions:
        return None
    own = {name.casefold() for name in names(answer.query)}
    asked = set(words(questions[0])) - COMMON_WORDS - own
    shared = {fact: len(asked.intersection(words(fact))) for fact in told if fact not in questions}
    best = max(shared.values(), default=0)
    if best < 2:
        return None
    right = {n.casefold() for fact, count in shared.items() if count == best for n in names(fact)}
    return float(bool(own) and final_choice(answer.response, own) in right)


def repeated_choice(answer: Answer) -> float | None:
    """Whether the enumerated word given stands in the query twice, where it asks for such a one."""
    choices = set(enumerated(answer.query))
    if answer.form != "word" or not choices or not ASKS_REPEATED.search(answer.query):
        return None
    given = final_choice(answer.response, choices)
    return float(given is not None and words(answer.query).count(given) > 1)


def another_kind(answer: Answer) -> float | None:
    """0 for an answer without a word of the kind asked (number, direction, relation), else None."""
    given = words(answer.response)
    if answer.form == "number":
        numeric = numbers(answer.response) or set(given) & {"zero", *COUNT_WORDS}
        return None if numeric else 0.0
    if answer.form == "word" and not ASKS_NAME.search(answer.query):
        for asks, kind in ASKED_KINDS:
            if asks.search(answer.query):
                return None if kind.intersection(given) else 0.0
    return None


def grounded_items(answer: Answer) -> float | None:
    """Share of a list's items that the query names, each as often as it does there.

    Where the query asks to sort, items that are missing count against the share.
    """
    if answer.form != "list":
        return None
    available = Counter(words(answer.query))
    given = [word for item in list_items(answer.response) for word in words(item)]
    if not ENUMERATION.search(answer.query):
        return None
    if not given:
        return 0.0
    share = sum((Counter(given) & available).values()) / len(given)
    if answer.form_size and ALL_ITEMS.search(answer.query):
        share *= min(1.0, len(given) / answer.form_size)
    return share


def sorted_items(answer: Answer) -> float | None:
    """Share of neighbouring items in the order that a sorting query asks for."""
    if answer.form != "list" or not ASKS_SORTING.search(answer.query):
        return None
    rising, falling = RISING.search(answer.query), FALLING.search(answer.query)
    if rising and falling:  # "from largest to smallest first": the earlier word leads
        rising, falling = (rising, None) if rising.start() < falling.start() else (None, falling)
    if not rising and not falling:
        return None
    values = _comparable(list_items(answer.response))
    if len(values) < 2:
        return 0.0
    pairs = list(itertools.pairwise(values))
    return sum(a <= b if rising else a >= b for a, b in pairs) / len(pairs)


def grounded_date(answer: Answer) -> float | None:
    """Share of a date's year, month and day that stand in a query that holds a year.

    Where the query names a month, the date's must be that.
    """
    found = ISO_DATE.search(answer.response)
    known = set(map(int, re.findall(r"(?<!\d)\d{1,4}(?!\d)", answer.query)))
    if answer.form != "date" or not any(value >= 1000 for value in known):
        return None
    if not found:
        return 0.0
    year, month, day = map(int, found.groups())
    months = set(named_months(answer.query)) or known
    return ((year in known) + (month in months) + (day in known)) / 3


def grounded_record(answer: Answer) -> float | None:
    """Share of a record's words and numbers that the query names."""
    if answer.form != "record":
        return None
    line = next((line for line in answer.response.splitlines() if "|" in line), answer.response)
    given = words(line)
    known = set(words(answer.query))
    return sum(word in known for word in given) / len(given) if given else 0.0


CHECKS: tuple[Callable[[Answer], float | None], ...] = (
    stated_arithmetic,
    asked_arithmetic,
    sound_code,
    another_kind,
    grounded_name,
    fact_of_name,
    grounded_choice,
    repeated_choice,
    grounded_items,
    sorted_items,
    grounded_date,
    grounded_record,
)


def named_months(text: str) -> list[int]:
    """Months named in a text, in full or by three letters or more, 1 to 12, in their order."""
    return [
        number
        for word in words(text)
        for number, month in enumerate(MONTHS.casefold().split("|"), 1)
        if len(word) >= 3 and month.startswith(word)
    ]


def _comparable(items: list[str]) -> list[tuple[float, str]]:
    """Items as numbers where all are numbers, else as folded text."""
    parsed = [numbers(item) for item in items]
    if all(len(found) == 1 for found in parsed):
        return [(found[0], "") for found in parsed]
    return [(0.0, item.casefold()) for item in items]
