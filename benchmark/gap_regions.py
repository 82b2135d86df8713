"""Partitions of queries in which gaps are looked for: by domain, task, complexity and embedding.

No partition looks at an outcome, so that no region was chosen for its gap.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.benchmark.gap_records import LEVELS, Level, Region

CANDIDATES = (4, 6, 8, 12, 16, 24, 32, 48)
PER_CLUSTER = 20  # queries that a cluster has on average, at least
SILHOUETTE_SAMPLE = 1500
FIT_SAMPLE = 10_000
TYPICAL_WORDS = 3


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known of N queries besides their outcomes.

    Parameters
    ----------
    domains, tasks
        str (N,), "" where unknown.
    complexity
        int (N,), 0 where unknown.
    texts
        str (N,), "" where unknown.
    observations
        float (N, D), the embeddings; None if there are none.
    """

    domains: np.ndarray
    tasks: np.ndarray
    complexity: np.ndarray
    texts: np.ndarray
    observations: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Group:
    """A region and the numbers of its rows, int (n,)."""

    region: Region
    rows: np.ndarray


def find_groups(
    labels: Labels,
    *,
    levels: Sequence[str] = LEVELS,
    clusters: int = 0,
    min_queries: int = 5,
    seed: int = 0,
) -> tuple[dict[Level, list[Group]], tuple[str, ...]]:
    """Partition queries at every level that is known.

    Parameters
    ----------
    labels
        What is known of the queries.
    levels
        Those of ``LEVELS`` that are wanted.
    clusters
        Number of clusters of the embedding; 0 chooses one, see `choose_clusters`.
    min_queries
        Regions of fewer queries are left out.
    seed
        Of the clusters.

    Returns
    -------
    groups : dict[Level, list[Group]]
        Levels with at least two regions.
    notes : tuple[str, ...]
        What was left out, and why.

    Raises
    ------
    ValueError
        If no level has two regions.
    """
    groups: dict[Level, list[Group]] = {}
    notes: list[str] = []
    for level in [known for known in LEVELS if known in levels]:
        if level == "cluster":
            found, chosen = _clusters(labels, clusters, seed)
            notes += chosen
        else:
            found = _labelled(labels, level)
        kept = [group for group in found if len(group.rows) >= min_queries]
        if len(kept) < len(found) > 1:
            notes.append(
                f"{len(found) - len(kept)} of {len(found)} regions by {level} hold fewer than "
                f"{min_queries} queries and are not judged."
            )
        if len(kept) > 1:
            groups[level] = kept
    if not groups:
        raise ValueError(
            f"no level of {', '.join(levels)} has two regions of at least "
            f"min_queries={min_queries} among {len(labels)} queries: give more queries, a table "
            "that names its tasks, or a smaller min_queries."
        )
    return groups, tuple(notes)


def choose_clusters(observations: np.ndarray, *, seed: int) -> tuple[int, float]:
    """Choose the number of clusters with the largest mean silhouette (Rousseeuw 1987).

    Candidates are ``CANDIDATES`` that leave `PER_CLUSTER` queries per cluster on average; the
    silhouette is taken on at most `SILHOUETTE_SAMPLE` of them.

    Parameters
    ----------
    observations
        float (N, D).
    seed
        Of k-means and of the sample.

    Returns
    -------
    count : int
        0 if there are too few queries, or fewer different ones than clusters.
    silhouette : float
        Of that count, in [-1, 1]; 0 where there is none.
    """
    from sklearn.metrics import silhouette_score

    rows = np.random.default_rng(seed).permutation(len(observations))[:SILHOUETTE_SAMPLE]
    sample = observations[rows]
    scores: dict[int, float] = {}
    for count in [number for number in CANDIDATES if number * PER_CLUSTER <= len(observations)]:
        member = cluster(observations, count, seed=seed)[rows]
        if len(np.unique(member)) > 1:
            scores[count] = float(silhouette_score(sample, member))
    if not scores:
        return 0, 0.0
    best = max(scores, key=lambda count: scores[count])
    return best, scores[best]


def cluster(observations: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Assign rows (N, D) to `count` k-means clusters, int (N,); fitted on `FIT_SAMPLE` at most."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = np.random.default_rng(seed).permutation(len(observations))[:FIT_SAMPLE]
    model = KMeans(n_clusters=count, n_init=2, random_state=seed)
    with warnings.catch_warnings():  # fewer different points than clusters: some stay empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(observations[np.sort(rows)])
    return np.asarray(model.predict(observations), dtype=np.int64)


def _labelled(labels: Labels, level: str) -> list[Group]:
    """Group the queries whose labels of this level are known."""
    same = bool((labels.domains == labels.tasks).all())
    domains = np.full(len(labels), "") if same else labels.domains
    columns: dict[str, list[Any]] = {
        "domain": domains.tolist(),
        "task": labels.tasks.tolist(),
        "complexity": labels.complexity.tolist(),
    }
    names = {
        "domain": ("domain",),
        "task": ("domain", "task"),
        "task_complexity": ("domain", "task", "complexity"),
    }[level]
    members: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(columns[name] for name in names), strict=True)):
        if key[-1] and (level == "domain" or columns["task"][row]):
            members.setdefault(key, []).append(row)
    return [
        Group(Region(**dict(zip(names, key, strict=True))), np.array(rows))
        for key, rows in sorted(members.items())
    ]


def _clusters(labels: Labels, count: int, seed: int) -> tuple[list[Group], list[str]]:
    """Group queries by their embeddings, and say how many clusters there are and why."""
    if labels.observations is None:
        return [], ["No embeddings are known: there are no regions by cluster."]
    points = np.asarray(labels.observations, dtype=np.float32)
    if count:
        note = f"{count} clusters of the embedding, as asked."
        if count > len(points):
            raise ValueError(
                f"clusters={count} is more than the {len(points)} queries: ask for fewer, or for 0 "
                "to have the number chosen."
            )
    else:
        count, silhouette = choose_clusters(points, seed=seed)
        if not count:
            least = CANDIDATES[0] * PER_CLUSTER
            return [], [f"Clusters need {least} different queries; there are {len(points)}."]
        note = (
            f"{count} clusters of the embedding (k-means, seed {seed}): of "
            f"{', '.join(map(str, CANDIDATES))} the number with the largest mean silhouette, "
            f"{silhouette:.2f}."
        )
    member = cluster(points, count, seed=seed)
    rows = [np.flatnonzero(member == number) for number in range(count)]
    words = _typical_words(labels.texts, member)
    groups = [
        Group(Region(cluster=number, note=_note(labels.tasks[own], words.get(number, ""))), own)
        for number, own in enumerate(rows)
        if len(own)
    ]
    return groups, [note]


def _note(tasks: np.ndarray, words: str) -> str:
    """Say what a cluster holds: its commonest tasks, or its typical words."""
    known = Counter(name for name in tasks.tolist() if name)
    if not known:
        return words
    (first, times), *rest = known.most_common(2)
    if times * 2 >= len(tasks) or not rest:
        return f"mostly {first}"
    return f"{first}, {rest[0][0]} and others"


def _typical_words(texts: np.ndarray, member: np.ndarray) -> dict[int, str]:
    """Find the words that tell each cluster from the others, by tf-idf; none without texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(texts.tolist()):
        return {}
    try:
        vectoriser = TfidfVectorizer(stop_words="english", max_features=5000)
        weights = vectoriser.fit_transform(texts.tolist())
    except ValueError:  # texts of stop words or signs only
        return {}
    names, overall = vectoriser.get_feature_names_out(), np.asarray(weights.mean(axis=0)).ravel()
    found = {}
    for number in np.unique(member):
        excess = np.asarray(weights[member == number].mean(axis=0)).ravel() - overall
        found[int(number)] = ", ".join(names[np.argsort(-excess)[:TYPICAL_WORDS]])
    return found
