"""Train, validation and test splits that share no normalised text."""

from __future__ import annotations

import hashlib
import re
import unicodedata

SPLITS = ("train", "validation", "test")
SPLIT_SHARES = (0.60, 0.15, 0.25)


def normalise(text: str) -> str:
    """Fold case, accents' forms, punctuation and white space, so that near-identical texts meet.

    Examples
    --------
    >>> normalise("Who is  Ann's father?")
    'who is ann s father'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[^\w]+", " ", folded).split())


def assign_split(
    text: str, *, seed: int = 0, shares: tuple[float, float, float] = SPLIT_SHARES
) -> str:
    """Give a text its split by a hash of its normalised form, so that equal texts never part.

    Parameters
    ----------
    text
        The query's text.
    seed
        Another seed gives another, independent assignment.
    shares
        Shares of train, validation and test; they sum to 1.

    Raises
    ------
    ValueError
        If the shares are negative or do not sum to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares={shares} must be non-negative and sum to 1.")
    digest = hashlib.sha256(f"{seed}\x00{normalise(text)}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if position < shares[0] + shares[1] else SPLITS[2]
