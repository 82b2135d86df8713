from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routing_gym.adapters.embedding import make_encoder
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.import_table import main

Capture = pytest.CaptureFixture[str]


def tidy(path: Path, *, n: int = 40, split: bool = False, texts: list[str] | None = None) -> Path:
    """Write n queries under the arms "a", "b" and "c"."""
    names = texts or [f"How many are {i} and {i * 7}?" for i in range(n)]
    lines = [
        {"query_id": f"q{i}", "query": text, "arm": arm, "score": float((i + k) % 3 == 0)}
        | ({"split": "train" if i < n // 2 else "test"} if split else {})
        for i, text in enumerate(names)
        for k, arm in enumerate("abc")
    ]
    pq.write_table(pa.Table.from_pylist(lines), path)
    return path


def call(source: Path, folder: Path, *extra: str) -> int:
    return main(
        [
            *("--input", str(source), "--output", str(folder / "table")),
            *("--encoder", "surface", "--cache", str(folder / "cache"), *extra),
        ]
    )


def test_a_tidy_table(tmp_path: Path, capsys: Capture) -> None:
    assert call(tidy(tmp_path / "t.parquet"), tmp_path) == 0
    table = OutcomeTable.load(tmp_path / "table")
    assert (len(table), table.adapters) == (40, ("a", "b", "c"))
    assert table.manifest.encoder == "surface-v1"
    assert "40 queries" in capsys.readouterr().out
    assert call(tidy(tmp_path / "t.parquet"), tmp_path) == 1  # it is there
    assert call(tidy(tmp_path / "t.parquet"), tmp_path, "--overwrite", "true") == 0


def test_arms_can_be_chosen(tmp_path: Path, capsys: Capture) -> None:
    source = tidy(tmp_path / "t.parquet")
    assert call(source, tmp_path, "--arms", "[a, c]") == 0
    assert OutcomeTable.load(tmp_path / "table").adapters == ("a", "c")
    assert call(source, tmp_path, "--arms", "[a, d]") == 1
    assert "lacks 'd'; choose of a, b, c" in capsys.readouterr().err
    assert call(source, tmp_path, "--arms", "[a]") == 1
    assert "give the scores of at least 2 arms" in capsys.readouterr().err


def test_a_fitted_encoder_is_kept_for_new_queries(tmp_path: Path) -> None:
    assert call(tidy(tmp_path / "t.parquet"), tmp_path, "--encoder", "tfidf+surface") == 0
    table = OutcomeTable.load(tmp_path / "table")
    encoder = make_encoder(f"{tmp_path / 'table-tfidf'}+surface")
    assert encoder.name == table.manifest.encoder
    vectors = encoder.encode([str(text) for text in table.text])
    assert abs(vectors - table.embeddings).max() < 1e-5


def test_validation_is_taken_from_a_given_train_split(tmp_path: Path) -> None:
    source = tidy(tmp_path / "t.parquet", n=200, split=True)
    assert call(source, tmp_path) == 0
    table = OutcomeTable.load(tmp_path / "table")
    assert table.splits == ("train", "validation", "test")
    assert set(table.where(split="test").query_id) == {f"q{i}" for i in range(100, 200)}
    assert 8 <= (table.split == "validation").sum() <= 35
    assert call(source, tmp_path, "--validation_share", "0", "--overwrite", "true") == 0
    assert OutcomeTable.load(tmp_path / "table").splits == ("train", "test")


def test_equal_texts_are_refused_kept_or_dropped(tmp_path: Path, capsys: Capture) -> None:
    texts = [f"How many are {i}?" for i in range(30)] + ["how MANY are 3"]
    source = tidy(tmp_path / "t.parquet", texts=texts)
    assert call(source, tmp_path) == 1
    assert "query 'q30': has the text of query 'q3'" in capsys.readouterr().err
    assert call(source, tmp_path, "--duplicates", "drop") == 0
    assert len(OutcomeTable.load(tmp_path / "table")) == 30
    assert call(source, tmp_path, "--duplicates", "keep", "--overwrite", "true") == 0
    table = OutcomeTable.load(tmp_path / "table")
    assert len(table) == 31
    assert table.split[3] == table.split[30]


def test_leaks_missing_cells_and_nan_are_refused(tmp_path: Path, capsys: Capture) -> None:
    path = tidy(tmp_path / "t.parquet", n=20, split=True)
    lines = pq.read_table(path).to_pylist()
    leak = [
        row | ({"query": "HOW many are 0 and 0"} if row["query_id"] == "q15" else {})
        for row in lines
    ]
    pq.write_table(pa.Table.from_pylist(leak), path)
    assert call(path, tmp_path) == 1
    assert "query 'q15': leaks: it lies in split" in capsys.readouterr().err
    assert call(path, tmp_path, "--duplicates", "keep") == 1
    assert "move both to one split" in capsys.readouterr().err
    pq.write_table(pa.Table.from_pylist(lines[1:]), path)
    assert call(path, tmp_path) == 1
    assert "query 'q0' with adapter 'a': the cell is missing" in capsys.readouterr().err
    pq.write_table(pa.Table.from_pylist([lines[0] | {"score": float("nan")}, *lines[1:]]), path)
    assert call(path, tmp_path) == 1
    assert "score is nan" in capsys.readouterr().err
    pq.write_table(pa.Table.from_pylist([*lines, lines[0]]), path)
    assert call(path, tmp_path) == 1
    assert "repeats query 'q0' with adapter 'a'" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()


def test_another_layout(tmp_path: Path) -> None:
    rows = [
        {"query": f"What is {i}?", "model_name": model, "performance": i % 2}
        for i in range(30)
        for model in ("qwen", "llama")
    ]
    path = tmp_path / "routing_data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert call(path, tmp_path, "--layout", "llmrouter") == 0
    assert OutcomeTable.load(tmp_path / "table").adapters == ("llama", "qwen")


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--layout", "wide"], 2, "layout='wide' is unknown"),
        (["--duplicates", "merge"], 2, "duplicates='merge' is unknown"),
        (["--validation_share", "1"], 2, "validation_share=1.0 must be in"),
        (["--encoder", "minilmm"], 1, "did you mean 'minilm'"),
        (["--input", "nowhere.csv"], 1, "does not exist"),
        (["--score_range", "[0]"], 2, "must be the lowest and the highest"),
    ],
)
def test_refuses(
    extra: list[str], code: int, message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert call(tidy(tmp_path / "t.parquet"), tmp_path, *extra) == code
    assert message in capsys.readouterr().err
