from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnx")

from routing_gym.scripts.measure_serving import KNOWN, main
from tests.serving.bundles import small_bundle


def arguments(folder: Path, *more: str) -> list[str]:
    return [
        *("--bundle", str(folder / "bundle"), "--table", str(folder / "table")),
        *("--output", str(folder / "results"), "--runs", str(folder / "runs"), *more),
    ]


def test_a_trial_is_reported_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_bundle(tmp_path)
    told = arguments(tmp_path, "--trials", "[exploration]", "--scale", "0.05")
    assert main(told) == 0
    figures = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert figures["exploration_decisions"] == 500
    assert figures["propensity_p_value"] > 1e-4
    assert figures["snips_value"]["low"] < figures["snips_value"]["high"]
    assert "500 decisions" in (tmp_path / "results" / "report.md").read_text()
    capsys.readouterr()
    assert main(told) == 0
    assert "exploration: measured before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trials", "[]"], "trials is empty"),
        (["--trials", "[overlaod]"], "overload"),
        (["--scale", "0"], "scale=0.0 must be in"),
    ],
)
def test_bad_settings(
    tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, *more)) == 2
    assert message in capsys.readouterr().err


def test_every_trial_is_there() -> None:
    from pkgutil import resolve_name

    assert all(callable(resolve_name(path)) for path in KNOWN.values())
