from __future__ import annotations

import json
from pathlib import Path

import pytest

from routing_gym.adapters.encoder_folder import load_encoder
from routing_gym.agents import load_agent
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.train_agent import main
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=200).save(folder)
    return folder


def run(table: Path, output: Path, *more: str) -> int:
    arguments = ["--table", str(table), "--output", str(output), "--resamples", "200"]
    return main([*arguments, "--progress", "false", *more])


def test_trains_on_the_table_s_embeddings(table: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(table, tmp_path / "run", "--agent", "linucb") == 0
    output = capsys.readouterr().out
    assert "| linucb " in output
    assert "embeddings of identity" in output
    agent = load_agent(tmp_path / "run" / "policy")
    assert (agent.name, agent.num_features) == ("linucb", 16)
    assert agent.metadata["table"] == OutcomeTable.load(table).fingerprint
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "evaluation.csv", "comparison.md", "command.txt"} <= names
    assert "encoder" not in names


def test_trains_through_an_encoder_and_keeps_it(
    table: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ("--agent", "ridge", "--encoder", "tfidf+position", "--baselines", "[]")
    options = ("--options", '{"penalties": [0.01], "criterion": "gcv"}')
    assert run(table, tmp_path / "run", *arguments, *options) == 0
    agent = load_agent(tmp_path / "run" / "policy")
    encoder = load_encoder(tmp_path / "run" / "encoder")
    assert agent.metadata["encoder"] == encoder.name
    assert agent.config.penalties == (0.01,)
    assert sum(agent.config.blocks) == agent.num_features  # joined encoders are its blocks
    decision = agent.decide(encoder.encode(["Query number 900 is for adapter 2."]))
    assert agent.adapters[decision.actions[0]] == "adapter_2"
    described = json.loads((tmp_path / "run" / "encoder" / "encoder.json").read_text())
    assert [part["kind"] for part in described["parts"]] == ["tfidf", "position"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--agent", "ppoo"), 2, "did you mean 'ppo'"),
        (("--baselines", "[nn]"), 2, "unknown agent 'nn'"),
        (("--resamples", "10"), 2, "must be at least 100"),
        (("--seed", "-1"), 2, "is negative"),
        (("--options", "{neighbors: [3]}"), 1, "did you mean 'neighbours'"),
        (("--encoder", "tfidff"), 1, "unknown encoder 'tfidff'"),
        (("--encoder", "tests.scripts.test_train_agent:Outside"), 1, "encoder of outside code"),
        (("--table", "no/such/table"), 1, "no/such/table"),
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
    assert run(table, tmp_path / "run", *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "run").exists()


class Outside:
    """An encoder that no folder can hold."""

    name = "outside"
