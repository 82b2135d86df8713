from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from routing_gym.benchmark import speed_parts
from routing_gym.benchmark.speed import ContestResult, ContestSettings, SpeedRow
from routing_gym.benchmark.speed_parts import RECORD, contest_key, read_contest, save_contest
from routing_gym.benchmark.statistics import Interval

SETTINGS = ContestSettings(table=Path("table"))


def found() -> ContestResult:
    def draw(path: Path) -> None:
        path.write_text("pixels")
        path.with_suffix(".svg").write_text("lines")

    row = SpeedRow("c", "case", "own", 0, "rounds", 7, 0.5, 0.6)
    return ContestResult(
        rows=(row, replace(row, repeat=1, quality=0.25, settings="alpha=1")),
        figures={"ratio": Interval(2.0, 1.5, 2.5), "plain": 3.0},
        section="## Contest",
        plots={"contest.png": draw},
        versions=("peer: 1.0",),
    )


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    save_contest(found(), tmp_path / "part", key="k")
    read = read_contest(tmp_path / "part", key="k")
    assert read is not None
    assert math.isnan(read.rows[0].quality)
    assert read.rows[1] == found().rows[1]
    assert (read.figures, read.section, read.versions) == (
        found().figures,
        found().section,
        found().versions,
    )
    read.plots["contest.png"](tmp_path / "contest.png")
    assert (tmp_path / "contest.png").read_text() == "pixels"
    assert (tmp_path / "contest.svg").read_text() == "lines"


def test_another_key_a_broken_record_and_nothing_are_measured_anew(tmp_path: Path) -> None:
    assert read_contest(tmp_path / "part", key="k") is None
    save_contest(found(), tmp_path / "part", key="k")
    assert read_contest(tmp_path / "part", key="other") is None
    record = tmp_path / "part" / RECORD
    record.write_text(record.read_text()[:-20])
    assert read_contest(tmp_path / "part", key="k") is None


def test_the_key_follows_settings_table_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    key = contest_key(SETTINGS, table_hash="t")
    assert key == contest_key(replace(SETTINGS, progress=False), table_hash="t")
    assert key == contest_key(replace(SETTINGS, table=Path("elsewhere")), table_hash="t")
    others = [
        contest_key(replace(SETTINGS, repeats=5), table_hash="t"),
        contest_key(SETTINGS, table_hash="u"),
    ]
    monkeypatch.setattr(speed_parts, "source_hash", lambda *folders: "changed")
    others.append(contest_key(SETTINGS, table_hash="t"))
    assert key not in others
    assert len(set(others)) == 3
