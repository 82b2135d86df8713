from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from routing_gym.benchmark.scenario_problems import PROBLEMS
from routing_gym.scripts.command import read_config
from routing_gym.scripts.study_scenarios import StudyScenariosConfig, main
from tests.benchmark.scenarios import QUICK
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
JUDGING = {"validation_episodes": 4, "test_episodes": 8, "pools": 2, "pool_episodes": 4}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=120, k=4, d=8).save(folder)
    return folder


def run(table: Path, folder: Path, *more: str) -> int:
    config = {
        "scenarios": ["cascade", "budget"],
        "table": str(table),
        "options": {"budget": {"horizon": 4, "budget_low": 0.3}},
        "settings": {
            "cascade": {"ppo": QUICK},
            "budget": {"ppo": QUICK, "plain": QUICK | {"algorithm": "ppo"}},
        },
        "judging": {"cascade": JUDGING, "budget": JUDGING},
        "seeds": [0, 1],
        "workers": 1,
        "output": str(folder / "report"),
        "runs": str(folder / "runs"),
        "resamples": 100,
    }
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return main(["--config", str(folder / "study.yaml"), *more])


def test_studies_and_goes_on_where_it_stopped(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(table, tmp_path) == 0
    assert "budget_plain_minus_best_rule" in capsys.readouterr().out
    report = tmp_path / "report"
    plots = [
        f"{name}_{kind}.{suffix}"
        for name in ("cascade", "budget")
        for kind in ("curves", "policy")
        for suffix in ("png", "svg")
    ]
    texts = ["summary.json", "report.md", "command.txt", "config.yaml", "runs.csv", "curves.csv"]
    assert {path.name for path in report.iterdir()} == {*plots, *texts}
    first = json.loads((report / "summary.json").read_text())
    for name in ("cascade", "budget"):
        for figure in ("ppo_minus_best_rule", "ppo_minus_best_rule_low", "ppo_over_hindsight"):
            assert f"{name}_{figure}" in first
    assert "minutes:" in (report / "command.txt").read_text()
    records = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("record.json")}
    assert len(records) == 6
    assert run(table, tmp_path) == 0
    assert {p: p.stat().st_mtime_ns for p in records} == records
    assert json.loads((report / "summary.json").read_text()) == first
    assert "minutes:" not in (report / "command.txt").read_text()
    # the resolved configuration is the same study
    again = ["--output", str(tmp_path / "again"), "--scenarios", "[cascade]"]
    assert main(["--config", str(report / "config.yaml"), *again]) == 0
    assert {p: p.stat().st_mtime_ns for p in records} == records


def test_a_failed_run_fails_the_command(
    table: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from routing_gym.agents.scenario_ppo import ScenarioPPO

    inner = ScenarioPPO.train

    def failing(self: ScenarioPPO, *args: object, seed: int, **options: object) -> None:
        if seed == 1 and self.config.algorithm == "ppo":
            raise RuntimeError("the disk is full")
        inner(self, *args, seed=seed, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ScenarioPPO, "train", failing)
    assert run(table, tmp_path) == 1
    captured = capsys.readouterr()
    assert "failed: budget / plain / seed 1: the disk is full" in captured.err
    report = (tmp_path / "report" / "report.md").read_text()
    assert "- budget / plain / seed 1: the disk is full" in report
    assert "budget_plain_minus_best_rule" in captured.out  # of the seed that is left


def test_help_describes_every_setting(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Scenario -> label -> settings of PPO" in text
    assert "0 is one per core" in text


def test_the_study_on_disk_is_well_formed() -> None:
    config = read_config(StudyScenariosConfig, [], default_config="configs/study_scenarios.yaml")
    assert config.scenarios == list(PROBLEMS)
    assert len(config.seeds) >= 10
    algorithms = {
        settings.get("algorithm")
        for labels in config.settings.values()
        for settings in labels.values()
    }
    assert algorithms == {"ppo", "maskable_ppo", "recurrent_ppo"}
    assert set(config.settings) == set(config.judging) == set(PROBLEMS)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--seds", "[1]"), 2, "seeds"),
        (("--seeds", "[1, 1]"), 2, "seeds=[1, 1] must be different"),
        (("--seeds", "[-1]"), 2, "none negative"),
        (("--resamples", "10"), 2, "resamples=10 must be at least 100"),
        (("--workers", "-1"), 2, "workers=-1 is negative"),
        (("--scenarios", "[budgt]"), 2, "did you mean 'budget'"),
        (("--scenarios", "[Budget]"), 2, "scenario 'Budget' is called 'budget' here"),
        (("--scenarios", "[]"), 2, "must be different, at least one"),
        (("--settings", "{drift: {recurrent: {}}}"), 2, "must have a label 'ppo'"),
        (
            ("--settings", "{drift: {ppo: {learning_rte: 1}}}"),
            2,
            "settings.drift.ppo: unknown setting 'learning_rte'",
        ),
        (
            ("--settings", "{drift: {ppo: {learning_rate: fast}}}"),
            2,
            "learning_rate='fast' must be of type float",
        ),
        (("--judging", "{drift: {pools: 1}}"), 2, "judging.drift: pools=1 shows no differences"),
        (("--judging", "{drift: {pool: 4}}"), 2, "'pool' is none of validation_episodes"),
        (("--options", "{budget: {horizn: 4}}"), 1, "did you mean 'horizon'"),
        (("--options", "{budget: {budget_low: 2}}"), 1, "budget_low=2 is above budget_high"),
        (("--table", "no/such/table"), 1, "no/such/table"),
        (("--reward", "{beauty: 1}"), 1, "beauty"),
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
    assert run(table, tmp_path, *arguments) == code
    error = capsys.readouterr().err
    assert message in error
    lines = [line for line in error.strip().splitlines() if "run/s" not in line]
    assert lines[-1].startswith("error: ")
    assert len(lines) == 1
    assert not (tmp_path / "report").exists()
