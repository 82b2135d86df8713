from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.gap_log import find_log_gaps
from routing_gym.benchmark.gap_plots import draw_gaps
from routing_gym.benchmark.gap_report import gap_figures, gap_markdown, gap_table, headline_level
from routing_gym.benchmark.gaps import GapReport, GapSettings, find_gaps
from routing_gym.benchmark.statistics import Interval
from tests.benchmark.gap_tables import Part, planted_table, tasks
from tests.benchmark.off_policy_logs import logged

PARTS = [*tasks(4), Part("po|or", 60, 0.1), Part("overrated", 40, 0.3, score=0.9)]


@pytest.fixture(scope="module")
def report() -> GapReport:
    table = planted_table(PARTS)
    actions = np.zeros(len(table), dtype=int)
    return find_gaps(table, actions=actions, settings=GapSettings(clusters=6), router="always 0.")


def test_figures(report: GapReport) -> None:
    figures = gap_figures(report)
    gap = figures["weakest_pool_gap"]
    assert isinstance(gap, Interval)
    assert gap == report.weakest().shrunken
    assert figures["pool_discovered"] == len(report.of_kind("pool", discovered=True))
    assert figures["queries"] == report.queries
    assert {"weakest_router_gain", "weakest_evaluator_gain", "oracle", "chosen"} <= set(figures)


def test_text(report: GapReport) -> None:
    text = gap_markdown(report)
    for part in (
        "## Where the pool is poor",
        "## Where the router is poor",
        "## Where the self-evaluator is wrong",
        "### By task: 6 regions",
        "**made / overrated**",
        "Chosen by: always 0.\n",
        "false_discovery_control",
        "Stephens 2017",
        "splits train, validation",
    ):
        assert part in text
    assert "adapter_0" in text
    assert "score 0.90, truth 0.00" in text


def test_a_cell_does_not_break_the_table(report: GapReport) -> None:
    lines = gap_table(report.of_kind("pool", level="task")).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_a_report_without_router_or_evaluator() -> None:
    table = planted_table(PARTS)
    scores = {"accuracy": table.scores["accuracy"]}
    metrics = {"accuracy": table.manifest.metrics["accuracy"]}
    manifest = dataclasses.replace(table.manifest, metrics=metrics)
    bare = dataclasses.replace(table, scores=scores, manifest=manifest)
    text = gap_markdown(find_gaps(bare, settings=GapSettings(levels=("task",))))
    assert "Not known: nobody is known to have chosen: give --policy" in text
    assert "Not known: the table holds no self-evaluated score" in text


def test_a_log_is_told_from_a_table() -> None:
    data = planted_table(PARTS).data("train", {"accuracy": 1.0})
    found = find_log_gaps(logged(data), settings=GapSettings(clusters=6))
    text = gap_markdown(found)
    assert "1000 decisions of log" in text
    assert "a lower bound" in text
    assert "doubly robust" in text
    assert "Not known: the log holds one reward per decision" in text
    assert headline_level(found) == "cluster"


def test_the_picture_is_drawn(report: GapReport, tmp_path: Path) -> None:
    draw_gaps(report, tmp_path / "gaps.png")
    assert (tmp_path / "gaps.png").stat().st_size > 20_000
    assert (tmp_path / "gaps.svg").is_file()


@pytest.mark.parametrize(("least", "levels"), [(20, {"domain"}), (40, set())])
def test_a_router_that_was_judged_on_few_queries(
    least: int, levels: set[str], tmp_path: Path
) -> None:
    parts = [Part(name, 100, domain=domain) for name, domain in ("ax", "bx", "cy", "dy")]
    table = planted_table(parts)
    few = np.where(table.split == "validation", 0, -1)  # 15 of each task
    settings = GapSettings(min_queries=least, clusters=4, permutations=99)
    found = find_gaps(table, actions=few, settings=settings)
    assert {gap.region.level for gap in found.of_kind("router")} == levels
    assert ("weakest_router_gap" in gap_figures(found)) is bool(levels)
    reason = found.unknown.get("router", "")
    assert bool(reason) is not bool(levels)
    text = gap_markdown(found)
    assert ("By domain: 2 regions" in text.split("## Where the router")[1]) is bool(levels)
    if not levels:
        assert "min_queries=40 of the 60 queries on which the router is judged" in text
    draw_gaps(found, tmp_path / "gaps.png")
