"""When a request is sent a second time, against servers that drop their connections."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("httpx")

import httpx

from routing_gym.serving.trial_upstream import reset
from routing_gym.serving.upstream_connection import send_chat

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Dropping:
    """Answers so many requests of each connection, and drops it when the next has been read."""

    def __init__(self, *, answers: list[int], resets: bool) -> None:
        self._answers = answers
        self._resets = resets
        self.read = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self._answers.pop(0)):
            await self._request(reader)
            writer.write(ANSWER)
        await self._request(reader)
        if self._resets:
            reset(writer)
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].split("\r")[0]))
        self.read += 1


def statuses(dropping: Dropping, *, requests: int) -> list[int | str]:
    """Send requests one after the other; return their statuses or errors."""

    async def run() -> list[int | str]:
        server = await asyncio.start_server(dropping.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        seen: list[int | str] = []
        async with server, httpx.AsyncClient(base_url=url) as client:
            for _ in range(requests):
                try:
                    response = await send_chat(client, {"model": "one"}, {})
                    await response.aread()
                    seen.append(response.status_code)
                except httpx.HTTPError as error:
                    seen.append(type(error).__name__)
        return seen

    return asyncio.run(run())


@pytest.mark.parametrize(("resets", "error"), [(True, "ReadError"), (False, "RemoteProtocolError")])
def test_a_request_that_a_fresh_connection_dies_of_is_sent_once(resets: bool, error: str) -> None:
    dropping = Dropping(answers=[0, 1], resets=resets)
    assert statuses(dropping, requests=1) == [error]
    assert dropping.read == 1


@pytest.mark.parametrize("resets", [True, False])
def test_a_request_is_repeated_on_a_fresh_connection_if_a_kept_one_ends(resets: bool) -> None:
    dropping = Dropping(answers=[1, 1], resets=resets)
    assert statuses(dropping, requests=2) == [200, 200]
    assert dropping.read == 3


def test_a_request_is_repeated_once() -> None:
    dropping = Dropping(answers=[1, 0, 1], resets=True)
    assert statuses(dropping, requests=2) == [200, "ReadError"]
    assert dropping.read == 3
