"""Sampling is resumable, and bound to the query, the weights, the seed and the temperature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.envs.collection_samples import collect_samples
from routing_gym.queries.dataset import make_queries
from routing_gym.queries.query import Query


class FakePool:
    """Answers with seed, number and query, and remembers what it was asked."""

    spec = PoolSpec("some/model", (AdapterSpec("base"), AdapterSpec("one")))

    def __init__(self, dies_at: int = 0) -> None:
        self.asked: list[str] = []
        self.calls = 0
        self.dies_at = dies_at

    def sample(
        self, name: str, texts: Sequence[str], *, k: int, seed: int, **options: Any
    ) -> list[list[Completion]]:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        assert len(options["forms"]) == len(texts)
        self.asked += texts
        return [
            [Completion(f"{seed} {number} {text}", 7, 3, 0.1, True) for number in range(k)]
            for text in texts
        ]


@pytest.fixture(scope="module")
def queries() -> list[Query]:
    return make_queries({"turns": 7}, seed=0)


def test_every_query_is_sampled(queries: list[Query], tmp_path: Path) -> None:
    pool, ticks = FakePool(), []
    found = collect_samples(
        pool, "one", queries, folder=tmp_path, k=3, seed=5, flush_queries=3, on_rows=ticks.append
    )
    assert ticks == [0, 3, 3, 1]
    assert found == {q.query_id: [f"5 {j} {q.text}" for j in range(3)] for q in queries}
    again = FakePool()
    assert collect_samples(again, "one", queries, folder=tmp_path, k=3, seed=5) == found
    fewer = collect_samples(again, "one", queries[:2], folder=tmp_path, k=2, seed=5)
    assert fewer == {q.query_id: found[q.query_id][:2] for q in queries[:2]}
    assert again.asked == []


def test_a_killed_run_goes_on(queries: list[Query], tmp_path: Path) -> None:
    begin = partial(collect_samples, folder=tmp_path, k=2, seed=0, flush_queries=3)
    with pytest.raises(KeyboardInterrupt):
        begin(FakePool(dies_at=2), "one", queries)
    with (tmp_path / "samples-one.jsonl").open("a") as file:
        file.write('["unfini')
    pool = FakePool()
    assert set(begin(pool, "one", queries)) == {q.query_id for q in queries}
    assert len(pool.asked) == 4


@pytest.mark.parametrize("change", [{"seed": 1}, {"temperature": 0.5}, {"k": 4}])
def test_other_settings_are_sampled_anew(
    queries: list[Query], tmp_path: Path, change: dict[str, Any]
) -> None:
    begin = partial(collect_samples, folder=tmp_path)
    settings: dict[str, Any] = {"k": 2, "seed": 0, "temperature": 1.0}
    begin(FakePool(), "one", queries, **settings)
    pool = FakePool()
    begin(pool, "one", queries, **settings | change)
    assert len(pool.asked) == len(queries)


@pytest.mark.parametrize("line", ["not json", '["a", "b", "c"]'])
def test_a_damaged_file_is_named(queries: list[Query], tmp_path: Path, line: str) -> None:
    (tmp_path / "samples-one.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"samples-one\.jsonl holds a line"):
        collect_samples(FakePool(), "one", queries, folder=tmp_path, k=2, seed=0)


def test_wrong_calls(queries: list[Query], tmp_path: Path) -> None:
    begin = partial(collect_samples, FakePool(), folder=tmp_path, k=2, seed=0)
    with pytest.raises(ValueError, match="flush_queries=0: give at least 1"):
        begin("one", queries, flush_queries=0)
    with pytest.raises(ValueError, match="unknown adapter 'two'"):
        begin("two", queries)
