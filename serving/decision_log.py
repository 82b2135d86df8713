"""The decision log: every decision with its propensities, and later its reward.

`routing_gym.benchmark.off_policy_sql.read_sql_log` reads what a `DecisionStore` writes, also while
it is written; ``scripts/evaluate_offline.py`` says which policy would have been better.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from routing_gym.serving.log_database import LogDatabase
from routing_gym.serving.log_records import (
    Completed,
    DecisionRecord,
    Feedback,
    FeedbackConflict,
    LogUnavailable,
    UnknownDecision,
    clean_text,
)
from routing_gym.serving.log_writer import DECISIONS, FEEDBACK, Job, LogWriter

__all__ = [
    "Completed",
    "DecisionRecord",
    "DecisionStore",
    "FeedbackConflict",
    "LogUnavailable",
    "UnknownDecision",
]


class DecisionStore:
    """Writes decisions and rewards to SQLite or PostgreSQL, without keeping the event loop.

    What `add` and `feedback` have returned from is committed: the process may be killed at any
    moment. A decision is never there twice, whatever is retried. While the database cannot be
    written (disk full, connection lost) both fail at once with `LogUnavailable`, and the store
    recovers by itself. It belongs to one event loop, and is an asynchronous context manager.

    Parameters
    ----------
    url
        A ``.db`` or ``.sqlite`` file, ``sqlite:///path`` or ``postgresql://user@host/name``. It is
        begun if it does not exist.
    patience
        Seconds that a call may wait for the database, above 0.
    max_pending
        Rows that may wait to be written; beyond, calls fail.
    flush_seconds
        How long completions are gathered before they are written together.
    retry_seconds
        Between two tries to write again while the database refuses.

    Raises
    ------
    ValueError
        If `url` is of no known kind or a number is out of range.
    ImportError
        If SQLAlchemy or the driver is not installed.
    """

    def __init__(
        self,
        url: str = "sqlite:///decisions.db",
        *,
        patience: float = 2.0,
        max_pending: int = 10_000,
        flush_seconds: float = 0.25,
        retry_seconds: float = 0.5,
    ) -> None:
        for name, value in (
            ("patience", patience),
            ("max_pending", max_pending),
            ("flush_seconds", flush_seconds),
            ("retry_seconds", retry_seconds),
        ):
            if not value > 0:
                raise ValueError(f"{name}={value} must be above 0.")
        self._patience = patience
        self._database = LogDatabase(url, patience=patience)
        self._writer = LogWriter(
            self._database,
            patience=patience,
            max_pending=max_pending,
            flush_seconds=flush_seconds,
            retry_seconds=retry_seconds,
        )

    @property
    def place(self) -> str:
        """Where the log is, without a password."""
        return self._database.place

    @property
    def pending(self) -> int:
        """Rows that wait to be written."""
        return self._writer.pending

    @property
    def errors(self) -> int:
        """Writes that failed since the start."""
        return self._writer.errors

    @property
    def dropped(self) -> int:
        """Completions that were given up."""
        return self._writer.dropped

    @property
    def available(self) -> bool:
        """Whether decisions can be logged just now."""
        return self._writer.available

    async def open(self) -> None:
        """Open the log, or begin it.

        Raises
        ------
        ValueError
            If the database is something else, or a log of another schema version.
        LogUnavailable
            If it cannot be reached or written.
        ImportError
            If the driver is not installed.
        """
        await self._writer.start()

    async def close(self) -> None:
        """Write everything that waits and close; a second time does nothing."""
        await self._writer.stop()

    async def __aenter__(self) -> DecisionStore:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def add(self, records: Sequence[DecisionRecord]) -> None:
        """Log decisions; all of them are committed, or none, when this returns.

        Parameters
        ----------
        records
            Of one request; a record whose id is in the log already is ignored.

        Raises
        ------
        LogUnavailable
            If the log cannot be written now. Nothing was promised: the same records may be added
            again.
        """
        if records:
            await self._write(DECISIONS, [record.row() for record in records])

    async def complete(self, completed: Completed) -> None:
        """Fill in what is known after the answer; it is written soon, as far as possible."""
        self._writer.complete(completed.row())

    async def feedback(self, decision_id: str, reward: float, *, source: str = "user") -> str:
        """Log the reward of a decision; it is on the disk when this returns.

        Parameters
        ----------
        decision_id
            Which decision.
        reward
            Finite.
        source
            "user" or "self_evaluation"; one reward of each is kept.

        Returns
        -------
        str
            "recorded", or "unchanged" where the same reward was recorded before.

        Raises
        ------
        UnknownDecision
            If the log does not hold the decision.
        FeedbackConflict
            If the source gave another reward before.
        LogUnavailable
            If the log cannot be written now.
        ValueError
            If the reward is no finite number or the source unknown.
        """
        now = datetime.now(timezone.utc)
        item = Feedback(clean_text(decision_id), reward, source, now)
        return str(await self._write(FEEDBACK, item))

    async def counts(self) -> dict[str, int]:
        """Count decisions, completed ones, fallbacks, and rewards by source.

        Raises
        ------
        LogUnavailable
            If the log cannot be read.
        """
        return await asyncio.to_thread(self._database.counts)

    async def _write(self, kind: str, content: Any) -> Any:
        """Hand a job to the writer and wait, but not for ever."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._writer.submit(Job(kind, content, future))
        limit = loop.call_later(self._patience, self._give_up, future)
        try:
            return await future
        finally:
            limit.cancel()

    def _give_up(self, future: asyncio.Future[Any]) -> None:
        """Stop waiting; the writer may hang."""
        if future.done():
            return
        text = f"the decision log does not answer within {self._patience:g} seconds."
        future.set_exception(LogUnavailable(text))
        try:
            self._writer.give_up_if_hanging()
        except LogUnavailable:
            return
