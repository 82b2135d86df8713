"""Collecting from a server: a failed answer costs only itself, a kill only what was under way."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.http_pool import HttpPool
from routing_gym.adapters.http_server import ServedAdapter, ServerSpec
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.adapters.unanswered import UnansweredError
from routing_gym.envs.collection import collect_answers
from routing_gym.queries.dataset import make_queries
from routing_gym.queries.query import Query
from tests.adapters.model_server import POISON, ModelServer

for package in ("httpx", "tenacity"):
    pytest.importorskip(package)

QUERIES = 60
CLIENT = """
import sys
from pathlib import Path
from tests.envs.test_collection_http import opened, some_queries
from routing_gym.envs.collection import collect_answers
with opened(sys.argv[1]) as pool:
    collect_answers(pool, "one", some_queries(), folder=Path(sys.argv[2]), flush_rows=8)
"""


def some_queries() -> list[Query]:
    return make_queries({"turns": QUERIES // 2, "dates": QUERIES // 2}, seed=0)


def opened(url: str, **settings: object) -> HttpPool:
    served = ServedAdapter(revision="r1")
    adapters = (AdapterSpec("base"), AdapterSpec("one", served=served, template="chat"))
    options = {"prompt": "chat", "concurrency": 4, "probe": False, "attempts": 2, **settings}
    return HttpPool(PoolSpec("tiny/base", adapters, ServerSpec(url, **options)), sleep=lambda _: 0)  # type: ignore[arg-type]


def kept(folder: Path) -> list[str]:
    """Query ids of the whole lines on disk."""
    path = folder / "answers-one.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["query_id"] for line in lines]


def test_one_failure_costs_only_its_query(tmp_path: Path) -> None:
    queries = some_queries()
    poisoned = [
        Query(**{**vars(q), "text": f"{q.text} {POISON}"}) if place in (3, 40) else q
        for place, q in enumerate(queries)
    ]
    with ModelServer() as server, opened(server.url) as pool:
        message = f"'one' did not answer 2 of {QUERIES} queries: .*HTTP 400.*58 answers are kept"
        with pytest.raises(OSError, match=message) as raised:
            collect_answers(pool, "one", poisoned, folder=tmp_path, flush_rows=8)
        assert {queries[3].query_id, queries[40].query_id} < set(str(raised.value).split())
        assert len(server.asked) == QUERIES
        cells = collect_answers(pool, "one", queries, folder=tmp_path, flush_rows=8)
        assert len(server.asked) == QUERIES + 2  # the two whose texts are now other ones
    assert len(cells) == QUERIES
    assert len(kept(tmp_path)) == QUERIES


def test_a_server_that_dies_costs_nothing_that_it_answered(tmp_path: Path) -> None:
    queries = some_queries()
    with ModelServer() as server, opened(server.url, give_up_after=3) as pool:
        server.plan.extend(["fine"] * 20)
        server.kind = "error"
        with pytest.raises(OSError, match=r"3 answers in a row failed .*answers are kept"):
            collect_answers(pool, "one", queries, folder=tmp_path, flush_rows=8)
        assert len(kept(tmp_path)) == 20
        assert len(server.asked) < 20 + 16
        asked, server.kind = len(server.asked), "fine"
        collect_answers(pool, "one", queries, folder=tmp_path)
        assert len(server.asked) - asked == QUERIES - 20
    assert sorted(kept(tmp_path)) == sorted(q.query_id for q in queries)


def test_a_killed_client_goes_on_where_it_stopped(tmp_path: Path) -> None:
    queries = some_queries()
    with ModelServer(delay=0.05) as server:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, server.url, str(tmp_path)], env=environment
        )
        while len(server.asked) < 22 and client.poll() is None:
            time.sleep(0.005)
        client.send_signal(signal.SIGKILL)
        assert client.wait(10) == -signal.SIGKILL
        done, before = kept(tmp_path), len(server.asked)
        assert 8 <= len(done) < QUERIES
        server.delay = 0.0
        with opened(server.url) as pool:
            cells = collect_answers(pool, "one", queries, folder=tmp_path)
        asked = [seen.body["messages"][0]["content"] for seen in server.asked[before:]]
    texts = {q.query_id: q.text for q in queries}
    assert sorted(asked) == sorted(texts[q] for q in texts if q not in done)
    assert sorted(kept(tmp_path)) == sorted(cells) == sorted(texts)


def test_another_revision_is_asked_again(tmp_path: Path) -> None:
    queries = some_queries()[:4]
    with ModelServer() as server, opened(server.url) as pool:
        collect_answers(pool, "one", queries, folder=tmp_path)
        newer = AdapterSpec("one", served=ServedAdapter(revision="r2"))
        pool.spec = PoolSpec("tiny/base", (pool.spec.adapters[0], newer), pool.spec.server)
        collect_answers(pool, "one", queries, folder=tmp_path)
        assert len(server.asked) == 8


def test_the_error_travels_between_processes() -> None:
    answers = [Completion("a", 1, 1, 0.1, True), None]
    error = UnansweredError("one", ["x", "y"], answers=answers, reasons={1: "late"}, fatal="gone")
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.answers, twin.reasons) == (str(error), error.answers, error.reasons)
    assert "gone; adapter 'one' did not answer 1 of 2 queries: 'y' (late)" in str(twin)
