from __future__ import annotations

import csv
from pathlib import Path

import pytest

from routing_gym.agents import load_agent
from routing_gym.scripts.train_router import main
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
QUICK = ("--epochs", "6", "--hidden_dim", "32", "--batch_size", "32",
         "--learning_rate", "0.01", "--resamples", "200")  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=200).save(folder)
    return folder


def run(table: Path, output: Path, *more: str) -> int:
    return main(["--table", str(table), "--output", str(output), *QUICK, *more])


def test_trains_and_reports_the_ablation(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(table, tmp_path / "router") == 0
    captured = capsys.readouterr()
    for agent in ("gumbel", "softmax", "regression", "knn", "oracle*"):
        assert f"| {agent} " in captured.out
    with (tmp_path / "router" / "evaluation.csv").open() as file:
        rows = {row["agent"]: row for row in csv.DictReader(file)}
    assert rows["gumbel"]["seeds"] == rows["softmax"]["seeds"] == "3"
    assert float(rows["gumbel"]["accuracy_value"]) > 0.9
    assert load_agent(tmp_path / "router" / "policy").name == "gumbel"


def test_without_ablation_only_the_objective_is_trained(
    table: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ("--ablation_seeds", "[]", "--objective", "regression", "--baselines", "[oracle]")
    assert run(table, tmp_path / "router", *arguments, "--progress", "false") == 0
    output = capsys.readouterr().out
    assert "| regression" in output
    assert "| gumbel" not in output
    assert load_agent(tmp_path / "router" / "policy").name == "regression"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--objective", "hinge"), 2, "choose gumbel, softmax, regression"),
        (("--hiden_dim", "3"), 2, "hidden_dim"),
        (("--ablation_seeds", "[0]"), 2, "must be different"),
        (("--table", "no/such/table"), 1, "no/such/table"),
        (("--baselines", "[nn]"), 2, "unknown agent 'nn'"),
    ],
)
def test_bad_input(
    table: Path,
    tmp_path: Path,
    capsys: Capture,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    assert run(table, tmp_path / "router", *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "router").exists()
