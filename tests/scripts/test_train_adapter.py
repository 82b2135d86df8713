"""`train_adapter` from the command line, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from routing_gym.scripts.train_adapter import main
from tests.adapters.tiny import save_tiny_model

for package in ("trl", "bitsandbytes", "datasets", "reasoning_gym"):
    pytest.importorskip(package)

Capture = pytest.CaptureFixture[str]


def error_of(capsys: Capture) -> str:
    err = capsys.readouterr().err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert errors[0] == err.splitlines()[-1]
    assert errors[0].endswith((".", "?"))
    assert "Traceback" not in err
    return errors[0]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    base = save_tiny_model(tmp_path / "base")
    settings = {
        "adapter": "analysis",
        "base_model": str(base),
        "examples": 4,
        "held_out": 2,
        "rank": 2,
        "alpha": 4,
        "batch_size": 2,
        "table_mix": {"dates": 3},
        "output": str(tmp_path / "runs" / "{adapter}"),
    }
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_run(config_file: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["--config", str(config_file), "--rank", "4"]) == 0
    out = capsys.readouterr().out
    assert "analysis: 4 examples of sorting, dates, repeated, extraction" in out
    assert '"held_out_loss"' in out
    output = tmp_path / "runs" / "analysis"
    resolved = yaml.safe_load((output / "config.yaml").read_text())
    assert (resolved["rank"], resolved["alpha"], resolved["examples"]) == (4, 4, 4)
    record = json.loads((output / "adapter" / "training.json").read_text())
    assert record["config"]["rank"] == 4
    assert record["measures"]["updates"] == 2
    assert (output / "adapter" / "adapter_model.safetensors").is_file()
    assert list(output.rglob("events.out.tfevents.*"))
    assert main(["--config", str(output / "config.yaml")]) == 0


def test_a_run_on_its_own_answers(config_file: Path, tmp_path: Path, capsys: Capture) -> None:
    argv = ["--method", "grpo", "--prompts", "2", "--generations", "2", "--max_tokens", "3"]
    assert main(["--config", str(config_file), *argv, "--nf4", "false"]) == 0
    assert '"informative_share"' in capsys.readouterr().out
    record = json.loads((tmp_path / "runs/analysis/adapter/training.json").read_text())
    assert (record["method"], record["measures"]["updates"]) == ("grpo", 2)
    assert record["config"]["learning_rate"] == 5e-4


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--method", "ppo"], ["'method'", "sft", "grpo"]),
        (["--exampels", "4"], ["'exampels'", "'examples'"]),
        (["--examples", "many"], ["'examples'", "int"]),
        (["--nf4", "perhaps"], ["'nf4'", "bool"]),
        (["--targets", "q_proj"], ["'targets'"]),
        (["--config", "nowhere.yaml"], ["'nowhere.yaml'", "does not exist"]),
    ],
)
def test_wrong_command_lines(capsys: Capture, argv: list[str], words: list[str]) -> None:
    assert main(argv) == 2
    message = error_of(capsys)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--adapter", "poetry"], ["domain='poetry'", "use one of analysis, code"]),
        (["--examples", "0"], ["0 examples"]),
        (["--method", "grpo", "--loss", "ppo"], ["loss='ppo'", "dr_grpo"]),
        (["--method", "grpo"], ["4 examples", "takes 8 prompts"]),
        (["--rank", "0"], ["rank=0"]),
        (["--targets", "[]"], ["targets is empty"]),
        (["--learning_rate", "-1"], ["learning_rate=-1"]),
        (["--table_mix", '{"turnes": 3}'], ["unknown task 'turnes'", "'turns'"]),
        (["--targets", "[nothing]"], ["nothing"]),
    ],
)
def test_runs_that_cannot_be(
    config_file: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--config", str(config_file), *argv]) == 1
    message = error_of(capsys)
    assert all(word in message for word in words), message
    assert not list((tmp_path / "runs").rglob("adapter"))


def test_an_unavailable_model(
    config_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["--config", str(config_file), "--base_model", "no-one/no-such-model"]) == 1
    assert "base model 'no-one/no-such-model' is not available" in error_of(capsys)
