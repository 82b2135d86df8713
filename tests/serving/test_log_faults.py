"""Killed processes and full disks: nothing that was promised is lost, nothing is there twice."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from routing_gym.benchmark.off_policy_files import read_log
from tests.postgres import fresh_database, needs_postgres

ROOT = Path(__file__).resolve().parents[2]
LOGGING = """
import asyncio, os, sys
from routing_gym.serving.decision_log import Completed, DecisionStore
from tests.serving.decision_rows import record

def say(line):
    os.write(promises, line.encode() + b"\\n")

async def worker(store, number):
    for turn in range(100_000):
        name = f"{sys.argv[3]}-{number}-{turn}"
        batch = [record(name), record(name + "-second")]
        await store.add(batch)
        say(f"decision {name}")
        await store.complete(Completed(name, 0.1, 0.2, 3, 4, "ok"))
        reward = turn % 100 / 100
        await store.feedback(name, reward)
        say(f"feedback {name} {reward}")
        await store.add(batch)

async def main():
    async with DecisionStore(sys.argv[1]) as store:
        await asyncio.gather(*(worker(store, number) for number in range(6)))

promises = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
asyncio.run(main())
"""
FULL = """
import asyncio, json, resource, sys, time
from routing_gym.serving.decision_log import Completed, DecisionStore, LogUnavailable
from tests.serving.decision_rows import record

async def main():
    done = {"promised": [], "seconds": []}
    async with DecisionStore(sys.argv[1], retry_seconds=0.05) as store:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        for turn in range(2000):
            name = f"d{turn}"
            try:
                await store.add([record(name, query="x" * 2000)])
                done["promised"].append(name)
            except LogUnavailable as error:
                done["message"] = str(error)
                break
        for turn in range(20):
            begin = time.monotonic()
            try:
                await store.add([record(f"e{turn}", query="x" * 50_000)])
                done["promised"].append(f"e{turn}")
            except LogUnavailable:
                done["seconds"].append(time.monotonic() - begin)
        try:
            await store.feedback("d0", 0.5)
        except LogUnavailable:
            done["feedback refused"] = True
        for name in done["promised"]:
            await store.complete(Completed(name, 0.1, 0.2, 3, 4, "ok"))
        done["available"] = store.available
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        begin = time.monotonic()
        while not store.available:
            await asyncio.sleep(0.01)
        done["recovery"] = time.monotonic() - begin
        await store.add([record("after", query="x" * 50_000)])
        done["promised"].append("after")
        done["feedback"] = await store.feedback("d0", 0.5)
    print(json.dumps(done))

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a log."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'decisions.db'}"
    else:
        with fresh_database() as fresh:
            yield fresh


def killed_while_logging(url: str, promises: Path, prefix: str, *, after: float) -> None:
    """Let a process log for a while, then kill it without warning."""
    size = promises.stat().st_size if promises.exists() else 0
    command = [sys.executable, "-c", LOGGING, url, str(promises), prefix]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 30
        while not promises.exists() or promises.stat().st_size == size:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(after)
        process.kill()


def test_kill_9_loses_no_promise_and_doubles_no_decision(url: str, tmp_path: Path) -> None:
    promises, chance = tmp_path / "promises", random.Random(0)
    for turn in range(5):
        # Every other process repeats what the one before has logged.
        killed_while_logging(url, promises, f"p{turn // 2}", after=chance.uniform(0, 0.25))
    lines = [line.split() for line in promises.read_text().splitlines()]
    decided = {line[1] for line in lines if line[0] == "decision"}
    given = {line[1]: float(line[2]) for line in lines if line[0] == "feedback"}
    assert len(given) > 50
    log = read_log(url)
    names = log.decision_ids.tolist()
    assert len(set(names)) == len(names)
    assert decided <= set(names)
    assert {name + "-second" for name in decided} <= set(names)  # all of a request or nothing
    rewards = dict(zip(names, log.rewards.tolist(), strict=True))
    assert {name: rewards[name] for name in given} == given


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of a file's size")
def test_a_full_disk_is_reported_and_survived(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "cannot be written" in found["message"]
    assert len(found["promised"]) > 10
    assert len(found["seconds"]) > 10
    assert max(found["seconds"]) < 0.5
    assert found["feedback refused"]
    assert found["feedback"] == "recorded"
    assert not found["available"]
    assert found["recovery"] < 2
    assert "can be written again" in done.stderr
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = dict(connection.execute("SELECT decision_id, status FROM decisions").fetchall())
    assert set(kept) >= set(found["promised"])
    assert {kept[name] for name in found["promised"] if name != "after"} == {"ok"}
