"""Lenient reading of answers: what was meant, whatever stands around it.

Small models often wrap a right answer in a sentence, quotes or a code fence. Reading every adapter
through the same lenient functions keeps an adapter's lead one of skill, not of format.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
_MARKER = re.compile(r"\b(?:answer(?:\s+is)?|result(?:\s+is)?|equals|is)\b\s*:?|=|:", re.IGNORECASE)
_FENCE = re.compile(r"```(?:[a-zA-Z]*)\n?(.*?)(?:```|\Z)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")


def numbers(text: str) -> list[float]:
    """Read every number of a text, in order ("1,200" is one number, "3rd" is none)."""
    return [float(match.replace(",", "")) for match in _NUMBER.findall(text)]


def final_number(text: str) -> float | None:
    """Read the number that a text gives as its answer: after the last marker, else the last one.

    Returns
    -------
    float or None
        None if the text holds no number.
    """
    tail = _after_last_marker(text)
    found = numbers(tail) or numbers(text)
    return (found[0] if numbers(tail) else found[-1]) if found else None


def final_choice(text: str, choices: Iterable[str]) -> str | None:
    """Read which of several words or names a text gives as its answer.

    The only one mentioned, else the first after the last marker ("the answer is", ":", ...), else
    the last one mentioned. Longer choices win over those that they contain.
    """
    ordered = sorted(choices, key=len, reverse=True)
    pattern = re.compile(
        r"(?<![\w-])(" + "|".join(re.escape(choice) for choice in ordered) + r")(?![\w-])",
        re.IGNORECASE,
    )
    found = [match.casefold() for match in pattern.findall(text)]
    if not found:
        return None
    if len(set(found)) == 1:
        return found[0]
    tail = pattern.findall(_after_last_marker(text))
    return tail[0].casefold() if tail else found[-1]


def ends_with_numbers(text: str, wanted: Sequence[float]) -> bool:
    """Tell whether the numbers of a text are, or end with, the wanted ones in order."""
    found = numbers(re.sub(r"(?<=\d),(?=\d)", ", ", text))
    return len(wanted) > 0 and found[-len(wanted) :] == [float(value) for value in wanted]


def words(text: str) -> list[str]:
    """Read the words of a text, folded to lower case."""
    return [word.casefold() for word in _WORD.findall(text)]


def sentence(text: str) -> str:
    """Read the first sentence: without fences, quotes, or an introduction that ends in a colon."""
    body = strip_fences(text).strip()
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    while len(lines) > 1 and lines[0].endswith(":"):
        lines.pop(0)
    line = lines[0] if lines else ""
    line = re.sub(r"^[^\"“]*:\s*(?=[\"“])", "", line).strip("\"'“”*` ")
    return re.split(r"(?<=[.!?])[\"”']?\s+", line, maxsplit=1)[0].strip("\"'“”*` ")


def strip_fences(text: str) -> str:
    """Return what stands inside the first code fence, or the text itself."""
    match = _FENCE.search(text)
    return match.group(1) if match else text


def python_code(text: str) -> str:
    """Read the Python function of a response: fenced, or from its ``def`` on, as far as it parses.

    Returns
    -------
    str
        Source that parses, or "" if there is none.
    """
    body = strip_fences(text)
    start = re.search(r"^[ \t]*(?:def |\w+\s*=\s*lambda\b)", body, re.MULTILINE)
    if start is None:
        return ""
    lines = body[start.start() :].splitlines()
    for end in range(len(lines), 0, -1):
        source = "\n".join(lines[:end]).strip("\n")
        if _parses(source):
            return source
    return ""


def _parses(source: str) -> bool:
    """Tell whether a text is Python source."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _after_last_marker(text: str) -> str:
    """Return what follows the last "the answer is", ":" or "=" that something follows, or ""."""
    ends = [match.end() for match in _MARKER.finditer(text)]
    for end in reversed(ends):
        if text[end:].strip(" .\n\"'*"):
            return text[end:]
    return ""
