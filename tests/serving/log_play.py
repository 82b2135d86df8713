"""Scenarios on an open decision log."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from routing_gym.serving.decision_log import DecisionStore

Scenario = Callable[[DecisionStore], Awaitable[Any]]


def play(url: str, scenario: Scenario, **settings: Any) -> Any:
    """Run a scenario on an open store."""

    async def main() -> Any:
        async with DecisionStore(url, **settings) as store:
            return await scenario(store)

    return asyncio.run(main())


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask SQLite."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def until(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Wait for something that happens by itself."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)
