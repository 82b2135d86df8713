"""`sample_answers` from the command line, with two tiny arms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.sample_answers import chosen_rows, main
from tests.scripts.tiny_table import save_tiny_pool, table_of_pool

for package in ("transformers", "peft"):
    pytest.importorskip(package)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    pool_file = save_tiny_pool(folder)
    table_of_pool(pool_file, n=20).save(folder / "table")
    return folder


@pytest.fixture
def argv(folder: Path, tmp_path: Path) -> list[str]:
    options = {
        "table": folder / "table",
        "pool": folder / "pool.yaml",
        "output": tmp_path / "new" / "samples.parquet",
        "work": tmp_path / "work",
        "validation": 2,
        "test": 3,
        "k": 3,
        "flush_queries": 2,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def test_a_run(argv: list[str], folder: Path, tmp_path: Path, capsys: Capture) -> None:
    table = OutcomeTable.load(folder / "table")
    assert main([*argv, "--only", "[one]"]) == 0
    printed = capsys.readouterr().out
    assert "5 queries x 1 adapters x 3 samples: about" in printed
    assert "run without --only to finish" in printed
    path = tmp_path / "new" / "samples.parquet"
    assert not path.exists()
    work = (tmp_path / "work" / "samples-one.jsonl").read_text()

    assert main(argv) == 0
    assert (tmp_path / "work" / "samples-one.jsonl").read_text() == work
    content = pq.read_table(path)
    rows = content.to_pylist()
    assert content.column_names == ["query_id", "adapter", "sample", "response"]
    assert len({(r["query_id"], r["adapter"], r["sample"]) for r in rows}) == len(rows) == 30
    assert {r["sample"] for r in rows} == {0, 1, 2}
    ids = {r["query_id"] for r in rows}
    assert sorted(table.split[np.isin(table.query_id, list(ids))]) == (
        ["test"] * 3 + ["validation"] * 2
    )
    assert content.schema.metadata[b"table"].decode() == table.fingerprint
    assert len({r["response"] for r in rows}) > 10


def test_rows_are_chosen_by_seed(folder: Path) -> None:
    table = OutcomeTable.load(folder / "table")
    counts = {"validation": 1, "test": 2}
    first = chosen_rows(table, counts, seed=0)
    np.testing.assert_array_equal(chosen_rows(table, counts, seed=0), first)
    others = [chosen_rows(table, counts, seed=seed).tolist() for seed in range(1, 6)]
    assert any(other != first.tolist() for other in others)
    everything = chosen_rows(table, {"test": 5}, seed=0)
    assert everything.tolist() == np.flatnonzero(table.split == "test").tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--test", "99"], "test=99: the table has 5 queries of that split"),
        (["--test", "0", "--validation", "0"], "chooses no query: ask for at least 1"),
        (["--k", "0"], "k must be at least 1"),
        (["--temperature", "0"], "for the likeliest answer use greedy generation"),
        (["--only", "[two]"], "unknown adapter 'two': the pool has base, one"),
    ],
)
def test_runs_that_cannot_be(
    argv: list[str], tmp_path: Path, capsys: Capture, options: list[str], words: str
) -> None:
    assert main([*argv, *options]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
