"""A local back end on a tiny pool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

from routing_gym.adapters.generation import FREE_BUDGET
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.serving.backend import ChatRequest, Message, Piece
from routing_gym.serving.local_backend import LocalBackend
from tests.adapters.tiny import TEXTS, save_tiny_adapter, save_tiny_model

NAMES = ("base", "one", "two")
LONG = ChatRequest((Message("user", TEXTS[0]),), max_tokens=400, temperature=5.0, seed=0)
T = TypeVar("T")


def save_pool(folder: Path) -> PoolSpec:
    """Write a tiny model and two adapters."""
    base = save_tiny_model(folder / "base")
    adapters = [
        AdapterSpec(name, save_tiny_adapter(folder / name, base, seed=seed))
        for seed, name in enumerate(NAMES[1:], start=1)
    ]
    return PoolSpec(str(base), (AdapterSpec("base"), *adapters))


def asked(text: str, **settings: Any) -> ChatRequest:
    return ChatRequest(
        **{"messages": (Message("user", text),), "max_tokens": FREE_BUDGET, **settings}
    )


def with_backend(spec: PoolSpec, use: Callable[[LocalBackend], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        backend = LocalBackend(spec, **settings)
        await backend.start()
        try:
            return await use(backend)
        finally:
            await backend.close()

    return asyncio.run(run())


async def answer_of(backend: LocalBackend, adapter: str, request: ChatRequest) -> list[Piece]:
    async with aclosing(backend.stream(adapter, request, request_id="r")) as pieces:
        return [piece async for piece in pieces]


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
