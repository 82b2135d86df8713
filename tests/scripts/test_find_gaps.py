from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents.knn import KNNAgent
from routing_gym.benchmark.gaps import GapReport
from routing_gym.benchmark.off_policy_files import write_log
from routing_gym.scripts.find_gaps import main
from tests.benchmark.gap_tables import Part, planted_table
from tests.benchmark.off_policy_logs import logged
from tests.serving.decision_rows import records_of, written

Capture = pytest.CaptureFixture[str]
PARTS = [
    Part("easy", 100, 0.9),
    Part("poor", 100, 0.1),
    Part("turned", 100, 0.8, own=1),
    Part("overrated", 100, 0.4, score=0.9),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a saved agent, and logs of its queries as a file and as a server's database."""
    root = tmp_path_factory.mktemp("gaps")
    table = planted_table(PARTS)
    table.save(root / "table")
    agent = KNNAgent()
    agent.train(table.data("train"), validation=table.data("validation"), seed=0)
    pool = table.manifest.pool_fingerprint
    agent.save(root / "run" / "policy", metadata={"table": table.fingerprint})
    log = logged(table.data("train", {"accuracy": 1.0}), decisions=900, pool=pool)
    write_log(log, root / "log.jsonl")
    test = logged(table.data("test", {"accuracy": 1.0}), decisions=300, pool=pool)
    write_log(test, root / "test.jsonl")
    write_log(log.subset(np.arange(60)), root / "short.jsonl")
    hidden = dataclasses.replace(log, observations=None)
    write_log(hidden, root / "hidden.parquet")
    user = [(str(n), float(r), "user") for n, r in zip(log.decision_ids, log.rewards, strict=True)]
    own = [(name, 0.9, "self_evaluation") for name, _, _ in user]
    written(str(root / "log.db"), records_of(log), [*user, *own])
    return root


def run(folder: Path, output: Path, *more: str) -> int:
    quick = ["--clusters", "4", "--permutations", "199", "--progress", "false"]
    if "--log" not in more:
        quick += ["--table", str(folder / "table")]
    return main([*quick, "--output", str(output), *more])


def test_a_table(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(folder, tmp_path / "out", "--folds", "3") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "command.txt",
        "config.yaml",
        "gaps.json",
        "gaps.png",
        "gaps.svg",
        "report.md",
        "summary.json",
    }
    found = GapReport.load(tmp_path / "out")
    assert found.weakest().region.task == "poor"
    assert found.weakest("evaluator").region.task == "overrated"
    assert found.router.startswith("knn, trained on the default reward in 3 folds")
    assert found.splits == ("train", "validation")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["weakest_pool_gain"]["low"] > 0
    shown = capsys.readouterr()
    assert "**made / poor**" in shown.out
    assert "warning" not in shown.err
    assert found.fingerprint in (tmp_path / "out" / "command.txt").read_text()


def test_a_saved_policy(folder: Path, tmp_path: Path) -> None:
    more = ["--policy", str(folder / "run"), "--levels", "[task]"]
    assert run(folder, tmp_path / "out", *more) == 0
    found = GapReport.load(tmp_path / "out")
    assert found.overall["judged_queries"] == 60
    assert "outside the train split" in found.router


def test_no_router_and_the_test_split(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(folder, tmp_path / "out", "--agent", "none", "--splits", "[test]") == 0
    assert capsys.readouterr().err.count("warning: the test split was read") == 1
    found = GapReport.load(tmp_path / "out")
    assert found.touches_test
    assert "router" in found.unknown
    assert "the test split was read" in (tmp_path / "out" / "report.md").read_text()


def test_a_log(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(folder, tmp_path / "out", "--log", str(folder / "log.jsonl")) == 0
    found = GapReport.load(tmp_path / "out")
    assert {gap.region.level for gap in found.gaps} == {"cluster"}
    assert "evaluator: not known: the log holds one reward" in capsys.readouterr().out


def test_a_log_and_the_table_of_its_queries(folder: Path, tmp_path: Path) -> None:
    for log in ("log.jsonl", "hidden.parquet"):
        more = ["--log", str(folder / log), "--table", str(folder / "table")]
        assert run(folder, tmp_path / log, *more) == 0
        found = GapReport.load(tmp_path / log)
        assert found.weakest().region.task == "poor"
        assert found.splits == ("train", "validation")


def test_a_log_of_test_queries(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    more = ["--log", str(folder / "test.jsonl"), "--table", str(folder / "table")]
    assert run(folder, tmp_path / "out", *more) == 1
    assert "no decision is on a query of splits" in capsys.readouterr().err
    assert run(folder, tmp_path / "out", *more, "--splits", "[test]") == 0
    assert "warning: the test split was read" in capsys.readouterr().err
    assert GapReport.load(tmp_path / "out").touches_test


def test_a_servers_log_knows_what_users_said(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path / "out", "--log", str(folder / "log.db")) == 0
    worst = GapReport.load(tmp_path / "out").weakest("evaluator", "cluster")
    assert worst.observed.value > 0.3
    assert worst.reward == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("more", "code", "match"),
    [
        (["--policy", "a", "--agent", "knn"], 2, "give one of them"),
        (["--log", "a.jsonl", "--agent", "knn"], 2, "leave out --policy and --agent"),
        (["--splits", "[dev]"], 2, "choose among train, validation, test"),
        (["--levels", "[town]"], 2, "choose among domain, task"),
        (["--agent", "kn"], 1, "unknown agent 'kn'"),
        (["--truth", "belief"], 1, "truth='belief' is no score of the table"),
        (["--min_queries", "4000"], 1, "smaller min_queries"),
        (["--log", "absent.jsonl"], 1, "'absent.jsonl' does not exist: check the path"),
        (["--log", "SHORT"], 1, "60 decisions count, fewer than 200"),
        (["--log", "HIDDEN"], 1, "no level of"),
        (["--log", "LOG", "--table", "TABLE", "--splits", "[test]"], 1, "no decision is on a"),
    ],
)
def test_errors(
    folder: Path, tmp_path: Path, capsys: Capture, more: list[str], code: int, match: str
) -> None:
    names = {
        "SHORT": folder / "short.jsonl",
        "HIDDEN": folder / "hidden.parquet",
        "LOG": folder / "log.jsonl",
        "TABLE": folder / "table",
    }
    more = [str(names.get(text, text)) for text in more]
    assert run(folder, tmp_path / "out", *more) == code
    assert match in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert "trained out of fold" in " ".join(capsys.readouterr().out.split())
