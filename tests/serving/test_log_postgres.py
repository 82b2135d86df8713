"""The decision log on a real PostgreSQL that goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy

from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.serving.decision_log import DecisionStore, FeedbackConflict, LogUnavailable
from routing_gym.serving.log_database import LogDatabase
from tests.postgres import fresh_database, needs_postgres
from tests.serving.decision_rows import record

pytestmark = needs_postgres


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    with fresh_database() as fresh:
        yield fresh


class Line:
    """A line to the database that can be cut, or go silent."""

    def __init__(self, url: str) -> None:
        address = sqlalchemy.make_url(url)
        self._target = (address.host, address.port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self.name = address.database

    @property
    def url(self) -> str:
        """The database at this end of the line."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{self.name}"

    async def mend(self) -> None:
        """Listen, always on the same port."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def silence(self) -> None:
        """Deliver nothing any more, and say nothing."""
        self._flows.clear()

    async def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, here), (there, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
        finally:
            sink.close()


@contextlib.asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """Lay a line."""
    line = Line(url)
    await line.mend()
    try:
        yield line
    finally:
        await line.cut()


async def refused_quickly(store: DecisionStore, name: str, *, seconds: float) -> None:
    """Try to log."""
    begin = time.monotonic()
    with pytest.raises(LogUnavailable) as caught:
        await store.add([record(name)])
    assert time.monotonic() - begin < seconds, str(caught.value)


async def back(store: DecisionStore) -> None:
    """Wait until the store has found its database again."""
    end = time.monotonic() + 10
    while not store.available:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_a_connection_that_was_lost_is_not_noticed(url: str) -> None:
    async def main() -> None:
        async with DecisionStore(url) as store:
            await store.add([record("d0")])
            other = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
            with other.connect() as connection:
                ended = connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'routing-gym' AND datname = current_database()"
                ).all()
            other.dispose()
            assert ended == [(True,)]
            await store.add([record("d1")])
            assert await store.feedback("d1", 0.5) == "recorded"
            assert store.errors == 0

    asyncio.run(main())
    assert read_log(url).decision_ids.tolist() == ["d0", "d1"]


def test_a_server_that_is_gone_and_comes_back(url: str) -> None:
    async def main() -> None:
        async with (
            line_to(url) as line,
            DecisionStore(line.url, retry_seconds=0.05) as store,
        ):
            await store.add([record("d0")])
            await line.cut()
            for name in ("d1", "d2", "d3"):
                await refused_quickly(store, name, seconds=0.5)
            await line.mend()
            await back(store)
            await store.add([record("d3")])
            assert await store.feedback("d3", 1.0) == "recorded"

    asyncio.run(main())
    assert read_log(url).decision_ids.tolist() == ["d0", "d3"]


def test_a_server_that_falls_silent(url: str) -> None:
    async def main() -> None:
        settings = {"patience": 0.3, "retry_seconds": 0.05}
        async with line_to(url) as line, DecisionStore(line.url, **settings) as store:
            await store.add([record("d0")])
            line.silence()
            await refused_quickly(store, "d1", seconds=0.6)
            await refused_quickly(store, "d2", seconds=0.6)
            await line.cut()
            await line.mend()
            await back(store)
            await store.add([record("d3")])

    asyncio.run(main())
    assert read_log(url).decision_ids.tolist()[-1] == "d3"


def test_a_silent_server_does_not_keep_us_from_closing(url: str) -> None:
    async def main() -> None:
        async with line_to(url) as line:
            store = DecisionStore(line.url, patience=0.3)
            await store.open()
            line.silence()
            await refused_quickly(store, "d1", seconds=0.6)
            begin = time.monotonic()
            await store.close()
            assert time.monotonic() - begin < 6

    asyncio.run(main())


def test_feedback_waits_for_the_disk_where_decisions_do_not(url: str) -> None:
    fast = LogDatabase(f"{url}?options=-c%20synchronous_commit%3Doff")
    fast.connect()
    for durable, expected in ((False, "off"), (True, "on")):
        with fast._transaction(durable=durable) as connection:
            shown = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        assert shown == expected
    fast.close()


def test_servers_that_share_a_log(url: str) -> None:
    async def main() -> None:
        stores = [DecisionStore(url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.add([record("d0"), record("d1")]) for store in stores))
        same = await asyncio.gather(*(store.feedback("d0", 0.5) for store in stores))
        assert set(same) <= {"recorded", "unchanged"}
        results = await asyncio.gather(
            *(store.feedback("d1", number / 4) for number, store in enumerate(stores)),
            return_exceptions=True,
        )
        assert results.count("recorded") == 1
        assert sum(isinstance(result, FeedbackConflict) for result in results) == 3
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(main())
    assert read_log(url).decision_ids.tolist() == ["d0", "d1"]


def test_an_unreachable_server_is_one_sentence_without_the_password() -> None:
    async def main() -> None:
        await DecisionStore("postgresql://me:secret@127.0.0.1:1/nothing").open()

    with pytest.raises(LogUnavailable, match=r"cannot be opened: .*refused") as caught:
        asyncio.run(main())
    assert "secret" not in str(caught.value)
