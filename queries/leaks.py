"""Leaks of an evaluation into made data, found by comparing everything with everything.

Nothing of the filter's indices is used: the words by a product of sparse matrices, the meaning by a
product of embeddings made anew, the content by putting a sample's slots into every phrasing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from routing_gym.queries.content import read_slots
from routing_gym.queries.dataset import make_task
from routing_gym.queries.near_duplicates import Encode, Thresholds
from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample
from routing_gym.queries.splits import normalise
from routing_gym.queries.tasks import TASKS

LeakKind = Literal["text", "words", "meaning", "content"]


@dataclass(frozen=True)
class Leak:
    """A sample that is too near to a query of the evaluation.

    Parameters
    ----------
    sample_id, query_id
        The two.
    kind
        ``"text"``: the same text but for case and punctuation; ``"words"``, ``"meaning"``: at or
        above the threshold; ``"content"``: the same question in one of its task's phrasings.
    similarity
        1 for text and content.
    """

    sample_id: str
    query_id: str
    kind: LeakKind
    similarity: float


def leaks(
    samples: Sequence[Sample],
    evaluation: Sequence[Query],
    *,
    thresholds: Thresholds | None = None,
    encode: Encode | None = None,
    content: Literal["held_out", "always", "never"] = "held_out",
) -> list[Leak]:
    """Find every pair of sample and evaluation query that is too near.

    Parameters
    ----------
    samples
        Made data.
    evaluation
        Every query of the outcome table. Of the split ``"train"`` only equal texts are leaks.
    thresholds
        By default `Thresholds()`.
    encode
        Embeds texts; None leaves the meaning out.
    content
        Whether the same question in other words is a leak: for samples that say that contents were
        held out, for all, or for none.

    Returns
    -------
    list of Leak
        Empty if there is none.
    """
    limits = thresholds or Thresholds()
    guarded = [query for query in evaluation if query.split != "train"]
    found = _same_text(samples, evaluation)
    texts, others = [s.query.text for s in samples], [q.text for q in guarded]
    if texts and others:
        alike = jaccard_matrix(texts, others, shingle=limits.shingle)
        found += _above(alike, limits.words, "words", samples, guarded)
        if encode:
            cosines = np.asarray(encode(texts)) @ np.asarray(encode(others)).T
            found += _above(cosines, limits.meaning, "meaning", samples, guarded)
    asked = [s for s in samples if content == "always" or s.provenance.get("content_held_out")]
    return found + (_same_content(asked, guarded) if content != "never" else [])


def jaccard_matrix(texts: Sequence[str], others: Sequence[str], *, shingle: int) -> np.ndarray:
    """Compute all Jaccard similarities of two lists of texts by their word shingles.

    Parameters
    ----------
    texts, others
        N and M texts.
    shingle
        Words per shingle; a shorter text is one shingle.

    Returns
    -------
    ndarray
        float64 (N, M) in [0, 1].
    """
    columns: dict[tuple[str, ...], int] = {}
    left, right = (_incidence(part, shingle, columns) for part in (texts, others))
    width = len(columns)
    left.resize(len(texts), width)
    right.resize(len(others), width)
    shared = (left @ right.T).toarray().astype(np.float64)
    sizes = [np.asarray(part.sum(axis=1), dtype=np.float64).ravel() for part in (left, right)]
    union = sizes[0][:, None] + sizes[1] - shared  # (N, M)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _incidence(
    texts: Sequence[str], shingle: int, columns: dict[tuple[str, ...], int]
) -> sparse.csr_matrix:
    """Mark which shingles stand in which text, int32 (N, shingles); `columns` grows."""
    rows, places = [], []
    for row, text in enumerate(texts):
        words = tuple(normalise(text).split())
        runs = {words[i : i + shingle] for i in range(max(1, len(words) + 1 - shingle))}
        for run in sorted(runs):
            rows.append(row)
            places.append(columns.setdefault(run, len(columns)))
    ones = np.ones(len(rows), dtype=np.int32)
    return sparse.csr_matrix((ones, (rows, places)), shape=(len(texts), len(columns)))


def _above(
    alike: np.ndarray,
    threshold: float,
    kind: LeakKind,
    samples: Sequence[Sample],
    queries: Sequence[Query],
) -> list[Leak]:
    """List the pairs at or above a threshold."""
    pairs = np.argwhere(alike >= threshold)
    return [
        Leak(samples[i].query.query_id, queries[j].query_id, kind, float(alike[i, j]))
        for i, j in pairs
    ]


def _same_text(samples: Sequence[Sample], evaluation: Iterable[Query]) -> list[Leak]:
    """Find samples whose text is one of the evaluation's, whatever its split."""
    known = {normalise(query.text): query.query_id for query in evaluation}
    keys = [(sample, normalise(sample.query.text)) for sample in samples]
    return [Leak(s.query.query_id, known[key], "text", 1.0) for s, key in keys if key in known]


def _same_content(samples: Sequence[Sample], queries: Iterable[Query]) -> list[Leak]:
    """Find samples whose slots, in any phrasing of their task, make an evaluation query's text."""
    known: dict[tuple[str, str], str] = {}
    for query in queries:
        known.setdefault((query.task, _folded(query.text)), query.query_id)
    found = []
    for sample in samples:
        texts = (_folded(text) for text in _every_wording(sample))
        hits = (known.get((sample.query.task, text)) for text in texts)
        if hit := next(filter(None, hits), None):
            found.append(Leak(sample.query.query_id, hit, "content", 1.0))
    return found


def _folded(text: str) -> str:
    """Fold case and white space; signs stay, because "7 - 5" and "7 + 5" are two questions."""
    return " ".join(text.casefold().split())


def _every_wording(sample: Sample) -> Iterable[str]:
    """Put a sample's slots into every phrasing and ending of its task."""
    name = sample.query.task
    if name not in TASKS and ":" not in name:
        return
    task = make_task(name)
    slots: Mapping[str, Any] | None = sample.provenance.get("slots") or read_slots(sample.query)
    for phrasing in task.phrasings if slots else ():
        try:
            body = phrasing.format(**(slots or {}))
        except KeyError:  # slots that were read from a text hold only what its phrasing has
            continue
        yield from (f"{body} {ending}" for ending in task.known_endings)
