"""Passes over collected answers: resumable, bound to what was read, one writer at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from routing_gym.adapters.spec import CONFIG_FILE, WEIGHTS_FILE, AdapterSpec, PoolSpec
from routing_gym.adapters.token_signals import TokenSignals
from routing_gym.envs.collection_files import Cell
from routing_gym.envs.collection_passes import (
    LIKELIHOODS,
    collect_judgements,
    collect_signals,
)
from routing_gym.queries.dataset import make_queries
from routing_gym.queries.query import Query


class Reader:
    """Gives each answer as many tokens as it has characters, and remembers what it read."""

    def __init__(self, dies_at: int = 0) -> None:
        self.read: list[tuple[str, str, bool]] = []
        self.calls = 0
        self.dies_at = dies_at

    def __call__(
        self, queries: Sequence[str], responses: Sequence[str], finished: Sequence[bool]
    ) -> list[TokenSignals]:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.read += zip(queries, responses, finished, strict=True)
        return [
            TokenSignals(np.full(len(r), -0.123456, np.float32), np.full(len(r), 1.5, np.float32))
            for r in responses
        ]


def write_weights(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(content)
    (folder / CONFIG_FILE).write_text("{}")
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> PoolSpec:
    one = AdapterSpec("one", write_weights(tmp_path / "weights" / "one", b"1"))
    return PoolSpec("some/model", (AdapterSpec("base"), one))


@pytest.fixture(scope="module")
def queries() -> list[Query]:
    return make_queries({"turns": 7}, seed=0)


@pytest.fixture
def cells(queries: list[Query]) -> dict[str, Cell]:
    return {
        q.query_id: Cell("k", q.query_id, "x" * (9 - i), 9, 5, 0.2, i > 0)
        for i, q in enumerate(queries)
    }


def test_every_answer_gets_its_signals(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path
) -> None:
    reader, ticks = Reader(), []
    found = collect_signals(
        spec,
        "one",
        queries,
        cells,
        read=reader,
        folder=tmp_path,
        flush_rows=3,
        on_rows=ticks.append,
    )
    assert ticks == [0, 3, 3, 1]
    for query in queries:
        cell, old = found[query.query_id], cells[query.query_id]
        assert cell.token_log_probs == (-0.1235,) * len(old.response)
        assert cell.token_entropies == (1.5,) * len(old.response)
        assert replace(cell, token_log_probs=None, token_entropies=None) == old
        assert (query.text, old.response, old.finished) in reader.read
    lines = (tmp_path / "signals-one.jsonl").read_text().splitlines()
    query_id, _, log_probs, entropies = json.loads(lines[0])
    assert (log_probs, entropies) == ([-0.1235] * 3, [1.5] * 3)  # the shortest is read first
    assert query_id == queries[-1].query_id


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_killed_reading_goes_on(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path, dies_at: int
) -> None:
    begin = partial(collect_signals, spec, "one", queries, cells, folder=tmp_path, flush_rows=3)
    with pytest.raises(KeyboardInterrupt):
        begin(read=Reader(dies_at))
    with (tmp_path / "signals-one.jsonl").open("a") as file:
        file.write('["unfini')
    reader = Reader()
    found = begin(read=reader)
    assert len(reader.read) == 7 - 3 * (dies_at - 1)
    assert begin(read=Reader(dies_at=1)) == found


def test_signals_of_the_generation_are_not_read_again(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path
) -> None:
    first = queries[0].query_id
    cells[first] = replace(cells[first], token_log_probs=(-1.0,), token_entropies=(2.0,))
    reader = Reader()
    found = collect_signals(spec, "one", queries, cells, read=reader, folder=tmp_path)
    assert found[first] == cells[first]
    assert len(reader.read) == 6


@pytest.mark.parametrize("change", ["response", "finished", "weights"])
def test_another_answer_is_read_again(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path, change: str
) -> None:
    collect_signals(spec, "one", queries, cells, read=Reader(), folder=tmp_path)
    first = queries[0].query_id
    if change == "weights":
        write_weights(tmp_path / "weights" / "one", b"trained further")
    else:
        other = {"response": "other", "finished": True}[change]
        cells[first] = replace(cells[first], **{change: other})
    reader = Reader()
    found = collect_signals(spec, "one", queries, cells, read=reader, folder=tmp_path)
    assert len(reader.read) == (7 if change == "weights" else 1)
    assert len(found[first].token_log_probs or ()) == len(cells[first].response)


def test_a_file_in_use_is_left_alone(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path
) -> None:
    with (tmp_path / "signals-one.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(OSError, match="is being collected by another process: wait"):
            collect_signals(spec, "one", queries, cells, read=Reader(), folder=tmp_path)


@pytest.mark.parametrize("line", ["not json", "{}", '["a", "b", []]'])
def test_a_damaged_file_is_named(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path, line: str
) -> None:
    (tmp_path / "signals-one.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"signals-one\.jsonl holds a line that does not belong"):
        collect_signals(spec, "one", queries, cells, read=Reader(), folder=tmp_path)


def test_wrong_calls(
    spec: PoolSpec, queries: list[Query], cells: dict[str, Cell], tmp_path: Path
) -> None:
    begin = partial(collect_signals, read=Reader(), folder=tmp_path)
    with pytest.raises(ValueError, match="unknown adapter 'two': the pool has base, one"):
        begin(spec, "two", queries, cells)
    with pytest.raises(ValueError, match="flush_rows=0: give at least 1"):
        begin(spec, "one", queries, cells, flush_rows=0)
    del cells[queries[2].query_id]
    with pytest.raises(ValueError, match=f"'one' to query '{queries[2].query_id}' is missing"):
        begin(spec, "one", queries, cells)


def likelihood(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    return np.array([-1.0 if response else -np.inf for response in responses])


@pytest.fixture
def arms(queries: list[Query], cells: dict[str, Cell]) -> dict[str, dict[str, Cell]]:
    """An empty answer by the base and one by `one` for every query."""
    empty = {query_id: replace(cell, response="") for query_id, cell in cells.items()}
    return {"base": empty, "one": cells}


def test_judgements_go_on_after_a_kill(
    queries: list[Query], arms: dict[str, dict[str, Cell]], tmp_path: Path
) -> None:
    asked: list[str] = []

    def dying(texts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        if asked:
            raise KeyboardInterrupt
        asked.extend(texts)
        return likelihood(texts, responses)

    path = tmp_path / LIKELIHOODS
    begin = partial(collect_judgements, queries, arms, path=path, flush_queries=3)
    with pytest.raises(KeyboardInterrupt):
        begin(judge=dying)
    with path.open("a") as file:
        file.write('["unfini')
    again: list[str] = []

    def counted(texts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        again.extend(texts)
        return likelihood(texts, responses)

    values = begin(judge=counted)
    assert values.tolist() == [[-np.inf, -1.0]] * len(queries)
    assert set(asked) | set(again) == {q.text for q in queries}
    assert not set(asked) & set(again)
    assert len(path.read_text().splitlines()) == len(queries)


def test_changed_answers_are_judged_again(
    queries: list[Query], arms: dict[str, dict[str, Cell]], tmp_path: Path
) -> None:
    begin = partial(collect_judgements, judge=likelihood, path=tmp_path / LIKELIHOODS)
    begin(queries, arms)
    first = queries[0].query_id
    arms["one"][first] = replace(arms["one"][first], response="")
    values = begin(queries, arms)
    assert values[0].tolist() == [-np.inf, -np.inf]
    assert values[1].tolist() == [-np.inf, -1.0]


def test_judgements_refuse_wrong_calls(
    queries: list[Query], arms: dict[str, dict[str, Cell]], tmp_path: Path
) -> None:
    begin = partial(collect_judgements, judge=likelihood, path=tmp_path / LIKELIHOODS)
    with pytest.raises(ValueError, match="flush_queries=0: give at least 1"):
        begin(queries, arms, flush_queries=0)
    del arms["one"][queries[1].query_id]
    with pytest.raises(ValueError, match="the answer of adapter 'one'"):
        begin(queries, arms)
