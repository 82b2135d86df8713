from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.scripts.compare import main
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
QUICK = ["knn", "task_lookup", "best_single", "random", "oracle"]


class BrokenAgent(BestSingleAgent):
    """An agent whose training fails."""

    name = "broken"

    def _fit(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=120).save(folder)
    return folder


def run(table: Path, folder: Path, *more: str, agents: Sequence[str] = QUICK) -> int:
    paths = {"table": table, "output": folder / "routing", "runs": folder / "runs",
             "pool": folder / "pool"}  # fmt: skip
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    quick = ["--agents", json.dumps(list(agents)), "--seeds", "[0, 1]", "--resamples", "200"]
    return main([*arguments, *quick, *more])


def test_report_of_the_identity_problem(table: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "memory.json").write_text('{"pool_mb": 1, "separate_models_mb": 4}')
    assert run(table, tmp_path) == 0
    output = tmp_path / "routing"
    assert sorted(path.name for path in output.iterdir()) == [
        "arm_usage.png",
        "command.txt",
        "comparison.png",
        "report.md",
        "reward_against_truth.png",
        "runs.csv",
        "summary.json",
    ]
    figures = json.loads((output / "summary.json").read_text())
    assert figures["routing_accuracy"]["value"] > 0.9
    assert figures["accuracy_gain_over_best_single"]["value"] > 2
    assert figures["seconds_over_best_single"]["value"] == pytest.approx(1.0)
    assert figures["quality_gain_over_best_single"]["low"] > 0
    assert figures["memory_over_separate_models"] == 0.25
    assert "ppo_minus_best_single_low" not in figures
    assert "| knn" in capsys.readouterr().out
    rows = (output / "runs.csv").read_text().splitlines()
    assert len(rows) == 1 + len(QUICK) * 2 * 2
    text = (output / "report.md").read_text()
    assert "`knn` trained on" in text
    assert "## Reward against truth" in text


def test_ppo_and_the_supervised_routers(table: Path, tmp_path: Path) -> None:
    options = {"gumbel": {"epochs": 3}, "softmax": {"epochs": 3}, "ppo": {"total_steps": 4096}}
    agents = ["ppo", "gumbel", "softmax"]
    assert run(table, tmp_path, "--options", json.dumps(options), agents=agents) == 0
    figures = json.loads((tmp_path / "routing" / "summary.json").read_text())
    for name in ("ppo_minus_best_single_low", "ppo_over_supervised", "gumbel_minus_softmax"):
        assert name in figures


def test_a_second_start_skips_finished_runs(table: Path, tmp_path: Path) -> None:
    assert run(table, tmp_path, agents=["knn", "oracle"]) == 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.json")}
    assert len(times) == 8
    assert run(table, tmp_path, agents=["knn", "oracle", "random"]) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(list((tmp_path / "runs").glob("*.json"))) == 12


def test_a_failed_run_is_reported_and_the_exit_says_so(
    table: Path, tmp_path: Path, capsys: Capture
) -> None:
    names = json.dumps({"broken": f"{__name__}:BrokenAgent"})
    assert run(table, tmp_path, "--names", names, agents=["knn", "broken"]) == 1
    assert "failed: broken / self_evaluated / seed 0: RuntimeError: out of luck" in (
        capsys.readouterr().err
    )
    text = (tmp_path / "routing" / "report.md").read_text()
    assert "## Failed runs" in text
    assert "out of luck" in text


def test_a_comparison_in_which_all_fails(table: Path, tmp_path: Path) -> None:
    names = json.dumps({"broken": f"{__name__}:BrokenAgent"})
    assert run(table, tmp_path, "--names", names, agents=["broken"]) == 1
    assert json.loads((tmp_path / "routing" / "summary.json").read_text()) == {}


def test_the_configuration_is_saved_and_reads_again(table: Path, tmp_path: Path) -> None:
    assert run(table, tmp_path, agents=["knn"]) == 0
    saved = tmp_path / "runs" / "config.yaml"
    assert yaml.safe_load(saved.read_text())["agents"] == ["knn"]
    before = (tmp_path / "routing" / "summary.json").read_text()
    assert main(["--config", str(saved)]) == 0
    assert (tmp_path / "routing" / "summary.json").read_text() == before


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--table", "no/such/table"], 1, "no/such/table"),
        (["--agents", '["knnn"]'], 1, "unknown agent 'knnn'"),
        (["--agents", '["knn"]', "--options", '{"knn": {"neighbors": 3}}'], 1, "neighbors"),
        (["--rewards", '{"r": {"relevanse": 1}}'], 1, "relevanse"),
        (["--rewards", "{}"], 2, "rewards is empty"),
        (["--seeds", "[0, 0]"], 2, "seeds=[0, 0]"),
        (["--seeds", "many"], 2, "seeds"),
        (["--resamples", "10"], 2, "resamples=10"),
        (["--options", '{"ppo": {}}'], 2, "'ppo' has settings"),
        (["--resample", "200"], 2, "resamples"),
        (["--config", "no.yaml"], 2, "no.yaml"),
    ],
)
def test_bad_input(
    more: list[str], code: int, message: str, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(table, tmp_path, *more) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "routing").exists()
    assert not list((tmp_path / "runs").glob("*.json"))


def test_help(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert "Training seeds" in capsys.readouterr().out
