from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from routing_gym.benchmark import bandit_contest
from routing_gym.benchmark.bandit_entries import competitors
from routing_gym.scripts.measure_speed import main
from tests.synthetic import identity_table


@pytest.fixture
def own_and_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries of ours, so that the test takes seconds, and one that nobody has."""
    entries = {entry.name: entry for entry in competitors()}
    shown = (
        entries["linucb"],
        entries["linucb_16"],
        replace(entries["vw_squarecb"], package="no_such_library"),
    )
    monkeypatch.setattr(bandit_contest, "competitors", lambda: shown)


@pytest.mark.usefixtures("own_and_absent")
def test_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity_table(n=200).save(tmp_path / "table")
    paths = ["--table", str(tmp_path / "table"), "--output", str(tmp_path / "out")]
    paths += ["--contests", "[bandits]", "--runs", str(tmp_path / "runs")]
    assert main([*paths, "--repeats", "3", "--scale", "0.02", "--progress", "false"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "bandits.png",
        "bandits.svg",
        "command.txt",
        "config.yaml",
        "report.md",
        "runs.csv",
        "summary.json",
    ]
    with (tmp_path / "out" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2
    assert {row["contest"] for row in rows} == {"bandits"}
    assert {row["case"] for row in rows} == {"table", "synthetic"}
    assert all(float(row["cpu_seconds"]) > 0 for row in rows)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Not installed, so not measured: no_such_library" in report
    assert "vowpalwabbit" not in (tmp_path / "out" / "command.txt").read_text()
    json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "report:" in capsys.readouterr().out

    kept = {name: (tmp_path / "out" / name).read_bytes() for name in ("runs.csv", "bandits.png")}
    shutil.rmtree(tmp_path / "out")
    assert main([*paths, "--repeats", "3", "--scale", "0.02", "--progress", "false"]) == 0
    assert "bandits: measured before" in capsys.readouterr().out
    assert {name: (tmp_path / "out" / name).read_bytes() for name in kept} == kept


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--contests", "[bandit]"], "did you mean 'bandits'"),
        (["--contests", "[]"], "contests is empty"),
        (["--repeats", "1"], "repeats=1 is too few"),
        (["--scale", "2"], "scale=2.0 is outside"),
    ],
)
def test_bad_settings(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_table_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["--table", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    assert main([*paths, "--contests", "[bandits]"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
