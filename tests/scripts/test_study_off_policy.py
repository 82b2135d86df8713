from __future__ import annotations

import json
from pathlib import Path

import pytest

from routing_gym.scripts.study_off_policy import main
from tests.synthetic import identity_table


def test_the_study_runs_and_writes_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity_table(n=200).save(tmp_path / "table")
    paths = ["--table", str(tmp_path / "table"), "--output", str(tmp_path / "out")]
    small = ["--sizes", "[400]", "--replications", "200", "--resamples", "100", "--clusters", "4"]
    more = ["--bootstrap_sizes", "[400]", "--ridge_replications", "0", "--progress", "false"]
    assert main([*paths, *small, *more]) == 0
    figures = json.loads((tmp_path / "out" / "summary.json").read_text())
    for name in ("snips_rmse_over_bound", "dr_rmse_over_bound", "coverage_min", "coverage_max"):
        assert name in figures
    assert 0.8 < figures["snips_rmse_over_bound"] < 1.3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "command.txt",
        "config.yaml",
        "coverage.png",
        "coverage.svg",
        "error.png",
        "error.svg",
        "estimates.csv",
        "report.md",
        "summary.json",
    ]
    assert "snips_rmse_over_bound" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sizes", "[10]"], "each at least 50"),
        (["--replications", "20", "--progress", "false"], "replications=20"),
        (["--ridge_replications", "5"], "must be 0 or at least 200"),
        (["--population", "train"], "population='train'"),
    ],
)
def test_bad_settings(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity_table(n=100).save(tmp_path / "table")
    paths = ["--table", str(tmp_path / "table"), "--output", str(tmp_path / "out")]
    assert main([*paths, *more]) in (1, 2)
    assert message in capsys.readouterr().err
