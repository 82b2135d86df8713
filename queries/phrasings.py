"""Other words for a phrasing, by rule: the slots stay, provably, and so does what is asked."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

import numpy as np

from routing_gym.queries.task import pick

LEADS: tuple[str, ...] = (
    "Please help me with this.",
    "Here is a small task.",
    "I have a question.",
    "A quick one:",
    "Hello!",
    "Could you help?",
    "For a game with friends:",
    "My homework says:",
    "Next question.",
    "One more, please.",
    "I am stuck on this.",
    "Here is what I need.",
    "Something for you:",
    "Let us try this.",
    "A friend asked me this.",
    "From my notebook:",
)
"""What may stand before a question without changing it."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "Write": ("Compose", "Put down", "Come up with"),
    "Make up": ("Invent", "Think up"),
    "Make": ("Create", "Produce", "Come up with"),
    "Give me": ("Offer me", "Hand me", "I want"),
    "Create": ("Make", "Produce"),
    "Compose": ("Write", "Come up with"),
    "Invent": ("Make up", "Think up"),
    "Find": ("Work out", "Determine"),
    "I need": ("I would like", "I am looking for"),
    "I wrote": ("I have written", "I just wrote"),
    "Name": ("State", "Tell me"),
    "Tell me": ("Let me know", "Say"),
    "Compute": ("Calculate", "Determine"),
    "Work out": ("Figure out", "Calculate"),
    "Please calculate": ("Kindly calculate", "Please work out"),
    "Evaluate": ("Calculate", "Work out"),
    "Continue": ("Carry on", "Go on with"),
    "Predict": ("Guess", "Tell me"),
    "Look for": ("Search for", "Find"),
    "Sing": ("Hum", "Perform"),
    "Finish": ("Complete",),
    "Implement": ("Program", "Write"),
    "Define": ("Write", "Set up"),
    "Sort": ("Order",),
    "Put": ("Bring",),
    "Arrange": ("Order", "Line up"),
    "Convert": ("Rewrite", "Change"),
    "Read this": ("Look at this", "Consider this"),
    "Spot": ("Find", "Point out"),
    "that ends with": ("that finishes with", "that closes with"),
    "whose last word": ("whose final word", "in which the last word"),
    "that all start with": ("that all begin with", "which all start with"),
    "must begin with": ("must start with", "has to begin with"),
    "that begin with": ("that start with",),
    "beginning with": ("starting with", "that begin with"),
    "starting with": ("beginning with", "that start with"),
    "that start with": ("that begin with", "starting with"),
    "could follow": ("may follow", "might come after"),
    "so that it rhymes": ("so that the two rhyme", "in rhyme"),
    "in the end": ("at the end", "finally"),
    "comes next": ("follows",),
    "the next number": ("the number that follows",),
    "all occur": ("all appear", "all come up"),
    "that contains": ("that includes", "which contains"),
    "that mentions": ("which mentions", "that names"),
}
"""Words of a phrasing -> words that ask the same in their place."""

_PHRASES = re.compile(rf"\b(?:{'|'.join(sorted(SYNONYMS, key=len, reverse=True))})\b")


@dataclass(frozen=True)
class Wording:
    """A phrasing and what was done to it.

    Parameters
    ----------
    phrasing
        Format string with the slots of the original.
    changes
        What was put in, in the order of the rules; empty for the original.
    """

    phrasing: str
    changes: tuple[str, ...] = ()


def vary(phrasing: str, rng: np.random.Generator, *, lead: float = 0.5) -> Wording:
    """Change the words between a phrasing's slots by rule.

    Parameters
    ----------
    phrasing
        Format string.
    rng
        The only source of chance.
    lead
        Probability of a lead; each phrase of `SYNONYMS` is replaced with probability 0.7.

    Returns
    -------
    Wording
        Always changed by something: by a lead where no phrase was replaced.

    Raises
    ------
    ValueError
        If a rule touched a slot, which would be a mistake in the rules.
    """
    changes: list[str] = []

    def other_words(found: re.Match[str]) -> str:
        if rng.random() >= 0.7:
            return found.group()
        changes.append(f"{found.group()} -> {(new := pick(rng, SYNONYMS[found.group()]))}")
        return str(new)

    varied = "".join(
        _PHRASES.sub(other_words, literal).replace("{", "{{").replace("}", "}}")
        + ("" if slot is None else f"{{{slot}}}")
        for literal, slot, _, _ in string.Formatter().parse(phrasing)
    )
    if not changes or rng.random() < lead:
        front = pick(rng, LEADS)
        varied = f"{front} {varied}"
        changes.append(front)
    if slots_of(varied) != slots_of(phrasing):
        raise ValueError(
            f"the rules {changes} turned the slots of {phrasing!r} into {slots_of(varied)}: "
            "take braces out of LEADS and SYNONYMS."
        )
    return Wording(varied, tuple(changes))


def slots_of(phrasing: str) -> tuple[str, ...]:
    """List a format string's slots as they follow each other."""
    parsed = string.Formatter().parse(phrasing)
    return tuple(slot for _, slot, _, _ in parsed if slot is not None)
