"""Connections that keep nobody waiting: uvicorn's protocols, with limits for the headers."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_TOO_LONG = b"""HTTP/1.1 431 Request Header Fields Too Large\r
connection: close\r
content-length: 0\r
\r
"""


class PatientProtocol:
    """Closes a connection whose request does not begin in time, has endless headers, or is unread.

    uvicorn by itself waits for ever for the first request of a connection, and for the rest of
    headers that have begun to arrive; and what it closes stays open until the client has read
    all. To be mixed into one of its protocols.
    """

    header_timeout = 10.0
    max_header_bytes = 16 << 10
    unread_timeout = 600.0
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limit: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._held = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)  # type: ignore[misc]
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take data; wait for the rest if it is a part of a request's headers."""
        super().data_received(data)  # type: ignore[misc]
        if self._works:
            self._stop_waiting()
            return
        if self.cycle is None or not self.cycle.more_body:  # else it belongs to a refused body
            self._held += len(data)
        if self._held > self.max_header_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()
        elif self._limit is None:
            self._wait_for_request()

    def on_response_complete(self) -> None:
        """Leave the wait for a further request to the keep-alive limit."""
        self._stop_waiting()
        super().on_response_complete()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._forget_unread()
        super().connection_lost(exc)  # type: ignore[misc]

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read; in the end, drop what it has not read."""
        super().pause_writing()  # type: ignore[misc]
        self._forget_unread()
        self._unread = self.loop.call_later(self.unread_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._forget_unread()
        super().resume_writing()  # type: ignore[misc]

    @property
    def _works(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_request(self) -> None:
        """Set the limit."""
        self._limit = self.loop.call_later(self.header_timeout, self._give_up)

    def _stop_waiting(self) -> None:
        """Take the limit away."""
        self._held = 0
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _forget_unread(self) -> None:
        """Take the limit for what is unread away."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        """Close the connection."""
        self._limit = None
        if not self._works:
            self.transport.close()


def patient_protocol(*, seconds: float, max_bytes: int, unread_seconds: float = 600.0) -> Any:
    """Return a protocol for uvicorn: on httptools where that is installed, else on h11.

    Parameters
    ----------
    seconds
        In which headers must arrive.
    max_bytes
        Of headers that have not ended.
    unread_seconds
        In which a client must read on.
    """
    base: type = H11Protocol
    if importlib.util.find_spec("httptools") is not None:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        base = HttpToolsProtocol
    limits = {
        "header_timeout": seconds,
        "max_header_bytes": max_bytes,
        "unread_timeout": unread_seconds,
    }
    return type("PatientProtocol", (PatientProtocol, base), limits)
