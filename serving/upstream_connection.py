"""One chat request on its way to an upstream server and back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import anyio

from routing_gym.serving.backend import BackendError, Piece
from routing_gym.serving.upstream_answer import (
    DONE,
    LONGEST_EVENT,
    SOURCE,
    EventSplitter,
    Speaker,
    event_data,
    piece_of_event,
)

if TYPE_CHECKING:
    import httpx

_DRAIN_SECONDS = 0.25


async def send_chat(
    client: httpx.AsyncClient, body: Mapping[str, Any], headers: Mapping[str, str]
) -> httpx.Response:
    """Send a chat request; again if a kept connection was closed before any answer.

    A server may close a connection that it kept in the moment in which that is used again; it has
    then not read the request. On a fresh connection the same failure means that the server took
    the request and died of it: it is not repeated then, and never more than once.

    Parameters
    ----------
    client
        Connected to the server.
    body, headers
        Of the request.

    Returns
    -------
    httpx.Response
        Its status and headers; the body is still to be read.
    """
    import httpx

    for again in (True, False):
        fresh = False

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            nonlocal fresh
            fresh = fresh or event.startswith("connection.connect")

        request = client.build_request(
            "POST", "/chat/completions", json=body, headers=headers, extensions={"trace": trace}
        )
        try:
            return await client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if fresh or not again:
                raise
    raise AssertionError("unreachable")


async def relayed_pieces(response: httpx.Response, speaker: Speaker) -> AsyncGenerator[Piece, None]:
    """Read the events of a stream until it says that it is done.

    Parameters
    ----------
    response
        A stream of events.
    speaker
        Who is to answer.

    Raises
    ------
    BackendError
        If the stream is broken, or another answers.
    """
    splitter, finished = EventSplitter(), False
    chunks = response.aiter_bytes()
    async for chunk in chunks:
        for event in splitter.feed(chunk):
            piece = piece_of_event(event, speaker)
            finished = finished or piece.finish_reason is not None
            done = (event_data(event) or b"").strip() == b"[DONE]"
            if done and not finished:
                raise BackendError(f"{SOURCE} ended its answer without a finish reason.")
            yield piece
            if done:
                await _drained(chunks)
                return
    if splitter.unfinished or not finished:
        raise BackendError(f"{SOURCE} broke off its answer.")
    yield Piece(raw=DONE)


async def whole_body(response: httpx.Response) -> bytes:
    """Read a body of bounded length.

    Raises
    ------
    BackendError
        If it is longer than `LONGEST_EVENT`.
    """
    parts, size = [], 0
    async for chunk in response.aiter_bytes():
        parts.append(chunk)
        size += len(chunk)
        if size > LONGEST_EVENT:
            raise BackendError(f"{SOURCE} sent an answer of over {LONGEST_EVENT} bytes.")
    return b"".join(parts)


async def _drained(chunks: AsyncIterator[bytes]) -> None:
    """Read to the proper end of a stream that is done, so that its connection can be used again."""
    import httpx

    try:
        with anyio.move_on_after(_DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except httpx.HTTPError:
        pass
