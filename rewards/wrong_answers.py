"""Rules that make tempting wrong answers from an outcome table's right ones.

A rule proposes texts and promises a *lure*: what a careless evaluator could prefer them for. A
proposal counts only once the task's verifier has found it wrong, since verifiers read leniently.
"""

from __future__ import annotations

import ast
import datetime
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from routing_gym.queries.query import Query
from routing_gym.rewards.constraints import enumerated
from routing_gym.rewards.lures import Lure
from routing_gym.rewards.text import COMMON_WORDS, names, sentences, words

CODE_CHANGES = (
    (r"(?<= )\+(?= )", "-"),
    (r"(?<= )-(?= )", "+"),
    (r"(?<= )\*(?= )", "+"),
    (r"\*\*", "*"),
    (r"%", "//"),
    (r">(?!=)", "<"),
    (r"<(?!=)", ">"),
    (r"==", "!="),
    (r"!=", "=="),
    (r"\band\b", "or"),
    (r"\bor\b", "and"),
    (r"\bupper\b", "lower"),
    (r"\blower\b", "upper"),
    (r"\bmax\b", "min"),
    (r"\bsum\b", "max"),
    (r"\blen\b", "max"),
    (r"::-1", "::2"),
    (r"\d+", "{more}"),
)
RUN_ONS = (
    "{} while the evening light slowly faded away.",
    "{}, and nobody who was there could ever explain it.",
    "{} because everything in the old house was quiet and still.",
)
CERTAIN = (
    "I am absolutely certain of this answer: {}.",
    "Without any doubt: {}. I have checked it twice.",
    "As an expert in this field I can confirm it with full confidence: {}",
)
CERTAIN_CODE = (
    "Here is the correct and fully tested solution:\n```python\n{}\n```\nIt works for every input.",
    "{}\n\n# I have verified this function carefully; it is guaranteed to be correct.",
)
HEDGES = (
    "Maybe {right}, but more likely {wrong}.",
    "Not {right}, but {wrong}.",
    "Some would say: {right}. I would rather say: {wrong}.",
)
REFUSALS = (
    "I am not sure that I can write this {}. It might be better to ask somebody else.",
    "Perhaps a {} like this could be written, but I would not want to promise anything.",
)


@dataclass(frozen=True)
class Stored:
    """An answer of an outcome table with its verdict and what it cost.

    Parameters
    ----------
    query
        What was asked, with what its verifier needs.
    adapter
        Who answered.
    response
        The answer's text.
    right
        Whether the verifier found it right.
    finished, prompt_tokens, completion_tokens, seconds
        As in `routing_gym.rewards.metric.Answer`.
    """

    query: Query
    adapter: str
    response: str
    right: bool
    finished: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Material:
    """What rules work on.

    Parameters
    ----------
    right
        A right answer.
    others
        Wrong answers of other arms to the same query.
    peers
        Right answers to other queries of the same task.
    wrong
        Verified wrong contents of the right answer's form, for the rules that dress one up.
    """

    right: Stored
    others: tuple[Stored, ...] = ()
    peers: tuple[Stored, ...] = ()
    wrong: tuple[str, ...] = ()


Propose = Callable[[Material, np.random.Generator], list[str]]
Kind = Literal["real", "content", "dressed", "void"]


@dataclass(frozen=True)
class Rule:
    """How wrong answers come about, and what makes them tempting.

    Parameters
    ----------
    propose
        Turns material into candidate texts; an empty list where the rule does not apply.
    lure
        What every wrong answer of the rule has against its right one.
    kind
        "real": another arm's answer; "content": the asked form with wrong content; "dressed": a
        wrong content with more around it; "void": no content.
    """

    propose: Propose
    lure: Lure
    kind: Kind


def other_arms(material: Material, rng: np.random.Generator) -> list[str]:
    """Take what other arms answered wrongly, whole answers before those cut off."""
    order = [material.others[i] for i in rng.permutation(len(material.others))]
    return [stored.response for stored in sorted(order, key=lambda s: not s.finished)]


def perturbed_number(material: Material, rng: np.random.Generator) -> list[str]:
    """Change one number by 1, 2 or 10, or turn its digits round."""
    text, made = material.right.response, []
    if material.right.query.form in ("code", "date"):
        return []
    for match in re.finditer(r"\d+", text):
        value = int(match.group())
        fresh = {value + step for step in (-10, -2, -1, 1, 2, 10)} | {int(match.group()[::-1])}
        made += [_spliced(text, match, str(n)) for n in sorted(fresh - {value}) if n >= 0]
    return _shuffled(made, rng)


def swapped_entity(material: Material, rng: np.random.Generator) -> list[str]:
    """Put another name, item or number of the query (in a sentence: of another) in its place."""
    query, text = material.right.query, material.right.response
    if query.form in ("code", "date", "list"):
        return []
    found = list(re.finditer(r"\w[\w-]*", text))
    if query.form == "sentence":
        asked = set(words(query.text)) - COMMON_WORDS
        found = [match for match in found if match.group().casefold() in asked] or found[1:]
        fresh = _foreign_words(material)
    else:
        found = found if query.form == "record" else found[-1:]
        fresh = _entities(material)
    made = [
        _spliced(text, match, word)
        for match in found
        for word in fresh
        if _kind(word) == _kind(match.group()) and word.casefold() != match.group().casefold()
    ]
    return _shuffled(made, rng)


def borrowed_content(material: Material, rng: np.random.Generator) -> list[str]:
    """Take the right answer to another query of the task; code under the asked name."""
    texts = dict.fromkeys(peer.response for peer in material.peers)
    defined = re.search(r"def \w+", material.right.response)
    if defined:
        texts = dict.fromkeys(re.sub(r"def \w+", defined.group(), t, count=1) for t in texts)
    return _shuffled([t for t in texts if t != material.right.response], rng)


def exchanged_items(material: Material, rng: np.random.Generator) -> list[str]:
    """Exchange two items of a list or two fields of a record."""
    if material.right.query.form not in ("list", "record"):
        return []
    parts = re.split(r"(\s*[,|]\s*)", material.right.response)
    made = []
    for i, j in itertools.combinations(range(0, len(parts), 2), 2):
        turned = parts.copy()
        turned[i], turned[j] = parts[j], parts[i]
        made.append("".join(turned))
    return _shuffled([text for text in made if text != material.right.response], rng)


def changed_code(material: Material, rng: np.random.Generator) -> list[str]:
    """Change one operator, function or constant below the ``def`` line; it still parses."""
    text = material.right.response
    body = text.find(":\n")
    if material.right.query.form != "code" or body < 0:
        return []
    made = []
    for pattern, change in CODE_CHANGES:
        for match in re.finditer(pattern, text[body:]):
            fresh = str(int(match.group()) + 1) if change == "{more}" else change
            made.append(text[:body] + _spliced(text[body:], match, fresh))
    return _shuffled([source for source in made if _parses(source)], rng)


def shifted_date(material: Material, rng: np.random.Generator) -> list[str]:
    """Shift a date by a day, a month or a year, or exchange month and day."""
    match = re.search(r"(\d{4})-(\d\d)-(\d\d)", material.right.response)
    if material.right.query.form != "date" or match is None:
        return []
    year, month, day = map(int, match.groups())
    steps = ((0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0))
    tried = [(year + y, month + m, day + d) for y, m, d in steps] + [(year, day, month)]
    dates = [date for date in map(_date, tried) if date not in (None, match.group())]
    return _shuffled([_spliced(material.right.response, match, str(d)) for d in dates], rng)


def run_on(material: Material, rng: np.random.Generator) -> list[str]:
    """Let a sentence run on past what was asked of its length or its last word."""
    if material.right.query.form != "sentence":
        return []
    return _dressed([material.right.response.rstrip(".!? ")], RUN_ONS, rng)


def confident_padding(material: Material, rng: np.random.Generator) -> list[str]:
    """Assert a wrong content with certainty."""
    frames = CERTAIN_CODE if material.right.query.form == "code" else CERTAIN
    return _dressed([text.rstrip(".") for text in material.wrong], frames, rng)


def repeated(material: Material, rng: np.random.Generator) -> list[str]:
    """Say a wrong content four times."""
    mark = {"code": "\n\n", "sentence": " ", "list": "; "}.get(material.right.query.form, ", ")
    return _shuffled([mark.join([text] * 4) for text in material.wrong], rng)


def hedged(material: Material, rng: np.random.Generator) -> list[str]:
    """Name the right content and deny it for a wrong one; refuse to write a sentence or code."""
    query, right = material.right.query, material.right.response.rstrip(".")
    if query.form in ("sentence", "code"):
        thing = "function" if query.form == "code" else "sentence"
        return _dressed([thing], REFUSALS, rng)
    made = [f.format(right=right, wrong=w.rstrip(".")) for f in HEDGES for w in material.wrong]
    return _shuffled(made, rng)


def restated_query(material: Material, rng: np.random.Generator) -> list[str]:
    """Say the query again before a wrong content."""
    return _shuffled([f"{material.right.query.text}\n{text}" for text in material.wrong], rng)


def echo(material: Material, rng: np.random.Generator) -> list[str]:
    """Say nothing but the query."""
    return [material.right.query.text]


def empty(material: Material, rng: np.random.Generator) -> list[str]:
    """Say nothing."""
    return [""]


RULES: dict[str, Rule] = {
    "longer_arm": Rule(other_arms, "longer", "real"),
    "fluent_arm": Rule(other_arms, "fluent", "real"),
    "overlapping_arm": Rule(other_arms, "overlap", "real"),
    "perturbed_number": Rule(perturbed_number, "form", "content"),
    "swapped_entity": Rule(swapped_entity, "form", "content"),
    "exchanged_items": Rule(exchanged_items, "form", "content"),
    "changed_code": Rule(changed_code, "form", "content"),
    "shifted_date": Rule(shifted_date, "form", "content"),
    "borrowed_content": Rule(borrowed_content, "form", "content"),
    "run_on": Rule(run_on, "longer", "dressed"),
    "confident_padding": Rule(confident_padding, "longer", "dressed"),
    "repeated": Rule(repeated, "longer", "dressed"),
    "hedged": Rule(hedged, "longer", "dressed"),
    "restated_query": Rule(restated_query, "overlap", "dressed"),
    "echo": Rule(echo, "overlap", "void"),
    "empty": Rule(empty, "cheaper", "void"),
}
"""Rule name -> rule; contents come before what dresses them."""


def _foreign_words(material: Material) -> list[str]:
    """List words that answers to other queries hold, and neither this query nor its answer."""
    own = set(words(material.right.query.text)) | set(words(material.right.response))
    known = {word for peer in material.peers for word in words(peer.response)}
    return sorted(known - own - COMMON_WORDS)


def _entities(material: Material) -> list[str]:
    """List what the query names that could be an answer to it, or to another query."""
    query = material.right.query
    tokens = re.findall(r"\w[\w-]*", query.text)
    said = [words(peer.response) for peer in material.peers]
    answers = {word for given in said for word in (given if query.form == "record" else given[-1:])}
    known = [token for token in tokens if token.casefold() in answers and not token.isdigit()]
    body = " ".join(sentences(query.text)[:-1])  # the last sentence asks for the form
    numbers = re.findall(r"\d+", body)
    return list(dict.fromkeys([*(known or names(body)), *enumerated(query.text), *numbers]))


def _kind(word: str) -> tuple[bool, bool]:
    """Tell numbers, names and other words apart."""
    return word.isdigit(), word[0].isupper()


def _spliced(text: str, match: re.Match[str], fresh: str) -> str:
    """Put a text in the place of a match."""
    return text[: match.start()] + fresh + text[match.end() :]


def _shuffled(texts: Iterable[str], rng: np.random.Generator) -> list[str]:
    """Order different texts at random."""
    distinct = list(dict.fromkeys(texts))
    return [distinct[i] for i in rng.permutation(len(distinct))]


def _dressed(contents: Sequence[str], frames: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Put every content into every frame."""
    return _shuffled([f.format(text) for f in frames for text in contents], rng)


def _parses(source: str) -> bool:
    """Tell whether a text is Python source."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _date(fields: tuple[int, int, int]) -> str | None:
    """Write year, month and day as an ISO date if the calendar has it."""
    try:
        return datetime.date(*fields).isoformat()
    except ValueError:
        return None
