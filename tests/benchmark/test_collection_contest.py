"""The contest of collection, with engines that do not generate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.benchmark import collection_contest as contest
from routing_gym.benchmark.collection_engines import (
    LOOP,
    OPENVINO,
    POOL,
    Answerer,
    Engine,
    engines,
    load_loop,
    load_pool_engine,
)
from routing_gym.benchmark.speed import ContestSettings, SpeedRow
from routing_gym.benchmark.statistics import Interval
from routing_gym.queries.query import Query
from tests.synthetic import identity_table

SETTINGS = ContestSettings(table=Path("unused"), repeats=10, progress=False)
QUERIES = [Query(f"q{i}", f"What is {i}?", "general", "toy", form="word") for i in range(7)]


@dataclass
class Fake:
    """Answers with the adapter and the text, some queries wrongly, after a while."""

    seconds: float = 0.0
    wrong: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, queries: Sequence[Query]) -> list[list[str]]:
        self.asked.append([q.query_id for q in queries])
        time.sleep(self.seconds * len(queries))
        said = ["?" if q.query_id in self.wrong else q.text for q in queries]
        return [[f"{arm} {text}" for text in said] for arm in range(2)]


def rows_with(wrong: tuple[str, ...] = ()) -> list[SpeedRow]:
    loaded: dict[str, Answerer] = {LOOP: Fake(4e-3), POOL: Fake(1e-3), OPENVINO: Fake(0.0, wrong)}
    return contest.compete(loaded, QUERIES, settings=SETTINGS)


def test_the_loop_answers_every_query_once_and_the_others_all_of_them_each_time() -> None:
    loop, ours = Fake(), Fake()
    rows = contest.compete({POOL: ours, LOOP: loop}, QUERIES, settings=SETTINGS)
    ids = [q.query_id for q in QUERIES]
    assert ours.asked[1:] == [ids] * 3
    assert sorted(chain.from_iterable(loop.asked[1:])) == ids
    assert [(row.repeat, row.competitor) for row in rows] == [
        (repeat, name) for repeat in range(3) for name in (POOL, LOOP)
    ]
    assert [row.count for row in rows if row.competitor == LOOP] == [6, 4, 4]
    assert {row.count for row in rows if row.competitor == POOL} == {14}
    assert {row.quality for row in rows} == {1.0}


def test_ratios_are_of_wall_time() -> None:
    figures = contest.collection_figures(rows_with(), own=[POOL, OPENVINO])
    ratio = figures["collection_pool_over_loop"]
    assert isinstance(ratio, Interval)
    assert 2.5 < ratio.value < 5.5
    assert figures["collection_over_loop"] == figures["openvino_over_loop"]
    assert figures["collection_identical"] == figures["openvino_identical"] == 1.0


def test_an_engine_that_answers_otherwise_is_not_the_headline() -> None:
    figures = contest.collection_figures(rows_with(wrong=("q3",)), own=[POOL, OPENVINO])
    assert figures["openvino_identical"] == pytest.approx(6 / 7)
    assert figures["collection_over_loop"] == figures["collection_pool_over_loop"]
    assert figures["collection_identical"] == 1.0


def test_without_an_identical_engine_there_is_no_headline() -> None:
    rows = [row for row in rows_with(wrong=("q3", "q4")) if row.competitor != POOL]
    figures = contest.collection_figures(rows, own=[POOL, OPENVINO])
    assert "collection_over_loop" not in figures
    assert figures["collection_identical"] == pytest.approx(5 / 7)


def test_ratios_by_hand() -> None:
    def row(name: str, repeat: int, count: int, seconds: float) -> SpeedRow:
        return SpeedRow(
            "collection", contest.CASE, name, repeat, "answers", count, 9.0, seconds, 1.0
        )

    rows = [row(LOOP, 0, 6, 5.0), row(LOOP, 1, 4, 2.0), row(LOOP, 2, 4, 7.0)]  # 1 a second
    rows += [row(POOL, repeat, 14, 14 / rate) for repeat, rate in enumerate((3.0, 4.0, 6.0))]
    assert contest.wall_rates(rows, LOOP) == [1.0]
    ratio = contest.collection_figures(rows, own=[POOL])["collection_over_loop"]
    assert isinstance(ratio, Interval)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((4.0, 3.0, 6.0))


def test_the_sample_has_every_task_and_no_test_query() -> None:
    table = identity_table(n=120)
    train = set(table.query_id[table.split == "train"].tolist())
    tasks = np.unique(table.task[table.split == "train"])
    chosen = contest.sample(table, count=2 * len(tasks), seed=0)
    assert {q.query_id for q in chosen} <= train
    assert sorted(q.task for q in chosen) == sorted([*tasks, *tasks])
    again = contest.sample(table, count=2 * len(tasks), seed=0)
    assert chosen == again
    assert chosen != contest.sample(table, count=2 * len(tasks), seed=1)
    assert len(contest.sample(table, count=10_000, seed=0)) == len(train)


def test_the_contest_says_who_was_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "table"
    identity_table(n=120).save(folder)
    shown = (
        Engine(LOOP, "a loop", lambda spec: Fake(2e-3), own=False),
        Engine(POOL, "ours", lambda spec: Fake()),
        Engine(OPENVINO, "ours, compiled", lambda spec: Fake(), lacking=lambda: ["no_such_thing"]),
    )
    monkeypatch.setattr(contest, "engines", lambda: shown)
    monkeypatch.setattr(
        "routing_gym.adapters.pools.load_pool",
        lambda name: PoolSpec("b", (AdapterSpec("one"), AdapterSpec("two"))),
    )
    settings = ContestSettings(table=folder, repeats=3, scale=0.2, progress=False)
    result = contest.collection_contest(settings)
    assert {row.competitor for row in result.rows} == {LOOP, POOL}
    assert "Not installed, so not measured: openvino (no_such_thing)." in result.section
    assert "| ours " in result.section
    assert "| ours, compiled " not in result.section
    assert "openvino_over_loop" not in result.figures
    assert result.figures["collection_identical"] == 1.0


def test_the_loop_is_not_ours() -> None:
    entries = engines()
    assert [entry.name for entry in entries] == [LOOP, POOL, OPENVINO]
    assert [entry.name for entry in entries if not entry.own] == [LOOP]


@pytest.fixture
def tiny_pool(tmp_path: Path) -> Any:
    pytest.importorskip("peft")
    from tests.adapters.tiny import save_tiny_adapter, save_tiny_model

    base = save_tiny_model(tmp_path / "base")
    paths = {name: tmp_path / name for name in ("one", "two")}
    for seed, (_, path) in enumerate(paths.items()):
        save_tiny_adapter(path, base, seed=seed)
    adapters = [AdapterSpec("base"), *(AdapterSpec(name, path) for name, path in paths.items())]
    return PoolSpec(str(base), tuple(adapters))


def test_a_tiny_pool_answers_as_the_loop(tiny_pool: PoolSpec) -> None:
    loop, ours = load_loop(tiny_pool)(QUERIES), load_pool_engine(tiny_pool)(QUERIES)
    assert loop == ours
    assert np.shape(loop) == (3, len(QUERIES))
    assert loop[0] != loop[1] != loop[2]


def test_pools_are_asked_adapter_by_adapter() -> None:
    from routing_gym.benchmark.collection_engines import _answerer

    class Pool:
        spec = SimpleNamespace(names=("one", "two"))
        calls: list[tuple[str, int]] = []  # noqa: RUF012

        def generate(self, name: str, texts: list[str], **_: Any) -> list[Completion]:
            self.calls.append((name, len(texts)))
            return [Completion(f"{name} {text}", 1, 1, 0.0, True) for text in texts]

    answers = _answerer(Pool())(QUERIES)
    assert Pool.calls == [("one", 7), ("two", 7)]
    assert answers[1][2] == f"two {QUERIES[2].text}"
