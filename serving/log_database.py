"""The decision log's database: one connection that writes, SQLite or PostgreSQL alike.

Everything here blocks. One thread uses it (`routing_gym.serving.log_writer`); only `interrupt` and
`counts` may be called from another.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from routing_gym.benchmark.off_policy_sql import utc_text
from routing_gym.benchmark.off_policy_tables import (
    SCHEMA_VERSION,
    SOURCES,
    check_schema,
    database_url,
    hide_password,
    log_tables,
    sql_toolkit,
)
from routing_gym.serving.log_engine import make_engine
from routing_gym.serving.log_records import (
    Feedback,
    FeedbackConflict,
    LogUnavailable,
    Row,
    UnknownDecision,
)
from routing_gym.serving.log_statements import LogStatements

if TYPE_CHECKING:
    import sqlalchemy

RECORDED, UNCHANGED = "recorded", "unchanged"
CREATION_LOCK = 7_204_261_031  # any number of our own: servers that start together take turns
WAL_PAGES = 4000  # 16 MB between checkpoints: their fsync is rare then
WAL_BYTES = 64 << 20  # a log that a long reader let grow shrinks to this

T = TypeVar("T")
Outcome = str | Exception


class LogDatabase:
    """Writes rows, each call in a transaction of its own.

    On SQLite decisions are committed with ``synchronous=NORMAL``: they survive the death of the
    process, and the feedback's next ``fsync`` takes them along. Feedback is committed with
    ``synchronous=FULL``: it survives the death of the machine.

    Parameters
    ----------
    url
        A SQLite file, ``sqlite:///...`` or ``postgresql://...``.
    patience
        Seconds to wait for a lock or a connection.
    """

    def __init__(self, url: str, *, patience: float = 2.0) -> None:
        self._url = database_url(url)
        self.place = hide_password(url)
        self._patience = patience
        self._file = Path(self._url.database or "") if self._is_sqlite else None
        self._identity: tuple[int, int] | None = None
        self._engine: sqlalchemy.Engine | None = None
        self._connection: sqlalchemy.Connection | None = None
        self._driver: Any = None
        self._synchronous = ""
        self._interrupted = False
        self._statements = LogStatements(self._url.get_backend_name())

    @property
    def _is_sqlite(self) -> bool:
        """Whether it is SQLite."""
        return self._url.get_backend_name() == "sqlite"

    def connect(self) -> None:
        """Open the database, verify that it is a log of our version, or begin one.

        Raises
        ------
        ValueError
            If it is something else.
        LogUnavailable
            If it cannot be reached or written.
        ImportError
            If the driver is not installed.
        """
        sa = sql_toolkit()
        self._interrupted = False
        try:
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = self._engine or make_engine(self._url, patience=self._patience)
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.driver_connection
            self._begin_log(self._connection)
            if self._file is not None:
                self._prepare_sqlite()
        except sa.exc.OperationalError as error:
            self.disconnect()
            raise LogUnavailable(f"log {self.place} cannot be opened: {_reason(error)}") from error
        except sa.exc.DBAPIError as error:
            self.disconnect()
            raise ValueError(f"{self.place} is no usable database: {_reason(error)}") from error
        except OSError as error:
            self.disconnect()
            raise LogUnavailable(f"log {self.place} cannot be opened: {error}") from error
        except ValueError:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Drop the connection, whatever state it is in."""
        connection, self._connection, self._driver = self._connection, None, None
        self._synchronous = ""
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
            with contextlib.suppress(Exception):
                connection.close()

    def close(self) -> None:
        """Close in good order; SQLite then moves its write-ahead log into the file."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = self._driver = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def interrupt(self) -> None:
        """Make the call that is running in another thread fail; harmless if none is."""
        driver, self._interrupted = self._driver, True
        if driver is None:
            return
        with contextlib.suppress(Exception):  # it may be closing just now
            if self._is_sqlite:
                driver.interrupt()
            else:  # a server that is gone never answers a request to cancel
                with socket.socket(fileno=os.dup(driver.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def write_decisions(self, rows: Sequence[Row]) -> None:
        """Insert decisions; those whose id is known are ignored."""
        if self._is_sqlite:
            self._attempt(lambda: self._insert_directly(rows))
        else:
            self._attempt(lambda: self._execute(self._statements.decision, rows))

    def write_completions(self, rows: Sequence[Row]) -> None:
        """Fill in what is known after the answer."""
        self._attempt(lambda: self._execute(self._statements.completion, rows))

    def write_feedback(self, items: Sequence[Feedback]) -> list[Outcome]:
        """Insert rewards; one outcome per item, an exception for those that are refused."""
        return self._attempt(lambda: self._insert_feedback(items))

    def probe(self) -> None:
        """Write something without meaning: if it succeeds, the log can be written."""
        self._attempt(lambda: self._execute(self._statements.probe, [{}]))

    def counts(self) -> dict[str, int]:
        """Count what the log holds, over a connection of its own.

        Raises
        ------
        LogUnavailable
            If it cannot be read.
        """
        sa, tables = sql_toolkit(), log_tables()
        engine = sa.create_engine(self._url, poolclass=sa.pool.NullPool)
        decisions, feedback = tables.decisions.c, tables.feedback.c
        sums = [sa.func.count(), sa.func.count(decisions.status)]
        sums.append(sa.func.count(sa.case((decisions.fallback, 1))))
        sources = [sa.func.count(sa.case((feedback.source == name, 1))) for name in SOURCES]
        try:
            with engine.connect() as connection:
                made = connection.execute(sa.select(*sums).select_from(tables.decisions)).one()
                given = connection.execute(sa.select(*sources)).one()
        except sa.exc.DBAPIError as error:
            raise LogUnavailable(f"log {self.place} cannot be read: {_reason(error)}") from error
        finally:
            engine.dispose()
        names = ("decisions", "completed", "fallbacks", *(f"feedback_{name}" for name in SOURCES))
        return dict(zip(names, map(int, (*made, *given)), strict=True))

    def _attempt(self, work: Callable[[], T]) -> T:
        """Write; if the connection turns out to be lost, once more over a new one.

        Writing twice does no harm: whatever is known already is ignored.
        """
        sa = sql_toolkit()
        for last in (False, True):
            try:
                self._ensure_connected()
                return work()
            except (sa.exc.DataError, sa.exc.IntegrityError):
                raise  # the fault of what is to be written
            except (sa.exc.DBAPIError, OSError) as error:
                self.disconnect()
                if last or self._interrupted:
                    text = f"the decision log {self.place} cannot be written: {_reason(error)}"
                    raise LogUnavailable(text) from error
            except BaseException:
                self.disconnect()  # no transaction stays open
                raise
        raise AssertionError("unreachable")

    def _ensure_connected(self) -> None:
        """Connect unless connected, also where the file was moved away since."""
        if self._file is not None and self._connection is not None:
            if _identity(self._file) != self._identity:
                self.disconnect()
        if self._connection is None:
            try:
                self.connect()
            except (ValueError, ImportError) as error:
                raise LogUnavailable(str(error)) from error

    def _execute(self, statement: Any, rows: Sequence[Row]) -> None:
        """Execute for every row, in one transaction."""
        with self._transaction(durable=False) as connection:
            connection.execute(statement, list(rows))

    def _insert_directly(self, rows: Sequence[Row]) -> None:
        """Insert decisions through SQLite's own driver, in half the time: every answer waits."""
        self._synchronise("NORMAL")
        try:
            if len(rows) == 1:  # a transaction by itself
                self._driver.execute(self._statements.decision_text, rows[0])
                return
            self._driver.execute("BEGIN IMMEDIATE")
            self._driver.executemany(self._statements.decision_text, rows)
            self._driver.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._driver.rollback()
            kind = sql_toolkit().exc.DBAPIError
            raise kind.instance("INSERT", {}, error, sqlite3.Error) from error

    def _insert_feedback(self, items: Sequence[Feedback]) -> list[Outcome]:
        """Insert what is new, then say what became of each item."""
        say, ids = self._statements, sorted({item.decision_id for item in items})
        fresh: dict[tuple[str, str], Feedback] = {}
        with self._transaction(durable=True) as connection:
            known = set(connection.scalars(say.known, {"ids": ids}))
            before = _rewards(connection.execute(say.rewards, {"ids": ids}))
            for item in items:
                if item.decision_id in known and item.key not in before:
                    fresh.setdefault(item.key, item)
            after = before
            if fresh:
                connection.execute(say.feedback, [item.row() for item in fresh.values()])
                # Another server may have been quicker.
                after = _rewards(connection.execute(say.rewards, {"ids": ids}))
        return [_outcome(item, known, after, fresh) for item in items]

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[sqlalchemy.Connection]:
        """One transaction; committed at the end."""
        assert self._connection is not None
        if self._is_sqlite:
            self._synchronise("FULL" if durable else "NORMAL")
        with self._connection.begin():
            if durable and not self._is_sqlite:
                self._connection.execute(self._statements.durable)
            yield self._connection

    def _synchronise(self, mode: str) -> None:
        """Set when SQLite waits for the disk; only possible between transactions."""
        if mode != self._synchronous:
            self._driver.execute(f"PRAGMA synchronous={mode}")
            self._synchronous = mode

    def _begin_log(self, connection: sqlalchemy.Connection) -> None:
        """Create the tables unless they are there; refuse what is not ours, untouched."""
        sa, tables = sql_toolkit(), log_tables()
        with connection.begin():
            if not self._is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATION_LOCK)))
            if not check_schema(connection, self.place):
                tables.metadata.create_all(connection)
                now = utc_text(datetime.now(timezone.utc))
                row = {"version": SCHEMA_VERSION, "created": now}
                connection.execute(tables.schema.insert(), row)

    def _prepare_sqlite(self) -> None:
        """Turn on write-ahead logging, which lets others read while we write."""
        assert self._file is not None
        (mode,) = self._driver.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise ValueError(
                f"{self.place} is on a file system without write-ahead logs (journal mode "
                f"{mode!r}): name a file on a local disk."
            )
        self._driver.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        self._driver.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        self._identity = _identity(self._file)


def _identity(file: Path) -> tuple[int, int] | None:
    """Tell a file from another that was put in its place; None if there is none."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _rewards(rows: Any) -> dict[tuple[str, str], float]:
    """Index rewards by decision and source."""
    return {(row.decision_id, row.source): float(row.reward) for row in rows}


def _outcome(
    item: Feedback,
    known: set[str],
    stored: dict[tuple[str, str], float],
    fresh: dict[tuple[str, str], Feedback],
) -> Outcome:
    """Say what became of one reward."""
    if item.decision_id not in known:
        return UnknownDecision(f"decision {item.decision_id!r} is not in the log.")
    held = stored[item.key]
    if held != float(item.reward):
        return FeedbackConflict(
            f"decision {item.decision_id!r} has the reward {held:g} of source {item.source!r} "
            "already: a reward is given once."
        )
    return RECORDED if fresh.get(item.key) is item else UNCHANGED


def _reason(error: Exception) -> str:
    """Take the database's own words, in one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
