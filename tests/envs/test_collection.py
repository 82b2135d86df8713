"""Collecting answers: nothing lost, nothing doubled, nothing stale; then the table."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, AdapterSpec, PoolSpec
from routing_gym.envs.collection import assemble, cell_key, collect_answers
from routing_gym.envs.collection_files import Cell
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import make_queries
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator

METRICS = ("coherence", "completeness", "safety", "certainty", "p_true", "tokens", "seconds")


@dataclass
class FakePool:
    """Answers with the name and the query, and remembers what it was asked."""

    spec: PoolSpec
    asked: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0
    dies_at: int = 0

    def generate(
        self, name: str, texts: Sequence[str], *, forms: Sequence[str], batch_size: int
    ) -> list[Completion]:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        assert len(texts) == len(forms)
        self.asked += [(name, text) for text in texts]
        signals = (-0.123456, -2.0), (0.56789, 1.5)
        return [
            Completion(f"{name}: {text}\n\u2028é", 7, 3, 0.123456789, True, *signals)
            for text in texts
        ]


def weights(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(content)
    (folder / CONFIG_FILE).write_text("{}")
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> PoolSpec:
    one = AdapterSpec("one", weights(tmp_path / "weights" / "one", b"1"))
    return PoolSpec("some/model", (AdapterSpec("base"), one))


@pytest.fixture(scope="module")
def queries() -> list[Query]:
    return make_queries({"turns": 8, "dates": 8}, seed=0)


def collect(pool: FakePool, queries: Sequence[Query], folder: Path, **options: Any) -> dict:
    return collect_answers(pool, "one", queries, folder=folder, flush_rows=3, **options)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers-one.jsonl").read_text().splitlines()]


def test_every_query_is_answered_once(spec: PoolSpec, queries: list[Query], tmp_path: Path) -> None:
    pool, ticks = FakePool(spec), []
    cells = collect(pool, queries, tmp_path, on_rows=ticks.append)
    assert sorted(pool.asked) == sorted(("one", q.text) for q in queries)
    assert set(cells) == {q.query_id for q in queries}
    assert all(cells[q.query_id].response.startswith(f"one: {q.text}") for q in queries)
    assert all(cell.seconds == 0.12346 for cell in cells.values())
    assert all(cell.token_log_probs == (-0.1235, -2.0) for cell in cells.values())
    assert all(cell.token_entropies == (0.5679, 1.5) for cell in cells.values())
    assert [line["query_id"] for line in lines(tmp_path)] == list(cells)
    assert ticks == [0, 3, 3, 3, 3, 3, 1]


def test_a_second_run_asks_nothing(spec: PoolSpec, queries: list[Query], tmp_path: Path) -> None:
    first = collect(FakePool(spec), queries, tmp_path)
    pool, ticks = FakePool(spec), []
    assert collect(pool, queries, tmp_path, on_rows=ticks.append) == first
    assert pool.asked == []
    assert ticks == [16]


def test_more_queries_ask_only_for_them(
    spec: PoolSpec, queries: list[Query], tmp_path: Path
) -> None:
    collect(FakePool(spec), queries[:10], tmp_path)
    pool = FakePool(spec)
    cells = collect(pool, queries, tmp_path)
    assert {text for _, text in pool.asked} == {q.text for q in queries[10:]}
    assert len(cells) == 16
    fewer = collect(FakePool(spec), queries[:2], tmp_path)
    assert set(fewer) == {q.query_id for q in queries[:2]}


def test_lines_without_token_signals_are_still_read(
    spec: PoolSpec, queries: list[Query], tmp_path: Path
) -> None:
    collect(FakePool(spec), queries, tmp_path)
    old = [
        {k: v for k, v in line.items() if not k.startswith("token_")} for line in lines(tmp_path)
    ]
    path = tmp_path / "answers-one.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    pool = FakePool(spec)
    cells = collect(pool, queries, tmp_path)
    assert pool.asked == []
    assert all(cell.token_log_probs is cell.token_entropies is None for cell in cells.values())


@pytest.mark.parametrize("dies_at", [1, 2, 4, 6])
def test_a_killed_run_goes_on(
    spec: PoolSpec, queries: list[Query], tmp_path: Path, dies_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(FakePool(spec, dies_at=dies_at), queries, tmp_path)
    pool = FakePool(spec)
    cells = collect(pool, queries, tmp_path)
    assert len(pool.asked) == 16 - 3 * (dies_at - 1)
    ids = [line["query_id"] for line in lines(tmp_path)]
    assert sorted(ids) == sorted(q.query_id for q in queries) == sorted(cells)


@pytest.mark.parametrize("kept", [1, 40, 0.5, -1])
def test_a_truncated_last_line_is_collected_again(
    spec: PoolSpec, queries: list[Query], tmp_path: Path, kept: float
) -> None:
    whole = collect(FakePool(spec), queries, tmp_path)
    path = tmp_path / "answers-one.jsonl"
    content = path.read_bytes()
    last = content[content.rstrip(b"\n").rfind(b"\n") + 1 :]
    size = int(len(last) * kept) if 0 < kept < 1 else int(kept)
    path.write_bytes(content[: len(content) - len(last)] + last[:size])
    pool = FakePool(spec)
    assert collect(pool, queries, tmp_path) == whole
    assert len(pool.asked) == 1
    assert path.read_bytes() == content


def test_changed_weights_are_collected_again(
    spec: PoolSpec, queries: list[Query], tmp_path: Path
) -> None:
    collect(FakePool(spec), queries, tmp_path)
    weights(tmp_path / "weights" / "one", b"trained further")
    pool = FakePool(spec)
    cells = collect(pool, queries, tmp_path)
    assert len(pool.asked) == 16
    assert {cell.key for cell in cells.values()} == {
        cell_key(q, spec.adapters[1].sha256, "some/model") for q in queries
    }
    weights(tmp_path / "weights" / "one", b"1")  # the first weights' answers are still there
    back = FakePool(spec)
    collect(back, queries, tmp_path)
    assert back.asked == []


def test_the_key_binds_text_form_model_and_weights(queries: list[Query]) -> None:
    first, last = queries[0], queries[-1]
    keys = {
        cell_key(first, "a", "m"),
        cell_key(first, "b", "m"),
        cell_key(first, "a", "n"),
        cell_key(last, "a", "m"),
    }
    assert len(keys) == 4


def test_adapters_have_files_of_their_own(
    spec: PoolSpec, queries: list[Query], tmp_path: Path
) -> None:
    pool = FakePool(spec)
    for name in spec.names:
        cells = collect_answers(pool, name, queries[:4], folder=tmp_path)
        assert all(cell.response.startswith(name) for cell in cells.values())
    assert len(pool.asked) == 8


def test_a_file_that_is_being_collected_is_left_alone(
    spec: PoolSpec, queries: list[Query], tmp_path: Path
) -> None:
    pool = FakePool(spec)
    with (tmp_path / "answers-one.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(OSError, match="is being collected by another process: wait"):
            collect(pool, queries, tmp_path)
        assert pool.asked == []
        collect_answers(pool, "base", queries[:2], folder=tmp_path)
    collect(pool, queries, tmp_path)
    assert len(pool.asked) == 18


def test_unknown_adapters_list_the_known(spec: PoolSpec, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown adapter 'two': the pool has base, one"):
        collect_answers(FakePool(spec), "two", [], folder=tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"key"', '"kee"', 1),
        lambda text: "not json\n" + text,
        lambda text: text[: len(text) // 2] + "\n" + text[len(text) // 2 :],
        lambda text: text.replace('"finished": true', '"finished": true, "extra": 1', 1),
    ],
)
def test_an_edited_file_is_named(
    spec: PoolSpec, queries: list[Query], tmp_path: Path, damage: Callable[[str], str]
) -> None:
    collect(FakePool(spec), queries, tmp_path)
    path = tmp_path / "answers-one.jsonl"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=r"answers-one\.jsonl"):
        collect(FakePool(spec), queries, tmp_path)


def answered(queries: Sequence[Query], spec: PoolSpec) -> dict[str, dict[str, Cell]]:
    """Give every query a right answer by `one` and an empty one by the base."""
    right = {"turns": lambda q: json.loads(q.reference), "dates": lambda q: json.loads(q.reference)}
    return {
        "base": {q.query_id: Cell("k", q.query_id, "", 9, 1, 0.1, True) for q in queries},
        "one": {
            q.query_id: Cell(
                "k", q.query_id, f"It is {right[q.task](q)}", 9, 5, 0.2, i > 0, (-0.5,), (0.7,)
            )
            for i, q in enumerate(queries)
        },
    }


def build(
    queries: Sequence[Query], cells: dict[str, dict[str, Cell]], spec: PoolSpec
) -> OutcomeTable:
    return assemble(
        queries,
        cells,
        pool=spec,
        evaluator=SelfEvaluator(METRICS),
        likelihoods=np.tile([-np.inf, -1.0], (len(queries), 1)),
        p_true=np.tile([0.0, 0.75], (len(queries), 1)),
        encode=lambda texts: np.eye(len(texts), 32, dtype=np.float32),
        encoder="rows",
        generation={"decoding": "greedy"},
        seeds={"queries": 0},
        versions={"numpy": np.__version__},
    )


def test_the_table_holds_what_was_collected(spec: PoolSpec, queries: list[Query]) -> None:
    table = build(queries, answered(queries, spec), spec)
    assert table.adapters == ("base", "one")
    assert table.scores["accuracy"].tolist() == [[0.0, 1.0]] * 16
    assert table.scores["accuracy_strict"].tolist() == [[0.0, 0.0]] * 16
    assert set(table.scores) == {*METRICS, "accuracy", "accuracy_strict"}
    assert table.text.tolist() == [q.text for q in queries]
    assert table.split.tolist() == [q.split for q in queries]
    assert table.form_size.tolist() == [q.form_size for q in queries]
    assert table.completion_tokens[0].tolist() == [1, 5]
    assert table.finished[:2].tolist() == [[True, False], [True, True]]
    assert table.responses[3, 1].startswith("It is ")
    assert table.reference.tolist() == [q.reference for q in queries]
    assert table.scores["p_true"].tolist() == [[0.0, 0.75]] * 16
    np.testing.assert_allclose(table.scores["certainty"][:, 1], np.exp(-0.7), rtol=1e-6)


def test_the_manifest_binds_the_pool(spec: PoolSpec, queries: list[Query], tmp_path: Path) -> None:
    table = build(queries, answered(queries, spec), spec)
    table.check_pool(spec.names, spec.fingerprint)
    roles = {name: record.role for name, record in table.manifest.metrics.items()}
    assert roles["accuracy"] == roles["accuracy_strict"] == "truth"
    assert roles["tokens"] == roles["seconds"] == "cost"
    assert roles["coherence"] == "score"
    assert table.directions["tokens"] == "lower"
    assert [a.sha256 for a in table.manifest.adapters] == ["", spec.adapters[1].sha256]
    saved = table.save(tmp_path / "table")
    assert OutcomeTable.load(tmp_path / "table").fingerprint == saved.fingerprint


@pytest.mark.parametrize("adapter", ["base", "one"])
def test_a_missing_cell_is_named(spec: PoolSpec, queries: list[Query], adapter: str) -> None:
    cells = answered(queries, spec)
    del cells[adapter][queries[5].query_id]
    message = f"adapter '{adapter}' to query '{queries[5].query_id}' is missing: run the collection"
    with pytest.raises(ValueError, match=message):
        build(queries, cells, spec)


def test_a_missing_adapter_is_named(spec: PoolSpec, queries: list[Query]) -> None:
    cells = answered(queries, spec)
    del cells["one"]
    with pytest.raises(ValueError, match="the answer of adapter 'one'"):
        build(queries, cells, spec)


def test_a_score_that_is_no_number_is_refused(spec: PoolSpec, queries: list[Query]) -> None:
    with pytest.raises(ValueError, match="log_likelihood=nan"):
        assemble(
            queries,
            answered(queries, spec),
            pool=spec,
            evaluator=SelfEvaluator(METRICS),
            likelihoods=np.full((len(queries), 2), np.nan),
            p_true=np.full((len(queries), 2), 0.5),
            encode=lambda texts: np.eye(len(texts), 32, dtype=np.float32),
            encoder="rows",
            generation={},
            seeds={},
            versions={},
        )


def test_cells_survive_the_file(tmp_path: Path) -> None:
    cell = Cell("k", "q", 'line\n\u2028\x85\x0c"quoted" é', 1, 2, 0.5, False, (-0.1,), (0.2,))
    assert Cell(**json.loads(json.dumps(asdict(cell)))) == cell
