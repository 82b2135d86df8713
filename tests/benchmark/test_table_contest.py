from __future__ import annotations

import json
import mmap
from pathlib import Path

import numpy as np
import pytest

from routing_gym.benchmark.contest_plots import step_rates, table_costs
from routing_gym.benchmark.speed import ContestSettings, SpeedRow
from routing_gym.benchmark.statistics import Interval
from routing_gym.benchmark.table_contest import (
    LOADED,
    MAPPED,
    Opened,
    scaled,
    table_figures,
    table_section,
    train_on,
    write,
)
from routing_gym.benchmark.table_probe import PeakMemory, main, memory, open_and_step, probe
from routing_gym.envs.mapped import open_mapped
from routing_gym.envs.table import OutcomeTable


def test_the_scale_cuts_the_largest() -> None:
    assert scaled(MAPPED, 1.0) == list(MAPPED)
    assert scaled(MAPPED, 0.01) == [1_000, 10_000, 100_000]
    assert scaled(LOADED, 0.0001) == [1_000]


def test_both_kinds_are_written_and_opened(tmp_path: Path) -> None:
    write("load", 100, tmp_path / "table", seed=0)
    write("mapped", 100, tmp_path / "split", seed=0)
    table, split = OutcomeTable.load(tmp_path / "table"), open_mapped(tmp_path / "split")
    assert len(table) == len(split) == 100
    np.testing.assert_array_equal(split.rewards, table.scores["quality"])
    for kind, name in (("load", "table"), ("mapped", "split")):
        found = open_and_step(kind, tmp_path / name)
        assert found["queries"] == 100
        assert 0 < found["wall_seconds"] < 10
        assert not found["stepped"] < found["stepped_anonymous"]  # nan where nobody tells


def test_the_probe_is_another_process(tmp_path: Path) -> None:
    write("mapped", 200, tmp_path / "split", seed=0)
    found = probe("mapped", tmp_path / "split")
    assert found["queries"] == 200
    with pytest.raises(RuntimeError, match=r"(?s)the probe of .* failed: .*does not exist"):
        probe("mapped", tmp_path / "none")


def test_the_program_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("mapped", 50, tmp_path / "split", seed=0)
    assert main([json.dumps({"kind": "mapped", "folder": str(tmp_path / "split")})]) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 50


def test_peaks_of_memory_are_seen() -> None:
    if np.isnan(memory()["anonymous"]):
        pytest.skip("the system does not tell how much memory a process uses")
    before = memory()["anonymous"]
    with PeakMemory() as peak:
        block = mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # fresh pages
        np.frombuffer(block, dtype=np.uint8).max()
        block.write(bytes(2**26))
        seen = memory()["anonymous"]
    assert peak.found["anonymous"] >= before
    assert seen - before > 50


@pytest.mark.slow
def test_ppo_trains_on_a_mapped_split(tmp_path: Path) -> None:
    write("mapped", 3_000, tmp_path / "split", seed=0)
    settings = ContestSettings(table=tmp_path, repeats=3, scale=0.1, progress=False)
    found = train_on(tmp_path / "split", tmp_path / "validation", settings=settings)
    assert found["steps"] == 12_288
    assert found["gap"] > 0.5
    assert not found["resident"] < found["anonymous"]


def opened(kind: str, queries: int, repeat: int, seconds: float) -> Opened:
    names = ("before", "opened", "stepped", "stepped_anonymous")
    found = {name: 100.0 + index for index, name in enumerate(names)}
    return Opened(kind, queries, 10**6, repeat, {**found, "wall_seconds": seconds})


def test_figures_are_named_after_the_largest() -> None:
    every = [
        opened(kind, queries, repeat, queries * 1e-8 * (1 + repeat))
        for kind, sizes in (("load", (1_000, 100_000)), ("mapped", (1_000, 10_000_000)))
        for queries in sizes
        for repeat in range(3)
    ]
    training = {
        "resident": 900.0,
        "anonymous": 400.0,
        "gap": 0.97,
        "steps": 122_880.0,
        "wall_seconds": 9.0,
    }
    figures = table_figures(every, training)
    assert figures["table_open_seconds_1e7"].value == pytest.approx(0.2)
    assert figures["table_load_seconds_1e5"].value == pytest.approx(0.002)
    assert figures["table_train_mb_1e7"] == 900.0
    assert figures["table_train_anonymous_mb_1e7"] == 400.0
    text = table_section(every, training, figures)
    assert "10,000,000" in text
    assert "97.0%" in text


def test_plots_are_drawn(tmp_path: Path) -> None:
    interval = Interval(0.1, 0.05, 0.2)
    table_costs(
        {"load": {1000: interval, 10_000: interval}, "mapped": {1000: interval}},
        {"resident": {1000: 100.0, 10_000: 200.0}},
        path=tmp_path / "tables.png",
    )
    rows = [
        SpeedRow("environments", case, name, repeat, "steps", 100, seconds, seconds)
        for case, name, seconds in (
            ("table", "fast", 0.1),
            ("table", "slow", 1.0),
            ("queries: 1000", "fast", 0.1),
            ("queries: 10000", "fast", 0.2),
        )
        for repeat in range(3)
    ]
    step_rates(
        rows,
        path=tmp_path / "environments.png",
        labels={"fast": "ours", "slow": "theirs"},
        own=["fast"],
        cases=("table",),
        cost="queries: ",
    )
    for name in ("tables", "environments"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert (tmp_path / f"{name}.svg").exists()
