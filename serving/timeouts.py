"""How long an answer may keep its client waiting, at each of its stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, fields

from routing_gym.serving.backend import BackendTimeout, Piece


@dataclass(frozen=True)
class Timeouts:
    """Patience with a back end, seconds, each above 0.

    Parameters
    ----------
    connect
        Until a connection to the upstream server stands and a slot for the request is free.
    first
        Until the first piece of the answer.
    between
        Between two pieces.
    total
        Until the answer's end.

    Raises
    ------
    ValueError
        If one is not above 0.
    """

    connect: float = 5.0
    first: float = 60.0
    between: float = 60.0
    total: float = 600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"timeouts.{field.name}={value}: give seconds above 0.")


async def bounded(
    pieces: AsyncGenerator[Piece, None], timeouts: Timeouts, *, source: str
) -> AsyncGenerator[Piece, None]:
    """Relay pieces until one takes too long; the source is closed in every case.

    Parameters
    ----------
    pieces
        What a back end writes.
    timeouts
        Its patience.
    source
        Who keeps us waiting, as the subject of the error's sentence.

    Raises
    ------
    BackendTimeout
        If the first piece, the next piece or the whole answer takes too long.
    """
    end = time.monotonic() + timeouts.total
    count = 0
    async with aclosing(pieces):
        while True:
            patience = timeouts.between if count else timeouts.first
            left = end - time.monotonic()
            step = asyncio.ensure_future(anext(pieces))
            try:
                await asyncio.wait({step}, timeout=max(0.0, min(patience, left)))
                if not step.done():
                    raise BackendTimeout(_sentence(source, count, patience, left, timeouts))
                piece = step.result()
            except StopAsyncIteration:
                return
            finally:
                await _ended(step)
            count += 1
            yield piece


async def _ended(step: asyncio.Future[Piece]) -> None:
    """Cancel a step and wait for its end, though we be cancelled: only then can it be closed."""
    cancelled = False
    step.cancel()
    while not step.done():
        try:
            await asyncio.wait({step})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _sentence(source: str, count: int, patience: float, left: float, timeouts: Timeouts) -> str:
    """Say which patience ended."""
    if left < patience:
        return f"{source} did not finish its answer within {timeouts.total:g} s."
    if count:
        return f"{source} fell silent for {patience:g} s in the middle of its answer."
    return f"{source} did not begin its answer within {patience:g} s."
