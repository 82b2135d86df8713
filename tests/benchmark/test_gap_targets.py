"""From gaps to targets: weak regions weigh most, clusters become tasks, the test split is taboo."""

from __future__ import annotations

import dataclasses

import pytest

from routing_gym.benchmark.gap_targets import targets_of_gaps
from routing_gym.benchmark.gaps import GapReport, GapSettings, find_gaps
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.queries.dataset import tasks_of

CREATIVE = set(tasks_of("creative"))


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return OutcomeTable.load(DEFAULT_TABLE)


@pytest.fixture(scope="module")
def report(table: OutcomeTable) -> GapReport:
    levels = ("domain", "task", "task_complexity", "cluster")
    return find_gaps(table, settings=GapSettings(levels=levels, clusters=14, permutations=99))


def test_the_weakest_task_weighs_most(table: OutcomeTable, report: GapReport) -> None:
    found = targets_of_gaps(report, table, tasks=CREATIVE)
    assert found[0].task == "rhyme"
    assert {target.task for target in found} <= CREATIVE
    assert [t.weight for t in found] == sorted((t.weight for t in found), reverse=True)
    assert len({(t.task, t.complexity) for t in found}) == len(found)
    assert all(target.region for target in found)


def test_a_gain_is_shared_out_by_queries(table: OutcomeTable, report: GapReport) -> None:
    found = targets_of_gaps(report, table, tasks={"rhyme"}, levels=["task"])
    assert {target.complexity for target in found} == {1, 2, 3}
    gap = next(g for g in report.of_kind("pool", level="task") if g.region.task == "rhyme")
    assert sum(target.weight for target in found) == pytest.approx(gap.gain)
    assert {target.region for target in found} == {"creative / rhyme"}


def test_clusters_are_the_tasks_within_them(table: OutcomeTable, report: GapReport) -> None:
    found = targets_of_gaps(report, table, tasks=CREATIVE, levels=["cluster"])
    assert "rhyme" in {target.task for target in found}
    assert all(target.region.startswith("cluster ") for target in found)


def test_without_fine_levels_the_coarser_ones_are_read(
    table: OutcomeTable, report: GapReport
) -> None:
    coarse = tuple(gap for gap in report.gaps if gap.region.level == "domain")
    found = targets_of_gaps(dataclasses.replace(report, gaps=coarse), table, tasks=CREATIVE)
    assert {target.region for target in found} == {"creative"}
    assert {target.task for target in found} == CREATIVE


def test_refusals(table: OutcomeTable, report: GapReport) -> None:
    tested = dataclasses.replace(report, splits=("train", "test"))
    with pytest.raises(ValueError, match="found with the test split, so nothing may be made"):
        targets_of_gaps(tested, table, tasks=CREATIVE)
    other = dataclasses.replace(report, fingerprint="0" * 64)
    with pytest.raises(ValueError, match="the gaps are of another table"):
        targets_of_gaps(other, table, tasks=CREATIVE)
    with pytest.raises(ValueError, match="shows no gap of kind='pool' in dates"):
        targets_of_gaps(dataclasses.replace(report, gaps=()), table, tasks={"dates"})
