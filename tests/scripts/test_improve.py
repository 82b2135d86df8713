"""`improve` and `study_kills` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing_gym.benchmark.cycle_report import write_improvement
from routing_gym.benchmark.kill_trials import Subject, Trial
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts import improvement_steps, study_kills
from routing_gym.scripts.improve import main
from tests.benchmark.small_pool import REWARD, Teacher, make_world

Capture = pytest.CaptureFixture[str]
COMMITTED = Path(__file__).resolve().parents[2] / "results" / "improvement"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def config(world: Path, tmp_path: Path) -> Path:
    settings = {
        "pool": str(world / "pool.yaml"),
        "table": str(world / "table"),
        "store": str(tmp_path / "store"),
        "output": str(tmp_path / "report"),
        "reward": REWARD,
        "agent": "ridge",
        "router_seeds": [0],
        "examples": 20,
        "held_out": 4,
        "resamples": 100,
    }
    path = tmp_path / "improve.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_cycle_its_status_and_the_way_back(
    config: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    teacher = Teacher(world)
    monkeypatch.setattr(improvement_steps, "make_steps", lambda settings: teacher.steps())
    argv = ["--config", str(config)]
    assert main([*argv, "--status", "true"]) == 0
    assert "current: v0000" in capsys.readouterr().out
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "weakest: creative / rhyme" in out
    assert "[3/7] training: about" in out
    assert "cycle 1: v0001 promoted, signed by gate" in out
    assert main([*argv, "--rollback", "true", "--approve", "Ada"]) == 0
    out = capsys.readouterr().out
    assert "Went back from v0001 to v0000. Signed by Ada." in out
    assert "current: v0000" in out
    assert main([*argv, "--examples", "30", "--cycle", "5"]) == 1
    assert "cycle=5: the history holds 1" in capsys.readouterr().err


def test_the_committed_version_is_the_signed_one(tmp_path: Path, capsys: Capture) -> None:
    argv = ["--output", str(COMMITTED), "--store", str(tmp_path / "store"), "--status", "true"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert f"table {COMMITTED / 'versions' / 'v0001' / 'table'}" in shown
    table = OutcomeTable.load(COMMITTED / "versions" / "v0001" / "table")
    assert table.fingerprint == json.loads((COMMITTED / "cycle.json").read_text("utf-8"))["table"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rollback_to", "v0001"], "rollback_to='v0001' needs --rollback true"),
        (["--cycle", "-1"], "cycle=-1: give a number from 1"),
        (["--status", "true", "--restart", "true"], "--restart is of a cycle, but --status and"),
        (["--examlpes", "3"], "the nearest known key is 'examples'"),
    ],
)
def test_wrong_use(argv: list[str], message: str, capsys: Capture) -> None:
    assert main(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--training", '{"learning_rat": 1}'], "did you mean 'learning_rate'?"),
        (["--method", "grpo", "--training", '{"batch_size": 8}'], "unknown field 'batch_size'"),
        (["--data_options", '{"paraphrase": 8}'], "did you mean 'paraphrased'?"),
        (["--pool", "vllm"], "answers on a server"),
        (["--training", '{"learning_rate": -1}'], "learning_rate=-1: give a positive number"),
        (["--data_options", '{"batch": 0}'], "batch=0"),
        (["--agent_options", '{"alpha": 1}'], "alpha"),
        (["--reward", '{"qualty": 1}'], "qualty"),
        (["--policy", "runs/absent"], "policy='runs/absent' is no folder"),
        (["--quality", "runs/absent"], "quality='runs/absent' is no folder"),
    ],
)
def test_what_a_late_stage_cannot_use_is_refused_first(
    config: Path, options: list[str], message: str, capsys: Capture
) -> None:
    assert main(["--config", str(config), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (config.parent / "store").exists()


def test_help_says_what_it_does(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "weakest region on train and validation" in out
    assert "--rollback" in out


def fake_subjects(survives: bool) -> Any:
    """Make commands that take no time."""

    class Fake(Subject):
        def reference(self, folder: Path) -> float:
            return 1.0

        def try_kill(self, folder: Path, reference: Path, *, number: int, moment: float) -> Trial:
            faults = () if survives or number > 1 else ("an answer is lost",)
            return Trial(self.name, number, moment, "nothing sealed", faults)

    def made(inputs: Path) -> tuple[Subject, Subject]:
        nothing: Any = lambda *arguments: ""  # noqa: E731
        names = ("improve", "collect_outcomes")
        return tuple(Fake(n, nothing, nothing, nothing, nothing) for n in names)  # type: ignore[return-value]

    return made


@pytest.mark.parametrize("survives", [True, False])
def test_a_study_of_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, survives: bool
) -> None:
    monkeypatch.setattr(study_kills, "subjects", fake_subjects(survives))
    monkeypatch.setattr(study_kills, "make_inputs", lambda folder: None)
    options = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "report")]
    argv = [*options, "--kills", "5", "--jobs", "2"]
    assert study_kills.main(argv) == (0 if survives else 1)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary == {"kills_survived": 5.0 if survives else 3.0, "kills": 5.0}
    assert ("an answer is lost" in capsys.readouterr().out) is not survives
    report = (tmp_path / "report" / "report.md").read_text()
    assert "Kill -9 at random moments" in report

    monkeypatch.setattr(Subject, "try_kill", None)
    lines = (tmp_path / "work" / "trials.jsonl").read_text()
    study_kills.main(argv)  # every trial is known
    assert (tmp_path / "work" / "trials.jsonl").read_text() == lines
    write_improvement(tmp_path / "report")
    assert json.loads((tmp_path / "report" / "summary.json").read_text()) == summary


def test_wrong_numbers_of_kills(capsys: Capture) -> None:
    assert study_kills.main(["--kills", "1"]) == 2
    assert "kills=1, seed=0 and jobs=0 must be at least 2, 0 and 0" in capsys.readouterr().err
