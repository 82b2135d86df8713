"""The thread that writes the decision log: whatever waits is committed together.

Callers hand over jobs and wait for their futures; the thread takes everything that has gathered
while it was writing (group commit), so that a busy server commits large groups and an idle one
single rows. While the database refuses, jobs are refused at once, and the thread tries again from
time to time by itself. No clock that can step plays a part: the time of waiting is monotonic.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from routing_gym.serving.log_database import LogDatabase
from routing_gym.serving.log_records import Feedback, LogUnavailable, Row

LOGGER = logging.getLogger(__name__)
GROUP_JOBS = 500
DECISIONS, FEEDBACK, STOP = "decisions", "feedback", "stop"


@dataclass(frozen=True, eq=False)
class Job:
    """Something to write, and who waits for it.

    Parameters
    ----------
    kind
        DECISIONS, FEEDBACK or STOP.
    content
        Rows of decisions, or one `Feedback`.
    future
        Told what became of it.
    """

    kind: str
    content: Sequence[Row] | Feedback
    future: asyncio.Future[Any]

    @property
    def size(self) -> int:
        """How many rows it writes."""
        return 1 if isinstance(self.content, Feedback) else len(self.content)


class LogWriter:
    """Owns the database and its thread; called from one event loop.

    Parameters
    ----------
    database
        Not yet connected.
    patience
        Seconds that a group may take; afterwards it is interrupted.
    max_pending
        Rows that may wait.
    flush_seconds
        How long completions are gathered.
    retry_seconds
        Between two tries while the database refuses.
    """

    def __init__(
        self,
        database: LogDatabase,
        *,
        patience: float,
        max_pending: int,
        flush_seconds: float,
        retry_seconds: float,
    ) -> None:
        self.errors = 0
        self.dropped = 0
        self._database = database
        self._patience = patience
        self._max_pending = max_pending
        self._flush_seconds = flush_seconds
        self._retry_seconds = retry_seconds
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._completions: deque[Row] = deque()
        self._flushing = 0  # completions that are being written
        self._waiting = 0  # rows of jobs; only touched in the event loop
        self._thread: threading.Thread | None = None
        self._outage: LogUnavailable | None = LogUnavailable("the decision log is not open.")
        self._closing = False
        self._retry_at = 0.0
        self._flush_at = 0.0
        self._busy_since: float | None = None

    @property
    def pending(self) -> int:
        """Rows that wait to be written."""
        return self._waiting + len(self._completions) + self._flushing

    @property
    def available(self) -> bool:
        """Whether the last write succeeded, none hangs, and there is somebody who writes."""
        return self._outage is None and not (self._closing or self._hangs or self._stopped)

    async def start(self) -> None:
        """Start the thread; returns when the database is open, or raises what it raised."""
        if self._thread is not None:
            raise RuntimeError("the decision log was opened before: make a new one.")
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="decision-log", daemon=True
        )
        self._thread.start()
        await opened

    async def stop(self) -> None:
        """Write what waits and end the thread; never hangs."""
        thread, closed = self._thread, self._closing
        self._closing = True
        if thread is None:
            return
        if thread.is_alive() and not closed:
            future = asyncio.get_running_loop().create_future()
            self._jobs.put(Job(STOP, (), future))
            await asyncio.to_thread(thread.join, 2 * self._patience)
        if thread.is_alive():
            self._database.interrupt()
            await asyncio.to_thread(thread.join, 2 * self._patience)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises
        ------
        LogUnavailable
            If the database refuses just now, hangs, or too much waits already.
        """
        if self._closing:
            raise LogUnavailable("the decision log is closed.")
        if self._stopped:
            raise LogUnavailable("the decision log's writer has stopped: start the server again.")
        if self._outage is not None:
            raise LogUnavailable(str(self._outage))
        self.give_up_if_hanging()
        if self._waiting + job.size > self._max_pending:
            raise LogUnavailable(
                f"{self._waiting} rows wait for the decision log, at most {self._max_pending} may: "
                "the database is too slow."
            )
        self._waiting += job.size
        job.future.add_done_callback(lambda _: self._count_off(job.size))
        self._jobs.put(job)

    def complete(self, row: Row) -> None:
        """Keep a completion until the next flush; the oldest goes if too many wait."""
        if len(self._completions) >= self._max_pending:
            self._completions.popleft()
            self.dropped += 1
        self._completions.append(row)

    def give_up_if_hanging(self) -> None:
        """Interrupt a group that takes too long.

        Raises
        ------
        LogUnavailable
            If one does.
        """
        if self._hangs:
            self._database.interrupt()
            raise LogUnavailable(
                f"the decision log does not answer within {self._patience:g} seconds."
            )

    @property
    def _hangs(self) -> bool:
        """Whether a group takes too long."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > self._patience

    @property
    def _stopped(self) -> bool:
        """Whether the thread has ended."""
        return self._thread is not None and not self._thread.is_alive()

    def _count_off(self, size: int) -> None:
        """Forget rows that nobody waits for any more."""
        self._waiting -= size

    def _run(self, opened: asyncio.Future[None]) -> None:
        """Body of the thread."""
        try:
            self._database.connect()
        except Exception as error:
            self._database.close()
            _tell([(opened, error)])
            return
        self._outage = None
        _tell([(opened, None)])
        stopped = False
        while not stopped:
            jobs = self._gather()
            stopped = any(job.kind == STOP for job in jobs)
            try:
                self._work(jobs, stopped=stopped)
            except Exception as error:  # nobody else would write
                self._fail(jobs, error)
        if self._completions:
            self.dropped += len(self._completions)
            LOGGER.warning("decision log: %d completions are lost", len(self._completions))
        self._database.close()

    def _work(self, jobs: Sequence[Job], *, stopped: bool) -> None:
        """Write what has gathered."""
        self._retry(force=stopped)
        self._write([job for job in jobs if job.kind == DECISIONS], self._write_decisions)
        self._write([job for job in jobs if job.kind == FEEDBACK], self._write_feedback)
        self._flush(force=stopped)

    def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        """Tell those who wait that a fault which nobody foresaw stopped their jobs."""
        text = f"the decision log cannot be written: {type(error).__name__}: {error}"
        if str(self._outage) != text:  # once, however often it is tried again
            LOGGER.error("decision log: a fault of the writer", exc_info=error)
        self.errors += 1
        self._flushing = 0
        self._outage = LogUnavailable(text)
        self._retry_at = time.monotonic() + self._retry_seconds
        if jobs:
            _tell([(job.future, LogUnavailable(text)) for job in jobs])

    def _gather(self) -> list[Job]:
        """Wait for a job, then take all that have gathered; empty when it is time to flush."""
        pause = self._flush_seconds
        if self._outage is not None:
            pause = max(0.0, min(pause, self._retry_at - time.monotonic()))
        jobs: list[Job] = []
        with contextlib.suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=pause))
            while len(jobs) < GROUP_JOBS and jobs[-1].kind != STOP:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _write(self, jobs: Sequence[Job], write: Callable[[Sequence[Job]], Sequence[Any]]) -> None:
        """Write jobs of one kind as a group and tell those who wait."""
        wanted = [job for job in jobs if not job.future.done()]  # else nobody will act on it
        if not wanted:
            return
        try:
            if self._outage is not None:
                raise LogUnavailable(str(self._outage))
            results = self._guarded(lambda: write(wanted))
        except LogUnavailable as error:
            results = [LogUnavailable(str(error)) for _ in wanted]
        except Exception as error:
            if len(wanted) > 1:  # one job's fault must not take the others with it
                for job in wanted:
                    self._write([job], write)
                return
            results = [error]
        _tell([(job.future, result) for job, result in zip(wanted, results, strict=True)])

    def _write_decisions(self, jobs: Sequence[Job]) -> Sequence[None]:
        """Insert the decisions of all jobs."""
        rows = [row for job in jobs if not isinstance(job.content, Feedback) for row in job.content]
        self._database.write_decisions(rows)
        return [None] * len(jobs)

    def _write_feedback(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Insert all jobs' rewards."""
        items = [job.content for job in jobs if isinstance(job.content, Feedback)]
        return self._database.write_feedback(items)

    def _flush(self, *, force: bool) -> None:
        """Write the completions that have gathered, if it is time."""
        now = time.monotonic()
        if (
            not self._completions
            or self._outage is not None
            or not (force or now >= self._flush_at)
        ):
            return
        self._flush_at = now + self._flush_seconds
        while self._completions and self._outage is None:
            self._flushing = min(GROUP_JOBS, len(self._completions))
            self._write_completions([self._completions.popleft() for _ in range(self._flushing)])
            self._flushing = 0

    def _write_completions(self, rows: Sequence[Row]) -> None:
        """Write completions, or put them back."""
        try:
            self._guarded(functools.partial(self._database.write_completions, rows))
        except LogUnavailable:
            self._completions.extendleft(reversed(rows))
        except Exception:
            self.dropped += len(rows)
            LOGGER.exception("decision log: %d completions cannot be written", len(rows))

    def _retry(self, *, force: bool) -> None:
        """See whether the database takes writes again, if it is time."""
        if self._outage is None or not (force or time.monotonic() >= self._retry_at):
            return
        try:
            self._guarded(self._database.probe)
        except LogUnavailable:
            return
        LOGGER.warning("decision log: %s can be written again", self._database.place)

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """Do some work on the database and keep in mind whether it can be written."""
        self._busy_since = time.monotonic()
        try:
            result = work()
        except LogUnavailable as error:
            self.errors += 1
            if self._outage is None:
                LOGGER.error("decision log: %s", error)
            self._outage, self._retry_at = error, time.monotonic() + self._retry_seconds
            raise
        finally:
            self._busy_since = None
        self._outage = None
        return result


def _tell(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    """Resolve futures in their event loop, in one step."""
    loop = results[0][0].get_loop()
    try:
        loop.call_soon_threadsafe(_resolve, results)
    except RuntimeError:  # the loop is closed: nobody waits any more
        LOGGER.debug("decision log: %d results came after the end", len(results))


def _resolve(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    """Hand out results; exceptions are raised where they are awaited."""
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
