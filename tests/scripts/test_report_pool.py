from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.envs.manifest import AdapterRecord
from routing_gym.scripts.report_pool import main
from tests.synthetic import DOMAINS, identity_table

Capture = pytest.CaptureFixture[str]
NAMES = ("base", *DOMAINS)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a table in which each adapter solves its own domain and the base every fourth query."""
    folder = tmp_path_factory.mktemp("tables") / "pool"
    plain = identity_table(n=400, k=5)
    owner = 1 + np.arange(400) % 4
    accuracy = (owner[:, None] == np.arange(5)).astype(np.float32)
    accuracy[:, 0] = np.random.default_rng(0).permutation(400) < 100
    manifest = dataclasses.replace(
        plain.manifest, adapters=tuple(AdapterRecord(name) for name in NAMES)
    )
    dataclasses.replace(
        plain,
        domain=np.array(NAMES, dtype=object)[owner],
        scores={**plain.scores, "accuracy": accuracy},
        manifest=manifest,
    ).save(folder)
    return folder


def test_report(table: Path, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "pool"
    assert main(["--pool", "", "--table", str(table), "--output", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {
        "command.txt",
        "config.yaml",
        "domains.png",
        "domains.svg",
        "report.md",
        "summary.json",
    }
    figures = json.loads((output / "summary.json").read_text())
    assert figures["own_over_base_min"]["value"] > 2
    assert figures["own_minus_next_low_min"] > 0
    assert figures["own_minus_next_low_min_all"] > figures["own_minus_next_low_min"]
    assert figures["oracle_accuracy"]["value"] == 1.0
    text = (output / "report.md").read_text()
    for part in ("Domains, test split", "Domains, all splits", "strict accuracy", "Tasks"):
        assert part in text
    assert "**1.00" in capsys.readouterr().out


def test_measured_memory_is_kept_and_reported(table: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text('{"pool_mb": 1, "separate_models_mb": 5}')
    assert main(["--pool", "", "--table", str(table), "--output", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "summary.json").read_text())
    assert figures["memory_over_separate_models"] == 0.2
    assert (tmp_path / "memory.json").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--table", "no/such/table"], 1, "no/such/table"),
        (["--base", "raw"], 1, "base='raw' is not in the table"),
        (["--split", "tset"], 1, "split='tset' holds no query"),
        (["--resamples", "1"], 2, "resamples=1"),
        (["--bases", "x"], 2, "'base'"),
    ],
)
def test_bad_input(
    more: list[str], code: int, message: str, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "pool"
    assert main(["--pool", "", "--table", str(table), "--output", str(output), *more]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()


def test_a_table_of_another_pool_is_refused(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["--table", str(table), "--output", str(tmp_path / "pool")]) == 1
    message = capsys.readouterr().err
    assert "fingerprint" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "pool").exists()
