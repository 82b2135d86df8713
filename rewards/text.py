"""Reading answers: words, sentences, numbers, names, repeated and copied text."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])")
ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|vs|etc|e\.g|i\.e)\.$")
CLOSING = "\"'”’)]*` "
COMMON_WORDS = frozenset(
    """a an the and but or so if of in on at to for from with by as is are was were be been it its
    he she they we you i his her hers their theirs my our your this that these those there here
    who whom whose what which when where why how do does did can could would should might
    not no yes each every all some any both either neither one two three first second third then
    therefore thus hence because since given find write name list sort answer question response
    let tell give determine calculate compute state sure okay ok also monday tuesday wednesday
    thursday friday saturday sunday january february march april june july august september
    october november december""".split()
)


def words(text: str) -> list[str]:
    """Words and numbers of a text in their order, case-folded."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def sentences(text: str) -> list[str]:
    """Split a text at sentence ends and line breaks; abbreviations such as "Dr." do not end one."""
    pieces: list[str] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        start = len(pieces)
        for piece in SENTENCE_END.split(line):
            if len(pieces) > start and ABBREVIATION.search(pieces[-1]):
                pieces[-1] += " " + piece
            else:
                pieces.append(piece)
    return pieces


def names(text: str) -> list[str]:
    """Capitalised words that are no common words, in their order."""
    found = re.findall(r"\b[A-Z][a-z]+(?:-[A-Z][a-z]+)*\b", text)
    return [name for name in found if name.casefold() not in COMMON_WORDS]


def ends_properly(text: str) -> bool:
    """Tell whether a text ends with sentence punctuation, closing quotes aside."""
    return text.rstrip().rstrip(CLOSING).endswith((".", "!", "?"))


def without_fences(text: str) -> str:
    """Take the lines of code fences out, keeping what stands between them."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("```"))


def distinct_share(items: str | list[str], size: int) -> float:
    """Share of distinct n-grams of a sequence, in (0, 1]; 1 if there are fewer than two."""
    grams = [tuple(items[i : i + size]) for i in range(len(items) - size + 1)]
    return len(set(grams)) / len(grams) if len(grams) > 1 else 1.0


def copied_share(query: str, response: str, *, size: int = 4) -> float:
    """Share of the query's n-grams of words that the response repeats, in [0, 1].

    An answer that shares some words with its query stays near 0, an echo is at 1. A query of
    fewer than ``size`` words is compared as a whole.
    """
    asked, given = words(query), words(response)
    size = min(size, len(asked))
    if not size:
        return 0.0
    asked_grams = [tuple(asked[i : i + size]) for i in range(len(asked) - size + 1)]
    given_grams = {tuple(given[i : i + size]) for i in range(len(given) - size + 1)}
    return sum(gram in given_grams for gram in asked_grams) / len(asked_grams)
