"""RouteLLM's published tables: two models, and halves of the queries that share no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.splits import normalise

VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Pair:
    """Two models' scores on the queries of one published table.

    Parameters
    ----------
    name
        What the table is called in the report.
    texts, tasks
        str arrays (N,).
    groups
        int (N,), equal for texts that are equal when normalised; they are never parted.
    scores
        float64 (N, 2): the weak and the strong model's, on the publisher's scale.
    models
        The weak and the strong model's name.
    fingerprint
        The table's.
    """

    name: str
    texts: np.ndarray
    tasks: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    models: tuple[str, str]
    fingerprint: str


@dataclass(frozen=True)
class Halves:
    """Which queries train and which judge.

    Parameters
    ----------
    train
        bool (N,), True for the training half; the others are the test half.
    validation
        bool (N,), the part of the training half that chooses settings.
    """

    train: np.ndarray
    validation: np.ndarray

    @property
    def inner(self) -> np.ndarray:
        """Bool (N,), what is left of the training half beside validation."""
        return self.train & ~self.validation

    @property
    def test(self) -> np.ndarray:
        """Bool (N,), the half that judges."""
        return ~self.train


def as_pair(table: OutcomeTable, name: str) -> Pair:
    """Read a table of two models; the weak one has the lower mean.

    Raises
    ------
    ValueError
        If the table has other than two models, or they do not differ.
    """
    accuracy = table.scores["accuracy"].astype(np.float64)
    if accuracy.shape[1] != 2:
        raise ValueError(
            f"table {name!r} has the arms {table.adapters}: PGR is of two models, so keep two."
        )
    low, high = table.manifest.generation.get("score_range", (0.0, 1.0))
    order = np.argsort(accuracy.mean(axis=0), kind="stable")
    scores = low + accuracy[:, order] * (high - low)
    if np.ptp(scores.mean(axis=0)) < 1e-12:
        raise ValueError(
            f"the models of table {name!r} are equally good: nothing can be recovered."
        )
    return Pair(
        name=name,
        texts=table.text,
        tasks=table.task.astype(np.str_),
        groups=np.unique([normalise(t) for t in table.text], return_inverse=True)[1],
        scores=scores,
        models=(table.adapters[order[0]], table.adapters[order[1]]),
        fingerprint=table.fingerprint,
    )


def halves(groups: np.ndarray, rng: np.random.Generator) -> Halves:
    """Draw half of the groups to train, and a fifth of those to choose settings.

    Parameters
    ----------
    groups
        int (N,), see `Pair`.
    rng
        Source of the draw.
    """
    train = part(groups, np.ones(len(groups), dtype=np.bool_), 0.5, rng)
    return Halves(train, part(groups, train, VALIDATION_SHARE, rng))


def leaks(pair: Pair, seeds: Sequence[int]) -> int:
    """Count the texts that stand on both sides of a draw, over the draws of all seeds.

    Parameters
    ----------
    pair
        The table.
    seeds
        Seeds of the halves.

    Returns
    -------
    int
        Texts, equal when normalised, of the training half that are in the test half too, and those
        of the validation part that are in the rest of the training half.
    """
    found = 0
    for seed in seeds:
        sides = halves(pair.groups, np.random.default_rng(seed))
        found += shared_texts(pair.texts, sides.train, sides.test)
        found += shared_texts(pair.texts, sides.inner, sides.validation)
    return found


def part(
    groups: np.ndarray, rows: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw a share of the groups among some rows.

    Parameters
    ----------
    groups
        int (N,), see `Pair`.
    rows
        bool (N,), the rows to draw from.
    share
        Share of the groups to draw, in (0, 1).
    rng
        Source of the draw.

    Returns
    -------
    np.ndarray
        bool (N,), True for the drawn rows; a group is drawn whole or not at all.
    """
    known = np.unique(groups[rows])
    drawn = rng.permutation(known)[: round(share * len(known))]
    return rows & np.isin(groups, drawn)


def shared_texts(texts: np.ndarray, left: np.ndarray, right: np.ndarray) -> int:
    """Count the texts that stand on both sides, equal when normalised; groups are not asked.

    Parameters
    ----------
    texts
        (N,) texts.
    left, right
        bool (N,), the rows of the two sides.
    """
    sides = [{normalise(str(text)) for text in texts[rows]} for rows in (left, right)]
    return len(sides[0] & sides[1])
