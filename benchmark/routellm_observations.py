"""What routers see of RouteLLM's queries: embeddings, and the task as guessed from the text."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve

from routing_gym.adapters.embedding import JOINT, QueryEncoder, make_encoder

FOLDS = 5
PENALTY = 1e-3  # per query, of the regression that guesses tasks
SHARPNESS = (2, 4, 8, 12, 16, 24, 32)  # by which its outputs are multiplied to be log-odds


class Observations:
    """Embeddings of a table's texts under several encoders, computed once for each.

    Parameters
    ----------
    texts
        (N,) texts.
    cache
        Folder for the sentence encoders' embeddings; None keeps nothing.
    """

    def __init__(self, texts: np.ndarray, *, cache: str | None = None) -> None:
        self._texts, self._cache = [str(text) for text in texts], cache
        self._fixed: dict[str, np.ndarray] = {}
        self._fitted: dict[str, np.ndarray] = {}

    def start(self, train: np.ndarray) -> None:
        """Begin a seed: encoders that learn will learn from the texts of these rows, bool (N,)."""
        self._fitted, self._train = {}, [self._texts[row] for row in np.flatnonzero(train)]

    def of(self, name: str) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return float32 (N, D) under an encoder and the widths of its joined parts."""
        blocks = [self._part(part) for part in name.split(JOINT)]
        return np.concatenate(blocks, axis=1), tuple(block.shape[1] for block in blocks)

    def _part(self, name: str) -> np.ndarray:
        """Embed by one encoder; embeddings that do not depend on the seed are kept."""
        for known in (self._fixed, self._fitted):
            if name in known:
                return known[name]
        encoder: QueryEncoder = make_encoder(name, cache=self._cache)
        before = encoder.name
        encoder.fit(self._train)
        kept = self._fixed if encoder.name == before else self._fitted
        kept[name] = encoder.encode(self._texts)
        return kept[name]


def guessed_tasks(
    vectors: np.ndarray,
    tasks: np.ndarray,
    *,
    known: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    r"""Guess every query's task from its text, by the tasks of some queries.

    Ridge regression of the tasks' indicators, made probabilities by a softmax whose sharpness is
    that of the highest likelihood on the known queries. Known queries are guessed by a regression
    on the other four fifths of them, so that a router that learns from the guesses meets the same
    errors later.

    Parameters
    ----------
    vectors
        float (N, D), the queries' embeddings.
    tasks
        str (N,); those of queries that are not known are not read.
    known
        bool (N,), the queries to learn from.
    groups
        int (N,), queries of one group are guessed together.
    rng
        Assigns groups to fifths.

    Returns
    -------
    np.ndarray
        float32 (N, T), for each of the T known tasks its probability.
    """
    names, index = np.unique(tasks[known], return_inverse=True)
    shares = np.bincount(index) / len(index)
    labels = np.eye(len(names))[index] - shares
    x = vectors - vectors[known].mean(axis=0, dtype=np.float64)
    fold = rng.integers(FOLDS, size=int(groups.max()) + 1)[groups]
    parts = [known & (fold == number) for number in range(FOLDS)]
    grams = [x[rows].T @ x[rows] for rows in parts]
    moments = [x[rows].T @ labels[rows[known]] for rows in parts]
    gram, moment = np.sum(grams, axis=0), np.sum(moments, axis=0)
    penalty = PENALTY * known.sum() * np.eye(x.shape[1])
    guesses = x @ solve(gram + penalty, moment, assume_a="pos")
    for rows, own_gram, own_moment in zip(parts, grams, moments, strict=True):
        weights = solve(gram - own_gram + penalty, moment - own_moment, assume_a="pos")
        guesses[rows] = x[rows] @ weights
    guesses += shares
    likelihoods = [
        _log_softmax(sharpness * guesses[known])[np.arange(len(index)), index].mean()
        for sharpness in SHARPNESS
    ]
    return np.exp(_log_softmax(SHARPNESS[int(np.argmax(likelihoods))] * guesses)).astype(np.float32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits (N, T) into log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
