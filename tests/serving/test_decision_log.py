from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.serving.decision_log import (
    Completed,
    DecisionStore,
    FeedbackConflict,
    LogUnavailable,
    UnknownDecision,
)
from tests.postgres import fresh_database, needs_postgres
from tests.serving.decision_rows import START, record
from tests.serving.log_play import play, rows, until

DONE = Completed("d0", 1.25, 1.5, 12, 34, "ok")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a log."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'decisions.db'}"
    else:
        with fresh_database() as fresh:
            yield fresh


def test_decisions_and_rewards_are_logged(url: str) -> None:
    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0"), record("d1", fallback=True), record("d2")])
        await store.complete(DONE)
        assert await store.feedback("d0", 0.5, source="self_evaluation") == "recorded"
        assert await store.feedback("d0", 1) == "recorded"
        assert await store.feedback("d2", 0.25, source="self_evaluation") == "recorded"
        await store.add([])

    play(url, scenario)
    log = read_log(url)
    assert log.decision_ids.tolist() == ["d0", "d1", "d2"]
    assert log.rewards.tolist()[0::2] == [1.0, 0.25]
    assert log.fallbacks.tolist() == [False, True, False]

    async def count(store: DecisionStore) -> Any:
        return await store.counts()

    assert play(url, count) == {
        "decisions": 3,
        "completed": 1,
        "fallbacks": 1,
        "feedback_user": 1,
        "feedback_self_evaluation": 2,
    }


def test_a_decision_is_never_there_twice(url: str) -> None:
    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0"), record("d0"), record("d1")])
        await store.add([record("d1", action=0, propensity=0.3), record("d2")])

    play(url, scenario)
    play(url, scenario)
    log = read_log(url)
    assert log.decision_ids.tolist() == ["d0", "d1", "d2"]
    assert log.actions.tolist() == [1, 1, 1]


def test_feedback_is_given_once(url: str) -> None:
    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0")])
        assert await store.feedback("d0", 0.5) == "recorded"
        assert await store.feedback("d0", 0.5) == "unchanged"
        with pytest.raises(FeedbackConflict, match=r"has the reward 0\.5 of source 'user' already"):
            await store.feedback("d0", 0.75)
        assert await store.feedback("d0", 0.75, source="self_evaluation") == "recorded"
        with pytest.raises(UnknownDecision, match="decision 'd9' is not in the log"):
            await store.feedback("d9", 0.5)
        with pytest.raises(UnknownDecision):
            await store.feedback("d0\0\udc80", 0.5)
        with pytest.raises(ValueError, match="must be a finite number"):
            await store.feedback("d0", float("nan"))
        together = await asyncio.gather(
            *(store.feedback("d0", 0.5 + i % 2, source="user") for i in range(4)),
            return_exceptions=True,
        )
        assert [type(r).__name__ for r in together] == ["str", "FeedbackConflict"] * 2
        again = [store.feedback("d0", 0.75, source="self_evaluation") for _ in range(3)]
        assert await asyncio.gather(*again) == ["unchanged"] * 3

    play(url, scenario)


def test_many_at_once_are_written_in_few_groups(url: str) -> None:
    async def one(store: DecisionStore, number: int) -> None:
        names = [f"d{number}-{part}" for part in range(number % 3 + 1)]
        await store.add([record(name) for name in names])
        await store.complete(Completed(names[0], 0.1, 0.2, 1, 2, "ok"))
        assert await store.feedback(names[0], number / 300) == "recorded"

    async def scenario(store: DecisionStore) -> Any:
        groups = []
        database = store._database
        write = database.write_decisions
        database.write_decisions = lambda r: (groups.append(len(r)), write(r))[1]  # type: ignore
        await asyncio.gather(*(one(store, number) for number in range(300)))
        assert sum(groups) == 600
        assert len(groups) < 250  # an idle disk leaves little time to gather
        assert store.pending == 0 or store.pending <= 300  # completions may wait
        return groups

    play(url, scenario)
    log = read_log(url)
    assert len(set(log.decision_ids.tolist())) == len(log) == 600
    given = {name: r for name, r in zip(log.decision_ids, log.rewards, strict=True) if r == r}
    assert given == {f"d{i}-0": i / 300 for i in range(300)}


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        await store.add([record(f"d{i}") for i in range(1200)])
        for i in range(1200):
            await store.complete(Completed(f"d{i}", 0.1, 0.2, i, 2, "ok"))
        assert store.pending == 1200

    play(str(path), scenario, flush_seconds=60)
    found = rows(path, "SELECT count(*), sum(prompt_tokens), min(status) FROM decisions")
    assert found == [(1200, 1200 * 1199 // 2, "ok")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["decisions.db"]


def test_completions_are_written_without_further_requests(tmp_path: Path) -> None:
    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0")])
        await store.complete(DONE)
        await store.complete(Completed("unknown", 0.1, 0.2, 1, 2, "ok"))
        await until(lambda: store.pending == 0)
        assert (await store.counts())["completed"] == 1

    play(str(tmp_path / "decisions.db"), scenario, flush_seconds=0.05)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        store = DecisionStore(str(tmp_path / "decisions.db"))
        with pytest.raises(LogUnavailable, match="is not open"):
            await store.add([record("d0")])
        await store.close()
        store = DecisionStore(str(tmp_path / "decisions.db"))
        await store.open()
        assert store.available
        with pytest.raises(RuntimeError, match="was opened before"):
            await store.open()
        await store.close()
        await store.close()
        assert not store.available
        with pytest.raises(LogUnavailable, match="is closed"):
            await store.feedback("d0", 0.5)

    asyncio.run(main())


def test_order_is_that_of_writing_whatever_the_clock_says(url: str) -> None:
    async def scenario(store: DecisionStore) -> None:
        for number, hours in enumerate([5, -3, 0, 2]):
            await store.add([record(f"d{number}", time=START + timedelta(hours=hours))])
            await store.feedback(f"d{number}", number / 4)

    play(url, scenario)
    log = read_log(url)
    assert log.decision_ids.tolist() == ["d0", "d1", "d2", "d3"]
    assert log.rewards.tolist() == [0.0, 0.25, 0.5, 0.75]


def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign, text, other = (tmp_path / name for name in ("foreign.db", "text.db", "other.db"))
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE decisions (price REAL)")
        connection.commit()
    text.write_text("This is no database. " * 100)
    play(str(other), lambda store: store.add([record("d0")]))
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("UPDATE routing_gym_log SET version = 2")
        connection.commit()
    for path, message in (
        (foreign, "foreign.db is no decision log: it holds the tables decisions of something"),
        (text, "text.db is no usable database: file is not a database"),
        (other, "other.db is a decision log of schema version 2, this program reads and writes"),
    ):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=message):
            play(str(path), lambda store: store.add([record("d0")]))
        assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match=r"patience=0 must be above 0"):
        DecisionStore(patience=0)
    with pytest.raises(ValueError, match="is of an unknown kind"):
        DecisionStore("mysql://host/db")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogUnavailable, match="cannot be opened"):
        play(str(tmp_path / "file" / "log.db"), lambda store: store.add([record("d0")]))


def test_no_torch_is_loaded() -> None:
    program = (
        "import sys, routing_gym.serving.decision_log\n"
        "routing_gym.serving.decision_log.DecisionStore('a.db')\n"
        "heavy = {'torch', 'transformers', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
