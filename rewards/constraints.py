"""What a query demands in so many words: keywords, first and last words, letters, a count."""

from __future__ import annotations

import re

from routing_gym.rewards.text import COMMON_WORDS, words

COUNT_WORDS = dict(
    zip(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split(),
        range(1, 21),
        strict=True,
    )
)
ITEM = r"[\"'“‘`]?\b[a-z]{2,24}\b[\"'”’`]?"
ENUMERATION = re.compile(rf"{ITEM}(?:\s?,\s?{ITEM})+(?:\s?,?\s(?:and|or)\s{ITEM})?")
LISTED_PAIR = re.compile(rf"\bwords?:?\s({ITEM}\sand\s{ITEM})")
QUOTED = re.compile(r"[\"'“‘`]([a-z]{2,24})[\"'”’`](?!\w)")
FIRST_WORD = re.compile(
    r"\b(?:start|begin|open)(?:s|ing)?\s(?:with|on)\s([A-Za-z]{2,})\b|\bfirst word is\s(\w+)", re.I
)
LAST_WORD = re.compile(
    r"\b(?:end|finish|close)(?:s|es|ing)?\s(?:with|on)\s([A-Za-z]{2,})\b"
    r"|\b(?:last|final) word is\s(\w+)",
    re.I,
)
WORD_COUNT = re.compile(
    r"(?<!these )(?<!following )(?<!the )(?<!keywords )\b(\d+|"
    + "|".join(COUNT_WORDS)
    + r")[\s-]+words?\b(?!\s*:)(?!\s+(?:below|above|given))"
)
FIRST_LETTER = re.compile(
    r"\b(?:start|begin)\w*\s+with\s+(?:the\s+)?(?:same\s+)?(?:letter\s+)?"
    r"[\"'“‘`]?([A-Za-z])[\"'”’`]?(?!\w)"
    r"|\bletter\s+[\"'“‘`]?([A-Za-z])[\"'”’`]?(?!\w)"
)


def enumerated(query: str) -> list[str]:
    """Lower-case words of the longest enumeration in a query ("river, moon and clock")."""
    found: list[list[str]] = []
    for match in ENUMERATION.finditer(query):
        items = [word for word in words(match.group()) if word not in COMMON_WORDS]
        if len(items) > 1:
            found.append(items)
    return max(found, key=len, default=[])


def asked_keywords(query: str) -> list[str]:
    """Words that a query lists for use in the answer, in their order; empty if it lists none."""
    pair = LISTED_PAIR.search(query)
    listed = enumerated(query) or ([w for w in words(pair.group(1)) if w != "and"] if pair else [])
    return listed or list(dict.fromkeys(QUOTED.findall(query)))


def asked_ends(query: str) -> tuple[str, str]:
    """First and last word that a query demands of a sentence, lower case; "" where it does not.

    A query about rhymes names the end of another line, so it demands none.
    """
    if re.search("rhym|couplet", query, re.I):
        return "", ""
    first, last = FIRST_WORD.search(query), LAST_WORD.search(query)
    return _word(first), _word(last)


def asked_word_count(query: str) -> int:
    """Exact number of words that a query asks for ("in eight words"), 0 if it asks for none."""
    found = WORD_COUNT.search(query.casefold())
    if found is None:
        return 0
    text = found.group(1)
    return int(text) if text.isdigit() else COUNT_WORDS[text]


def asked_first_letter(query: str) -> str:
    """Letter with which words are to start, lower case; "" if none is asked."""
    found = FIRST_LETTER.search(query)
    return next(group for group in found.groups() if group).casefold() if found else ""


def _word(found: re.Match[str] | None) -> str:
    """Word that a pattern caught in one of its groups, "" for none or a common word."""
    word = next(filter(None, found.groups())).casefold() if found else ""
    return "" if word in COMMON_WORDS else word


def ends_share(ends: tuple[str, str], response: str) -> float:
    """Share of the demanded first and last words that stand in their places."""
    given = words(response) or [""]
    hits = [given[place] == word for place, word in zip((0, -1), ends, strict=True) if word]
    return sum(hits) / len(hits) if hits else 1.0


def keyword_share(keywords: list[str], response: str) -> float:
    """Share of the keywords that occur as whole words; plain endings count ("rivers")."""
    given = set(words(response))
    hits = sum(
        any(keyword + ending in given for ending in ("", "s", "es", "ed", "d", "ing"))
        for keyword in keywords
    )
    return hits / len(keywords)


def first_letter_share(letter: str, response: str) -> float:
    """Share of words that start with a letter, 0 for an empty response."""
    given = words(response)
    return sum(word.startswith(letter) for word in given) / len(given) if given else 0.0
