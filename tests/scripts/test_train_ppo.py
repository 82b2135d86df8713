from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from routing_gym.agents import load_agent
from routing_gym.scripts.train_ppo import TrainPPOConfig, main
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
QUICK = ("--total_steps", "2560", "--num_envs", "256", "--batch_size", "64",
         "--learning_rate", "0.003", "--resamples", "200")  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=200).save(folder)
    return folder


def run(table: Path, output: Path, *more: str) -> int:
    return main(["--table", str(table), "--output", str(output), *QUICK, *more])


def test_trains_and_compares(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(table, tmp_path / "ppo") == 0
    captured = capsys.readouterr()
    for agent in ("ppo", "gumbel", "knn", "task_lookup*", "best_single", "random", "oracle*"):
        assert f"| {agent} " in captured.out
    assert "validation_reward" in captured.err
    folder = tmp_path / "ppo"
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml",
        "tensorboard",
        "policy",
        "learning_curve.png",
        "comparison.md",
        "comparison.png",
        "comparison.svg",
        "evaluation.csv",
        "command.txt",
    }
    policy = load_agent(folder / "policy")
    assert policy.name == "ppo"
    assert policy.metadata["pool_fingerprint"] == "identity-4"


def test_the_saved_configuration_repeats_the_run(table: Path, tmp_path: Path) -> None:
    quick = ("--baselines", "[best_single]", "--progress", "false")
    assert run(table, tmp_path / "ppo", *quick, "--reward", "{accuracy: 1}") == 0
    config = tmp_path / "ppo" / "config.yaml"
    assert yaml.safe_load(config.read_text())["reward"] == {"accuracy": 1.0}
    assert main(["--config", str(config)]) == 0
    first, second = ((tmp_path / name / "evaluation.csv").read_text() for name in ("ppo", "ppo-2"))
    assert first == second


def test_help_describes_every_setting(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Folder of the outcome table." in text
    assert "Decisions per gradient step" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--learning_rte", "1"), 2, "learning_rate"),
        (("--epochs", "many"), 2, "epochs"),
        (("--batch_size", "100000"), 2, "batch_size=100000 does not fit"),
        (("--table", "no/such/table"), 1, "no/such/table"),
        (("--reward", "{beauty: 1}"), 1, "beauty"),
        (("--config", "no/such.yaml"), 2, "no/such.yaml"),
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
    assert run(table, tmp_path / "ppo", *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "ppo").exists()


def test_refuses_an_unknown_baseline_before_training(
    table: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(table, tmp_path / "ppo", "--baselines", "[orakle]") == 2
    assert "did you mean 'oracle'" in capsys.readouterr().err
    assert not (tmp_path / "ppo").exists()


def test_defaults_are_those_of_the_agent() -> None:
    from routing_gym.agents.ppo import PPOConfig

    assert TrainPPOConfig().ppo == PPOConfig()
