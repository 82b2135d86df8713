import asyncio
from collections.abc import AsyncGenerator

import pytest

from routing_gym.serving.backend import BackendTimeout, Piece
from routing_gym.serving.timeouts import Timeouts, bounded


async def stubborn(closed: list[str]) -> AsyncGenerator[Piece, None]:
    """Never answers, and takes a moment to be cancelled."""
    try:
        await asyncio.sleep(60)
        yield Piece("late")
    finally:
        await asyncio.sleep(0.02)
        closed.append("closed")


def test_a_source_is_closed_though_the_client_leaves_at_the_moment_of_the_timeout() -> None:
    async def trial(wait: float) -> list[str]:
        closed: list[str] = []

        async def read() -> None:
            async for _ in bounded(stubborn(closed), Timeouts(first=0.03), source="it"):
                pass

        reader = asyncio.ensure_future(read())
        await asyncio.sleep(wait)
        reader.cancel()
        with pytest.raises((asyncio.CancelledError, BackendTimeout)):
            await reader
        return closed

    for wait in (0.01, 0.03, 0.035, 0.04, 0.08):  # before, within and after the cancelling
        assert asyncio.run(trial(wait)) == ["closed"]


def test_patience_ends_with_a_sentence_that_says_which() -> None:
    async def trial(timeouts: Timeouts) -> None:
        async for _ in bounded(stubborn([]), timeouts, source="The pool"):
            pass

    with pytest.raises(BackendTimeout, match=r"The pool did not begin its answer within 0\.01 s"):
        asyncio.run(trial(Timeouts(first=0.01)))
    with pytest.raises(BackendTimeout, match=r"did not finish its answer within 0\.01 s"):
        asyncio.run(trial(Timeouts(total=0.01)))
