from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.scripts.train_scenario import main
from tests.benchmark.scenarios import ADAPTERS, QUICK
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
JUDGING = {"validation_episodes": 4, "test_episodes": 8, "pools": 2, "pool_episodes": 4}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table, and a study of small runs on it."""
    folder = tmp_path_factory.mktemp("inputs")
    identity_table(n=120, k=4, d=8).save(folder / "identity")
    study = {
        "settings": {
            "budget": {"ppo": QUICK, "plain": QUICK | {"algorithm": "ppo"}},
            "adapter_cache": {"ppo": QUICK},
        },
        "options": {
            "budget": {"horizon": 4, "budget_low": 0.3},
            "adapter_cache": {"length": 6, "profile": dict.fromkeys(ADAPTERS, 0.3)},
        },
        "judging": {"budget": JUDGING, "adapter_cache": JUDGING},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "identity", folder / "study.yaml"


def run(inputs: tuple[Path, Path], output: Path, *more: str) -> int:
    table, study = inputs
    fixed = ["--table", str(table), "--study", str(study), "--output", str(output)]
    return main([*fixed, "--resamples", "100", *more])


def test_trains_and_compares(inputs: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    assert run(inputs, tmp_path / "run") == 0
    captured = capsys.readouterr()
    for rule in ("greedy", "static", "pacing", "scarcity", "resolving", "greedy_oracle*"):
        assert f"| {rule} " in captured.out
    assert "validation_return" in captured.err
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "policy",
        "tensorboard",
        "record.json",
        "test.npz",
        "summary.json",
        "report.md",
        "command.txt",
        "runs.csv",
        *(f"budget_{kind}.{end}" for kind in ("curves", "policy") for end in ("png", "svg")),
    }
    assert "budget_ppo_minus_best_rule_low" in json.loads((folder / "summary.json").read_text())
    assert ScenarioPPO.load(folder / "policy").config.total_steps == 64


def test_the_saved_configuration_repeats_the_run(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    quick = ("--scenario", "RoutingGym/AdapterCache-v0", "--progress", "false")
    assert run(inputs, tmp_path / "run", *quick, "--settings.epochs", "2") == 0
    config = tmp_path / "run" / "config.yaml"
    saved = yaml.safe_load(config.read_text())
    assert saved["scenario"] == "adapter_cache"
    assert saved["settings"]["epochs"] == 2
    assert saved["settings"]["total_steps"] == 64
    assert saved["options"]["length"] == 6
    assert main(["--config", str(config)]) == 0
    first, second = (
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("run", "run-2")
    )
    assert first == second


def test_another_label(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(inputs, tmp_path / "run", "--label", "plain", "--progress", "false") == 0
    assert ScenarioPPO.load(tmp_path / "run" / "policy").config.algorithm == "ppo"


def test_help_describes_every_setting(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Folder of the outcome table." in text
    assert "budget, adapter_cache, cascade, drift or preference" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--scenario", "budgt"), 2, "did you mean 'budget'"),
        (("--sed", "1"), 2, "seed"),
        (("--seed", "-1"), 2, "seed=-1 is negative"),
        (("--resamples", "5"), 2, "resamples=5 must be at least 100"),
        (("--label", "best"), 1, "label='best' of budget must be one of ppo, plain"),
        (("--settings.learning_rte", "1"), 1, "did you mean 'learning_rate'"),
        (("--settings.algorithm", "recurrent_ppo"), 1, "set imitation_steps=0"),
        (("--options.horizon", "0"), 1, "horizon=0 is impossible here"),
        (("--study", "no/such.yaml"), 1, "no/such.yaml"),
        (("--table", "no/such/table"), 1, "no/such/table"),
    ],
)
def test_bad_input(
    inputs: tuple[Path, Path],
    tmp_path: Path,
    capsys: Capture,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    assert run(inputs, tmp_path / "run", *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "policy").exists()


def test_a_failed_training_fails_the_command(
    inputs: tuple[Path, Path],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(ScenarioPPO, "train", failing)
    assert run(inputs, tmp_path / "run") == 1
    assert "error: the training failed: the disk is full." in capsys.readouterr().err
