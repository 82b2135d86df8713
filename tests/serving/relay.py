"""An openai back end on a server of these tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from routing_gym.serving.backend import ChatRequest, Message, Piece
from routing_gym.serving.openai_backend import OpenAIBackend
from routing_gym.serving.timeouts import Timeouts
from routing_gym.serving.upstream_settings import UpstreamSettings
from tests.serving.upstream import Upstream

ADAPTERS = ("base", "one", "two")
QUICK = Timeouts(connect=1.0, first=0.5, between=0.4, total=5.0)
T = TypeVar("T")


def asked(**settings: Any) -> ChatRequest:
    return ChatRequest(**{"messages": (Message("user", "Who?"),), "max_tokens": 32, **settings})


def with_backend(
    upstream: Upstream,
    use: Callable[[OpenAIBackend], Awaitable[T]],
    *,
    adapters: tuple[str, ...] = ADAPTERS,
    mode: str = "fine",
    **settings: Any,
) -> T:
    """Start a back end on a healthy server, let the server misbehave, and use it."""

    async def run() -> T:
        chosen = UpstreamSettings(upstream.url, **{"timeouts": QUICK, **settings})
        backend = OpenAIBackend(chosen, adapters)
        await backend.start()
        upstream.mode = mode
        try:
            return await use(backend)
        finally:
            await backend.close()

    return asyncio.run(run())


async def answer_of(
    backend: OpenAIBackend, adapter: str, request: ChatRequest, *, request_id: str = "r-1"
) -> list[Piece]:
    async with aclosing(backend.stream(adapter, request, request_id=request_id)) as pieces:
        return [piece async for piece in pieces]


async def read_into(read: list[Piece], backend: OpenAIBackend) -> None:
    async for piece in backend.stream("one", asked(), request_id="r-1"):
        read.append(piece)


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
