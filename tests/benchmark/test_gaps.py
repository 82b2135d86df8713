from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from routing_gym.benchmark.gaps import (
    KINDS,
    Gap,
    GapReport,
    GapSettings,
    Region,
    find_gaps,
)
from routing_gym.envs.table import OutcomeTable
from tests.benchmark.gap_tables import Part, planted_table, tasks

QUICK = GapSettings(levels=("domain", "task"), permutations=199)
SMALL = GapSettings(levels=("task",), min_queries=2)


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    """Ten tasks: one that nobody can do, one that is overrated, one that is underrated."""
    weak = [
        Part("poor", 60, 0.05),
        Part("overrated", 60, 0.4, score=0.9),
        Part("underrated", 60, 0.9, score=0.3),
    ]
    return planted_table([*tasks(7, queries=60), *weak])


@pytest.fixture(scope="module")
def report(table: OutcomeTable) -> GapReport:
    """The router fails on one task and is right elsewhere."""
    actions = table.scores["accuracy"].argmax(axis=1)
    wrong = table.scores["accuracy"].argmin(axis=1)
    actions = np.where(table.task == "task_3", wrong, actions)
    return find_gaps(table, actions=actions, settings=GapSettings(clusters=10))


def test_planted_gaps_come_first(report: GapReport) -> None:
    assert report.weakest().region.task == "poor"
    assert report.weakest("router").region.task == "task_3"
    worst = report.weakest("evaluator")
    assert (worst.region.task, worst.adapter) == ("underrated", "adapter_0")
    assert worst.observed.value < -0.4
    second = report.of_kind("evaluator", level="task")[1]
    assert (second.region.task, second.observed.value > 0.3) == ("overrated", True)
    for kind in KINDS:
        assert report.weakest(kind).discovered
        cluster = report.weakest(kind, "cluster").region
        assert report.weakest(kind).region.task in cluster.note


def test_only_planted_gaps_are_discovered(report: GapReport) -> None:
    found = {
        kind: {gap.region.task for gap in report.of_kind(kind, level="task", discovered=True)}
        for kind in KINDS
    }
    assert found["router"] == {"task_3"}
    assert found["evaluator"] == {"overrated", "underrated"}
    assert {"poor"} <= found["pool"] <= {"poor", "overrated"}


def test_figures_by_hand(table: OutcomeTable, report: GapReport) -> None:
    read = np.isin(table.split.astype(str), ["train", "validation"])
    rows = read & (table.task == "poor")
    best = table.scores["accuracy"][rows].max(axis=1)
    gap = report.weakest()
    assert gap.queries == rows.sum()
    assert gap.share == pytest.approx(rows.sum() / read.sum())
    assert gap.observed.value == pytest.approx(1 - best.mean())
    assert gap.oracle == pytest.approx(best.mean())
    assert gap.gain == pytest.approx(gap.share * gap.shrunken.value)
    assert gap.gain_interval.value == pytest.approx(gap.gain)
    assert gap.observed.low < gap.observed.value < gap.observed.high
    assert report.overall["oracle"] == pytest.approx(table.scores["accuracy"][read].max(1).mean())
    assert report.queries == read.sum()
    assert sum(g.share for g in report.of_kind("pool", level="task")) == pytest.approx(1)
    assert sum(g.share for g in report.of_kind("evaluator", level="task")) == pytest.approx(1)


def test_ranked_by_gain(report: GapReport) -> None:
    gains = [gap.gain for gap in report.gaps]
    assert gains == sorted(gains, reverse=True)
    assert {gap.region.level for gap in report.gaps} == {
        "domain",
        "task",
        "task_complexity",
        "cluster",
    }


def test_examples_are_of_the_region(table: OutcomeTable, report: GapReport) -> None:
    task_of = dict(zip(table.query_id, table.task, strict=True))
    for kind in KINDS:
        gap = report.weakest(kind)
        assert 1 <= len(gap.examples) <= 3
        assert {task_of[example.query_id] for example in gap.examples} == {gap.region.task}
    failed = report.weakest("router").examples[0]
    assert (failed.truth, failed.best_truth) == (0.0, 1.0)
    assert failed.adapter != failed.best_adapter
    misjudged = report.weakest("evaluator").examples[0]
    assert misjudged.score is not None
    assert misjudged.truth is not None
    assert misjudged.score < misjudged.truth


def test_round_trip(report: GapReport, tmp_path: Path) -> None:
    path = report.save(tmp_path / "gaps")
    assert path.name == "gaps.json"
    assert GapReport.load(tmp_path / "gaps") == report == GapReport.load(path)
    assert isinstance(report.weakest().region, Region)
    with pytest.raises(FileNotFoundError, match="find the gaps first"):
        GapReport.load(tmp_path)
    for text in ("{}", "[]", "no", '{"schema": 99}', '{"schema": 1, "gaps": [{"kind": 1}]}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"is no report of gaps .*find them again"):
            GapReport.load(path)


def false_discoveries(seed: int) -> dict[str, int]:
    """Discoveries in a table whose tasks differ in size alone."""
    rng = np.random.default_rng(seed)
    parts = [
        dataclasses.replace(part, queries=int(rng.integers(8, 60)), right=0.6) for part in tasks(12)
    ]
    table = planted_table(parts, seed=seed)
    actions = rng.integers(3, size=len(table))
    report = find_gaps(table, actions=actions, settings=QUICK)
    return {kind: len(report.of_kind(kind, discovered=True)) for kind in KINDS}


def test_nothing_is_found_where_nothing_is() -> None:
    runs = [false_discoveries(seed) for seed in range(40)]
    for kind in KINDS:
        # 5 % of runs may find something; 7 of 40 or more would be chance once in 300 times.
        assert sum(run[kind] > 0 for run in runs) <= 6, kind


def test_unlucky_few_do_not_outrank_the_truly_poor() -> None:
    table = planted_table([*tasks(8, queries=60), Part("poor", 90, 0.3), Part("unlucky", 6, 0.8)])
    truth = table.scores["accuracy"].copy()
    truth[table.task == "unlucky"] = 0  # by chance alone
    made = dataclasses.replace(table, scores={**table.scores, "accuracy": truth})
    found = find_gaps(made, settings=dataclasses.replace(SMALL, splits=("train", "validation")))
    ranked = found.of_kind("pool", level="task")
    places = [gap.region.task for gap in ranked]
    unlucky = ranked[places.index("unlucky")]
    assert places[0] == "poor"
    assert unlucky.observed.value == 1.0 > ranked[0].observed.value
    assert unlucky.shrunken.value < 1.0
    assert unlucky.shrunken.high - unlucky.shrunken.low > 0.2


def test_small_regions_are_drawn_further() -> None:
    parts = [Part("large", 400, 0.4), Part("small", 12, 0.4), *tasks(8, queries=100)]
    moved: dict[str, list[float]] = {"large": [], "small": []}
    for seed in range(10):
        found = find_gaps(planted_table(parts, seed=seed), settings=SMALL)
        for gap in found.of_kind("pool", level="task"):
            if gap.region.task in moved:
                moved[gap.region.task].append(abs(gap.shrunken.value - gap.observed.value))
    assert np.mean(moved["small"]) > 3 * np.mean(moved["large"])


def test_the_test_split_is_not_read_unless_asked(table: OutcomeTable, report: GapReport) -> None:
    assert report.splits == ("train", "validation")
    assert not report.touches_test
    asked = dataclasses.replace(QUICK, splits=("test",))
    with pytest.warns(UserWarning, match="make no data, no adapter and no choice"):
        seen = find_gaps(table, settings=asked)
    assert seen.touches_test
    assert seen.queries == (table.split == "test").sum()
    assert "the test split was read" in seen.notes[0]
    spoilt = dict(table.scores)
    spoilt["accuracy"] = np.where((table.split == "test")[:, None], 0, spoilt["accuracy"])
    changed = find_gaps(dataclasses.replace(table, scores=spoilt), settings=QUICK)
    assert changed.gaps == find_gaps(table, settings=QUICK).gaps


def test_a_router_is_judged_only_where_it_chose(table: OutcomeTable) -> None:
    validation = table.split == "validation"
    actions = np.where(validation, table.scores["accuracy"].argmax(axis=1), -1)
    found = find_gaps(table, actions=actions, settings=dataclasses.replace(QUICK, min_queries=3))
    assert found.overall["judged_queries"] == validation.sum()
    assert sum(gap.queries for gap in found.of_kind("router", level="domain")) == validation.sum()
    assert max(gap.observed.value for gap in found.of_kind("router")) == 0
    assert all(gap.chosen == gap.oracle for gap in found.of_kind("router"))
    assert all(gap.chosen is None for gap in found.of_kind("pool"))


def test_the_same_twice(table: OutcomeTable) -> None:
    settings = GapSettings(permutations=199)
    assert find_gaps(table, settings=settings) == find_gaps(table, settings=settings)


def test_a_published_table() -> None:
    rng = np.random.default_rng(0)
    lines = [
        {"query_id": f"q{i}", "query": f"words {i} of {i % 3}", "arm": arm, "score": score}
        for i in range(300)
        for arm, score in zip("ab", rng.random(2) * (0.2 if i % 3 == 0 else 1), strict=True)
    ]
    settings = GapSettings(clusters=4, permutations=199)
    plain = OutcomeTable.from_tidy(pd.DataFrame(lines))
    found = find_gaps(plain, settings=settings)
    assert {gap.region.level for gap in found.gaps} == {"cluster"}
    assert set(found.unknown) == {"router", "evaluator"}
    with pytest.raises(ValueError, match=r"no region of level='task' was judged.*cluster"):
        found.weakest()
    with pytest.raises(ValueError, match=r"no gap of kind='router' is known: .*--policy"):
        found.weakest("router")
    named = OutcomeTable.from_tidy(
        pd.DataFrame([line | {"task": f"t{int(line['query_id'][1:]) % 3}"} for line in lines])
    )
    weakest = find_gaps(named, settings=settings).weakest()
    assert weakest.region == Region(task="t0")
    assert weakest.discovered


@pytest.mark.parametrize(
    ("changes", "actions", "match"),
    [
        ({"truth": "belief"}, None, r"truth='belief' is no score of the table \(.*accuracy"),
        ({"evaluator": "vibes"}, None, "evaluator='vibes' is no score of the table: choose"),
        ({"min_queries": 10_000}, None, "no level of .* has two regions of at least"),
        ({"clusters": 99_999}, None, "clusters=99999 is more than the"),
        ({}, np.zeros(3, dtype=int), r"actions is int64 \(3,\), not integers of shape"),
        ({}, np.full(600, 0.5), "give one adapter per query of the table"),
        ({}, np.full(600, 7), r"actions\[0\] = 7 is no position of the 3 adapters"),
    ],
)
def test_what_cannot_be_judged(
    table: OutcomeTable, changes: dict[str, object], actions: np.ndarray | None, match: str
) -> None:
    settings = dataclasses.replace(GapSettings(), **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=match):
        find_gaps(table, actions=actions, settings=settings)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"levels": ("town",)}, "choose among domain"),
        ({"levels": ()}, "choose among domain"),
        ({"splits": ("dev",)}, "choose among train"),
        ({"fdr": 0.0}, "fdr=0.0 must be between 0 and 1"),
        ({"confidence": 1.0}, "confidence=1.0 must be between 0 and 1"),
        ({"method": "luck"}, "method='luck' must be one of bh, by"),
        ({"clusters": 1}, "must be 0"),
        ({"min_queries": 1}, "at least 2, 99 and 0"),
    ],
)
def test_wrong_settings(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        GapSettings(**changes)  # type: ignore[arg-type]


def test_empty_splits_and_unknown_names(table: OutcomeTable, report: GapReport) -> None:
    trained = table.where(split="train")
    with pytest.raises(ValueError, match=r"hold no query of the table: choose among \('train'"):
        find_gaps(trained, settings=dataclasses.replace(QUICK, splits=("validation",)))
    with pytest.raises(ValueError, match="kind='cook' is unknown: choose one of pool"):
        report.of_kind("cook")
    with pytest.raises(ValueError, match="level='town' is unknown: choose one of domain"):
        report.weakest("pool", "town")


def test_labels() -> None:
    assert Region("creative", "rhyme", 2).label == "creative / rhyme / 2"
    assert Region(cluster=7, note="mostly rhyme").label == "cluster 7 (mostly rhyme)"
    assert Region(cluster=7, note="a") == Region(cluster=7, note="b")
    assert Region("creative").level == "domain"
    assert Region().label == "all queries"
    assert Gap.__dataclass_params__.frozen  # type: ignore[attr-defined]
