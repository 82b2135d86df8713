from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.gap_records import Region
from routing_gym.benchmark.gap_regions import Labels, choose_clusters, cluster, find_groups


def labels(count: int = 120, *, blobs: int = 6, named: bool = True) -> Labels:
    """Queries of as many tasks as blobs, each with its own place and word."""
    rng = np.random.default_rng(0)
    blob = np.arange(count) % blobs
    points = 3 * np.eye(blobs, 8)[blob] + rng.normal(scale=0.1, size=(count, 8))
    tasks = np.array([f"t{i}" for i in blob])
    words = np.array([f"please name{i} it {row}" for row, i in enumerate(blob)])
    nothing = np.full(count, "")
    return Labels(
        domains=np.array([f"d{i % 2}" for i in blob]) if named else nothing,
        tasks=tasks if named else nothing,
        complexity=1 + np.arange(count) // 60 if named else np.zeros(count, dtype=int),
        texts=words,
        observations=points,
    )


def test_levels_partition_the_queries() -> None:
    groups, notes = find_groups(labels())
    assert {level: len(members) for level, members in groups.items()} == {
        "domain": 2,
        "task": 6,
        "task_complexity": 12,
        "cluster": 6,
    }
    for members in groups.values():
        rows = np.concatenate([group.rows for group in members])
        assert sorted(rows.tolist()) == list(range(120))
    assert groups["task_complexity"][0].region == Region("d0", "t0", 1)
    assert groups["cluster"][0].region.note.startswith("mostly t")
    assert any("largest mean silhouette" in note for note in notes)


def test_the_number_of_clusters_is_that_of_the_blobs() -> None:
    points = labels(300).observations
    assert points is not None
    count, silhouette = choose_clusters(points, seed=0)
    assert count == 6
    assert silhouette > 0.8
    again = cluster(points, count, seed=0)
    assert (again == cluster(points, count, seed=0)).all()


def test_clusters_without_tasks_are_named_by_words() -> None:
    groups, _ = find_groups(labels(named=False), clusters=6)
    assert set(groups) == {"cluster"}
    notes = {group.region.note.split(", ")[0] for group in groups["cluster"]}
    assert notes == {f"name{i}" for i in range(6)}


def test_small_regions_are_left_out_and_counted() -> None:
    few = labels(63)
    groups, notes = find_groups(few, levels=("task_complexity",), min_queries=4)
    assert len(groups["task_complexity"]) == 6
    assert "3 of 9 regions by task_complexity hold fewer than 4 queries" in notes[0]


def test_a_domain_that_is_the_task_counts_once() -> None:
    known = labels()
    same = Labels(known.tasks, known.tasks, known.complexity, known.texts)
    groups, notes = find_groups(same)
    assert set(groups) == {"task", "task_complexity"}
    assert groups["task"][0].region == Region(task="t0")
    assert "No embeddings are known" in notes[-1]


def test_equal_points_make_no_clusters() -> None:
    known = labels()
    flat = Labels(known.domains, known.tasks, known.complexity, known.texts, np.ones((120, 3)))
    groups, notes = find_groups(flat)
    assert "cluster" not in groups
    assert "Clusters need" in notes[-1]


def test_nothing_to_compare() -> None:
    known = labels(12, named=False)
    with pytest.raises(ValueError, match=r"no level of .* min_queries=5 among 12 queries: give"):
        find_groups(known)
