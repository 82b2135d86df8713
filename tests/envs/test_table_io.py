"""Tables on disk: exact round trips, whole or not at all, and every kind of damage refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from routing_gym.envs import table_io
from routing_gym.envs.errors import TableError
from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=40, k=3, d=8)


@pytest.fixture
def folder(table: OutcomeTable, tmp_path: Path) -> Path:
    table.save(tmp_path / "table")
    return tmp_path / "table"


def test_round_trip_is_exact(table: OutcomeTable, folder: Path) -> None:
    loaded = OutcomeTable.load(folder)
    assert loaded.fingerprint == table.fingerprint
    assert loaded.responses.tolist() == table.responses.tolist()
    np.testing.assert_array_equal(loaded.embeddings, table.embeddings)
    assert set(loaded.manifest.files) == set(table_io.FILES)


def test_the_files_are_as_documented(folder: Path) -> None:
    outcomes = pq.read_table(folder / "outcomes.parquet")
    names = ["query_id", "adapter", "score_accuracy", "score_seconds", "prompt_tokens"]
    names += ["completion_tokens", "seconds", "finished", "response"]
    assert set(names) <= set(outcomes.column_names)
    assert outcomes.num_rows == 40 * 3
    queries = pq.read_table(folder / "queries.parquet").column_names
    assert queries == "query_id text domain task complexity split form form_size reference".split()


def test_rows_of_outcomes_may_come_in_any_order(table: OutcomeTable, folder: Path) -> None:
    rng = np.random.default_rng(0)
    rewrite(folder, "outcomes.parquet", lambda t: t.take(pa.array(rng.permutation(t.num_rows))))
    assert OutcomeTable.load(folder).fingerprint == table.fingerprint


def test_half_precision_embeddings(table: OutcomeTable, tmp_path: Path) -> None:
    loaded = table.save(tmp_path / "half", embedding_dtype="float16")
    np.testing.assert_array_equal(loaded.embeddings, table.embeddings.astype(np.float16))
    with pytest.raises(ValueError, match="embedding_dtype='int8'"):
        table.save(tmp_path / "other", embedding_dtype="int8")  # type: ignore[arg-type]


def test_save_does_not_overwrite_unasked(table: OutcomeTable, folder: Path) -> None:
    with pytest.raises(TableError, match="overwrite=True"):
        table.save(folder)
    smaller = table.where(split="test")
    smaller.save(folder, overwrite=True)
    assert OutcomeTable.load(folder).fingerprint == smaller.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == ["table"]


def test_save_never_replaces_something_else(table: OutcomeTable, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("five years of work")
    with pytest.raises(TableError, match="holds something else"):
        table.save(tmp_path, overwrite=True)
    with pytest.raises(TableError, match="holds something else"):
        table.save(tmp_path / "thesis.tex", overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "five years of work"


@pytest.mark.parametrize("broken", ["save_file", "_sha256"])
def test_a_failed_save_leaves_nothing(
    table: OutcomeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(table_io, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        table.save(tmp_path / "table")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_old(
    table: OutcomeTable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if ".draft-" in self.name:
            raise OSError("killed")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="killed"):
        table.where(split="test").save(folder, overwrite=True)
    assert OutcomeTable.load(folder).fingerprint == table.fingerprint
    assert [path.name for path in folder.parent.iterdir()] == ["table"]


def rewrite(folder: Path, name: str, edit: Callable[[pa.Table], pa.Table]) -> None:
    """Edit a parquet file and state its new hash, as an outside tool would."""
    pq.write_table(edit(pq.read_table(folder / name)), folder / name)
    restate(folder, name)


def restate(folder: Path, name: str) -> None:
    """Write a file's present hash into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def replaced(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Replace one entry of a column."""

    def edit(content: pa.Table) -> pa.Table:
        values = content[name].to_pylist()
        values[row] = value
        index = content.column_names.index(name)
        return content.set_column(index, name, pa.array(values))

    return edit


FAULTS: list[tuple[str, str, Callable[[pa.Table], pa.Table], str]] = [
    (
        "NaN",
        "outcomes",
        replaced("score_safety", 4, float("nan")),
        "'adapter_1': score 'safety' is nan",
    ),
    ("null score", "outcomes", replaced("score_safety", 4, None), "score 'safety' is nan"),
    ("null response", "outcomes", replaced("response", 4, None), r"row 4: response is empty"),
    ("range", "outcomes", replaced("score_accuracy", 4, 2.0), r"is 2.0, outside \[0, 1\]"),
    ("duplicate", "outcomes", replaced("adapter", 4, "adapter_0"), "row 4: repeats .*of row 3"),
    (
        "missing cell",
        "outcomes",
        lambda t: t.slice(1),
        r"'q00000' with adapter 'adapter_0': .*1 in all",
    ),
    (
        "other adapter",
        "outcomes",
        replaced("adapter", 4, "gpt"),
        "the adapter 'gpt' is not in the manifest",
    ),
    (
        "other query",
        "outcomes",
        replaced("query_id", 4, "q9"),
        r"the query 'q9' is not in queries\.parquet",
    ),
    ("missing column", "outcomes", lambda t: t.drop(["seconds"]), "lacks the column 'seconds'"),
    (
        "text as number",
        "queries",
        lambda t: t.set_column(4, "complexity", pa.array(["hard"] * t.num_rows)),
        "'complexity' cannot be read as int64",
    ),
    ("empty query", "queries", replaced("text", 2, " "), "row 2 .*text is an empty query"),
    ("unknown split", "queries", replaced("split", 2, "dev"), "split is 'dev'"),
    ("lost query", "queries", lambda t: t.slice(1), "the query 'q00000' is not in"),
    (
        "doubled query",
        "queries",
        lambda t: pa.concat_tables([t, t.slice(0, 1)]),
        "row 40: query_id .* is that of row 0 too",
    ),
]


@pytest.mark.parametrize(
    ("name", "edit", "message"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_load_refuses(folder: Path, name: str, edit: Any, message: str) -> None:
    rewrite(folder, f"{name}.parquet", edit)
    with pytest.raises(TableError, match=message):
        OutcomeTable.load(folder)


def test_load_refuses_an_overlap_of_splits(table: OutcomeTable, folder: Path) -> None:
    train = int(np.flatnonzero(table.split == "train")[0])
    test = int(np.flatnonzero(table.split == "test")[0])
    rewrite(folder, "queries.parquet", replaced("text", test, table.text[train].replace(" ", "  ")))
    with pytest.raises(TableError, match="move both to one split"):
        OutcomeTable.load(folder)


@pytest.mark.parametrize("name", table_io.FILES)
def test_load_refuses_damaged_files(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match=f"{name}: is truncated or edited: its sha256 is"):
        OutcomeTable.load(folder)
    restate(folder, name)
    with pytest.raises(TableError, match=f"{name}: is not a readable .*; restore the file"):
        OutcomeTable.load(folder)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TableError, match=f"{name}: is truncated or edited"):
        OutcomeTable.load(folder)
    path.unlink()
    with pytest.raises(TableError, match=f"{name}: is missing from"):
        OutcomeTable.load(folder)


def test_load_refuses_embeddings_that_do_not_fit(folder: Path) -> None:
    path = folder / "embeddings.safetensors"
    for tensors, message in [
        ({"embeddings": np.zeros((3, 8), np.float32)}, r"shape \(3, 8\), not \(40, D\)"),
        ({"vectors": np.zeros((40, 8), np.float32)}, "name the tensor 'embeddings'"),
    ]:
        save_file(tensors, path)
        restate(folder, path.name)
        with pytest.raises(TableError, match=message):
            OutcomeTable.load(folder)


def test_load_refuses_a_file_without_a_hash(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["outcomes.parquet"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TableError, match=r"states no sha256 for outcomes\.parquet; add"):
        OutcomeTable.load(folder)


def test_load_refuses_a_folder_that_is_no_table(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(TableError, match=r"is not an outcome table .*collect one"):
        OutcomeTable.load(tmp_path / "nowhere")
    (folder / "manifest.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(TableError, match=r"manifest\.json: is not UTF-8"):
        OutcomeTable.load(folder)
