"""`measure_scaling` from the command line, with measurements that were made before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routing_gym.benchmark.scaling_contest import CollectionRun
from routing_gym.scripts import measure_scaling
from routing_gym.scripts.measure_scaling import main
from tests.synthetic import identity_table


def made(*_: Any, repeats: int, **__: Any) -> list[CollectionRun]:
    """Stand in for the contest: Ray is 1.8 times as fast as one worker."""
    seconds = {"one": 18.0, "local": 9.5, "ray": 10.0}
    return [
        CollectionRun(name, repeat, 90, warm, warm + 5, "same")
        for name, warm in seconds.items()
        for repeat in range(repeats)
    ]


def test_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_scaling, "race", made)
    monkeypatch.setattr(measure_scaling, "idle_runs", made)
    identity_table(60).save(tmp_path / "table")
    argv = ["--table", str(tmp_path / "table"), "--output", str(tmp_path / "scaling")]
    assert main([*argv, "--http", "false", "--progress", "false", "--repeats", "3"]) == 0
    summary = json.loads((tmp_path / "scaling" / "summary.json").read_text())
    assert summary["ray_speedup"] == {"value": 1.8, "low": 1.8, "high": 1.8}
    assert summary["ray_identical"] == summary["local_identical"] == 1.0
    report = (tmp_path / "scaling" / "report.md").read_text()
    assert report.startswith("# Scaling")
    assert "![answers per second](executors.png)" in report
    files = {path.name for path in (tmp_path / "scaling").iterdir()}
    assert files >= {"command.txt", "config.yaml", "executors.png", "report.md", "runs.csv"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--repeats", "0"], "repeats=0: give at least 1"),
        (["--queries", "0"], "queries=0"),
        (["--flush_rows", "-1"], "flush_rows=-1"),
        (["--seed", "-1"], "seed=-1"),
    ],
)
def test_settings_that_are_refused(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main(argv) == 2
    assert message in capsys.readouterr().err
