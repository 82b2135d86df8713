"""Published long tables become outcome tables, or say why not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from routing_gym.envs.errors import TableError
from routing_gym.envs.table import OutcomeTable
from routing_gym.envs.tidy import hashed_words
from routing_gym.queries.splits import normalise

PUBLIC = Path(
    os.environ.get("ROUTING_GYM_TABLES")
    or Path(__file__).resolve().parents[2].parent / "shared" / "tables"
)


def tidy(**columns: list[Any]) -> pa.Table:
    """Make 60 queries under the arms "weak" and "strong", rows in a mixed order."""
    n, arms = 60, ["weak", "strong"]
    content: dict[str, list[Any]] = {
        "query_id": [f"q{i}" for i in range(n) for _ in arms],
        "query": [f"What is {i} plus {i}?" for i in range(n) for _ in arms],
        "arm": arms * n,
        "score": [float(arm == "strong" or i % 3 == 0) for i in range(n) for arm in arms],
    }
    return pa.table(content | columns)


def edited(name: str, row: int, value: Any, **columns: list[Any]) -> pa.Table:
    """Replace one entry of the tidy table."""
    content = tidy(**columns).to_pydict()
    content[name][row] = value
    return pa.table(content)


def test_scores_become_accuracy() -> None:
    table = OutcomeTable.from_tidy(tidy())
    assert table.adapters == ("strong", "weak")
    assert table.scores["accuracy"][:4].tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]
    assert set(table.splits) == {"train", "validation", "test"}
    assert table.manifest.metrics["accuracy"].role == "truth"
    data = table.data("train", {"accuracy": 1.0})
    assert data.costs == {}  # nothing was measured, so nothing is claimed
    assert data.observations.shape[1] == 256


def test_frames_csv_and_parquet_are_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pa.csv.write_csv(tidy(), tmp_path / "t.csv")
    pq.write_table(tidy(), tmp_path / "t.parquet")
    sources = [tidy(), pandas.DataFrame(tidy().to_pydict()), tmp_path / "t.csv"]
    sources.append(str(tmp_path / "t.parquet"))
    assert len({OutcomeTable.from_tidy(source).fingerprint for source in sources}) == 1


def test_scores_outside_the_unit_range_are_scaled_and_noted() -> None:
    source = tidy(score=[1.0, 10.0] * 60)
    table = OutcomeTable.from_tidy(source)
    assert table.scores["accuracy"][0].tolist() == [1.0, 0.0]
    assert table.manifest.generation["score_range"] == [1.0, 10.0]
    table = OutcomeTable.from_tidy(source, score_range=(0, 20))
    assert table.scores["accuracy"][0].tolist() == [0.5, np.float32(0.05)]


def test_costs_are_relative_to_the_highest() -> None:
    table = OutcomeTable.from_tidy(tidy(cost=[0.5, 2.0] * 60))
    assert table.scores["cost"][0].tolist() == [1.0, 0.25]
    assert table.directions["cost"] == "lower"
    assert table.manifest.generation["cost_ceiling"] == 2.0
    assert "cost" not in OutcomeTable.from_tidy(tidy(cost=[None] * 120)).scores


def test_contaminated_rows_are_left_out() -> None:
    split = ["contaminated"] * 20 + ["clean"] * 100
    assert OutcomeTable.from_tidy(tidy(split=split)).query_id[0] == "q10"
    with pytest.raises(TableError, match=r"no .uncontaminated. rows"):
        OutcomeTable.from_tidy(tidy(split=["contaminated"] * 120))


def test_a_given_split_is_kept() -> None:
    split = ["train"] * 80 + ["test"] * 40
    assert OutcomeTable.from_tidy(tidy(split=split)).split.tolist() == split[::2]


def test_equal_texts_are_never_parted() -> None:
    texts = [f"Name {'the  river' if i % 2 else 'The river?'} {i // 2}" for i in range(60)]
    table = OutcomeTable.from_tidy(tidy(query=[text for text in texts for _ in "ab"]))
    assert table.split[::2].tolist() == table.split[1::2].tolist()
    other = OutcomeTable.from_tidy(tidy(), seed=1)
    assert other.split.tolist() != OutcomeTable.from_tidy(tidy()).split.tolist()


def test_embeddings_may_be_given() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    table = OutcomeTable.from_tidy(tidy(), embeddings=vectors, encoder="mine")
    np.testing.assert_array_equal(table.embeddings, vectors)
    assert table.manifest.encoder == "mine"
    called = OutcomeTable.from_tidy(tidy(), embeddings=lambda texts: np.ones((len(texts), 2)))
    assert called.embeddings.shape == (60, 2)
    with pytest.raises(TableError, match=r"embeddings have shape \(3, 5\), not \(60, D\)"):
        OutcomeTable.from_tidy(tidy(), embeddings=vectors[:3])


def test_hashed_words_are_unit_vectors_of_the_words() -> None:
    vectors = hashed_words(["red fox", "Red fox!", "blue whale", "?"], features=64)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (tidy().drop(["arm"]), "column arm: is missing; needed are"),
        (edited("score", 5, None), "query 'q2' with arm 'strong': score is missing, not a number"),
        (edited("score", 5, float("nan")), "score is nan, not a number"),
        (tidy(score=["good"] * 120), "column score: is not numeric"),
        (edited("query", 5, None), "row 5: query is empty"),
        (edited("query", 5, "Else?"), "'q2': has different texts"),
        (edited("arm", 5, "strong", query_id=["a"] * 120), "repeats query 'a'"),
        (tidy().slice(1), "'q0' with adapter 'weak': the cell is missing"),
        (tidy(arm=["weak"] * 120), "give the scores of at least 2 arms"),
        (tidy(query=[" "] * 120), "is an empty query"),
        (edited("cost", 5, None, cost=[1.0] * 120), "cost is missing"),
        (tidy(cost=[-1.0] * 120), "holds -1; give costs of at least 0"),
        (edited("split", 5, "test", split=["train"] * 120), "'q2': has different splits"),
        (tidy(split=["Train"] * 120), "column split: holds 'Train'; call it 'train'"),
        (tidy(split=["tst"] * 120), "column split: holds 'tst'; call it 'test'"),
        (tidy(split=["train", "holdout"] * 60), "holds 'holdout'; use train, validation, test"),
        (tidy(score=[5.0] * 120), "pass score_range"),
        ("nowhere.parquet", "does not exist"),
    ],
)
def test_refuses(source: Any, message: str) -> None:
    with pytest.raises(TableError, match=message):
        OutcomeTable.from_tidy(source)


def test_refuses_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match="cannot be read"):
        OutcomeTable.from_tidy(tmp_path / "t.parquet")


def test_refuses_scores_outside_the_stated_range() -> None:
    with pytest.raises(TableError, match=r"lie in \[0, 1\] but score_range is \(0, 0.5\)"):
        OutcomeTable.from_tidy(tidy(), score_range=(0, 0.5))


# Published for the clean rows: random/weak, strong and oracle accuracy.
KNOWN = {
    "routellm_mmlu": (14_037, 0.681, 0.806, 0.859),
    "routellm_gsm8k": (1_307, 0.637, 0.858, 0.930),
    "routellm_mtbench": (144, 8.28, 9.21, 9.32),
}


@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"no public tables in {PUBLIC}")
@pytest.mark.parametrize("name", KNOWN)
def test_public_tables(name: str, tmp_path: Path) -> None:
    queries, weak, strong, oracle = KNOWN[name]
    table = OutcomeTable.from_tidy(PUBLIC / f"{name}.parquet")
    assert len(table) == queries
    assert table.adapters[0].startswith("gpt-4")
    low, high = table.manifest.generation.get("score_range", (0.0, 1.0))
    scores = low + table.scores["accuracy"] * (high - low)  # back on the publisher's scale
    assert scores.mean(axis=0) == pytest.approx([strong, weak], abs=0.006)
    assert scores.max(axis=1).mean() == pytest.approx(oracle, abs=0.006)
    texts = {split: set(map(normalise, table.where(split=split).text)) for split in table.splits}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert table.save(tmp_path / name).fingerprint == table.fingerprint


def test_texts_in_a_csv_may_run_over_several_lines(tmp_path: Path) -> None:
    texts = [f"What is\n{i}, exactly?" for i in range(60) for _ in "ab"]
    pa.csv.write_csv(tidy(query=texts), tmp_path / "t.csv")
    assert OutcomeTable.from_tidy(tmp_path / "t.csv").text[3] == "What is\n3, exactly?"


def test_an_encoder_learns_from_the_train_split_alone() -> None:
    class Recording:
        name = "recording"

        def fit(self, texts: Any) -> None:
            self.learned = list(texts)

        def encode(self, texts: Any) -> np.ndarray:
            return np.array([[len(text)] for text in texts], dtype=np.float32)

    encoder = Recording()
    table = OutcomeTable.from_tidy(tidy(), embeddings=encoder)
    assert encoder.learned == table.where(split="train").text.tolist()
    assert table.manifest.encoder == "recording"
    assert table.embeddings[:, 0].tolist() == [len(text) for text in table.text]
