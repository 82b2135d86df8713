from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.serving.decision_log import Completed, DecisionStore, LogUnavailable
from routing_gym.serving.log_database import LogDatabase
from routing_gym.serving.log_writer import LogWriter
from tests.serving.decision_rows import record
from tests.serving.log_play import play, rows, until

DONE = Completed("d0", 1.25, 1.5, 12, 34, "ok")


def test_a_locked_database_fails_fast_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0")])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for name in ("d1", "d2"):
            begin = time.monotonic()
            with pytest.raises(LogUnavailable):
                await store.add([record(name)])
            assert time.monotonic() - begin < 1.5
        assert not store.available
        await store.complete(DONE)
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: store.available)
        await store.add([record("d1")])
        assert await store.feedback("d1", 0.5) == "recorded"
        assert store.errors > 0

    play(str(path), scenario, patience=0.3, retry_seconds=0.05)
    assert rows(path, "SELECT decision_id, status FROM decisions") == [("d0", "ok"), ("d1", None)]


def test_a_file_that_was_moved_away_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0")])
        path.rename(tmp_path / "old.db")
        await store.add([record("d1")])
        path.unlink()
        await store.add([record("d2")])
        assert await store.feedback("d2", 0.5) == "recorded"

    play(str(path), scenario)
    assert rows(path, "SELECT decision_id FROM decisions") == [("d2",)]


def test_too_much_that_waits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        asked = [store.add([record(f"d{i}"), record(f"e{i}")]) for i in range(8)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert results[:5] == [None] * 5
        for refused in results[5:]:
            assert "10 rows wait for the decision log, at most 10 may" in str(refused)
        assert store.available
        for i in range(15):
            await store.complete(Completed(f"d{i}", 0.1, 0.2, 1, 2, "ok"))
        assert store.dropped == 5

    play(str(path), scenario, max_pending=10, flush_seconds=60)
    assert rows(path, "SELECT count(*) FROM decisions") == [(10,)]


def test_who_has_left_is_not_waited_for(tmp_path: Path) -> None:
    async def scenario(store: DecisionStore) -> None:
        left = [asyncio.create_task(store.add([record(f"d{i}")])) for i in range(20)]
        await asyncio.sleep(0)
        for task in left:
            task.cancel()
        await store.add([record("last")])
        assert store.pending == 0

    play(str(tmp_path / "decisions.db"), scenario)


def test_one_fault_does_not_take_others_with_it(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        broken = record("d1")
        object.__setattr__(broken, "policy_name", None)
        asked = [store.add([r]) for r in (record("d0"), broken, record("d2"))]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result).__name__ for result in results] == [
            "NoneType",
            "IntegrityError",
            "NoneType",
        ]
        assert store.available

    play(str(path), scenario)
    assert rows(path, "SELECT decision_id FROM decisions") == [("d0",), ("d2",)]


def test_a_fault_of_the_probe_does_not_end_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        faults = 0

        def broken(*_: object) -> None:
            nonlocal faults
            faults += 1
            raise RuntimeError("nobody foresaw this")

        with monkeypatch.context() as patch:
            patch.setattr(LogDatabase, "write_decisions", refusing)
            patch.setattr(LogDatabase, "probe", broken)
            with pytest.raises(LogUnavailable, match="disk full"):
                await store.add([record("d0")])
            await until(lambda: faults > 2)
            assert not store.available
            assert store.errors > 2
            with pytest.raises(LogUnavailable):
                await store.add([record("d0")])
        await until(lambda: store.available)
        await store.add([record("d0")])

    play(str(path), scenario, retry_seconds=0.02, flush_seconds=0.02)
    assert rows(path, "SELECT decision_id FROM decisions") == [("d0",)]


def test_a_fault_of_the_writer_itself_fails_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "decisions.db"

    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    async def scenario(store: DecisionStore) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(LogWriter, "_write", broken)
            with pytest.raises(LogUnavailable, match="RuntimeError: nobody foresaw this"):
                await store.add([record("d0")])
            assert not store.available
            assert store.errors > 0
            assert store.pending == 0
        await until(lambda: store.available)
        await store.add([record("d0")])
        assert await store.feedback("d0", 1.0) == "recorded"

    play(str(path), scenario, retry_seconds=0.02, flush_seconds=0.02)
    assert rows(path, "SELECT decision_id FROM decisions") == [("d0",)]
    assert "nobody foresaw this" in caplog.text


def test_a_thread_that_is_gone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exits(*_: object, force: bool) -> None:
        raise SystemExit

    async def scenario(store: DecisionStore) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(LogWriter, "_flush", exits)
            await until(lambda: not store.available)
        with pytest.raises(LogUnavailable, match="has stopped"):
            await store.add([record("d0")])

    play(str(tmp_path / "decisions.db"), scenario, flush_seconds=0.02)


def refusing(*_: object) -> None:
    """Stand in for a write to a full disk."""
    raise LogUnavailable("disk full")


def test_reading_does_not_hold_up_writing(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"

    async def scenario(store: DecisionStore) -> None:
        await store.add([record("d0")])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
        await store.add([record("d1")])
        assert await store.feedback("d1", 1.0) == "recorded"
        assert len(read_log(path)) == 2
        reader.close()

    play(str(path), scenario, patience=0.3)
