"""Whether what a query asks about was in the training data, whatever its phrasing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from routing_gym.queries.content import read_slots
from routing_gym.queries.query import Query
from routing_gym.queries.splits import normalise


def seen_content(queries: Sequence[Query], texts: Iterable[str]) -> np.ndarray:
    """Tell for each query whether its content stands in the training data.

    The content of a query are the words of its slots: the names, numbers and words that were drawn
    for it (of a text that its task did not phrase, all words). It was seen if they all stand in one
    training text. What the adapter saw before this training is not known here.

    Parameters
    ----------
    queries
        N queries.
    texts
        Training queries' texts.

    Returns
    -------
    np.ndarray
        bool (N,).
    """
    trained = [frozenset(normalise(text).split()) for text in texts]
    contents = [content_words(query) for query in queries]
    known = {words: any(words <= text for text in trained) for words in set(contents)}
    return np.array([known[words] for words in contents], dtype=np.bool_)


def content_words(query: Query) -> frozenset[str]:
    """Return the words that were drawn for a query."""
    slots = read_slots(query)
    values = [query.text] if slots is None else slots.values()
    return frozenset(word for value in values for word in normalise(str(value)).split())
