"""The tables of a decision log in a database: what a server writes and off-policy evaluation reads.

SQLite and PostgreSQL hold the same three tables, of schema ``SCHEMA_VERSION``:

``routing_gym_log``
    One row with the schema's version, by which a log is told from any other database.
``decisions``
    One row per decision. ``sequence`` rises in the order of writing and is the log's order: clocks
    step, it does not. ``decision_id`` is unique. Lists (``adapters``, ``eligible``,
    ``propensities``) are JSON text, ``embedding`` is little-endian float32, times are ISO 8601 in
    UTC. What is known only after the answer (generation, tokens, status) is filled in later.
``feedback``
    At most one reward per decision and source, "user" or "self_evaluation".

SQLAlchemy is imported where it is used: it comes with the extra ``[serve]``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy

SCHEMA_VERSION = 1
SUFFIXES = (".db", ".sqlite", ".sqlite3")
USER, SELF_EVALUATION = "user", "self_evaluation"
SOURCES = (USER, SELF_EVALUATION)  # a user's reward outranks the self-evaluator's
FORMS = (
    "a file that ends in .db, .sqlite or .sqlite3, sqlite:///FILE or postgresql://USER@HOST/NAME"
)


@dataclass(frozen=True)
class LogTables:
    """The tables of a decision log, for SQLAlchemy Core.

    Parameters
    ----------
    metadata
        All of them together.
    schema, decisions, feedback
        Described in the module's docstring.
    """

    metadata: sqlalchemy.MetaData
    schema: sqlalchemy.Table
    decisions: sqlalchemy.Table
    feedback: sqlalchemy.Table


@lru_cache(maxsize=1)
def log_tables() -> LogTables:
    """Describe the tables.

    Raises
    ------
    ImportError
        If SQLAlchemy is not installed.
    """
    sa = sql_toolkit()
    metadata = sa.MetaData()
    schema = sa.Table(
        "routing_gym_log",
        metadata,
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created", sa.Text, nullable=False),
    )
    return LogTables(metadata, schema, _decisions(sa, metadata), _feedback(sa, metadata))


def is_database(log: str) -> bool:
    """Whether a log is a database's URL or a SQLite file, by its name alone."""
    return "://" in log or Path(log).suffix in SUFFIXES


def database_url(log: str) -> sqlalchemy.URL:
    """Turn a file's name or a URL into SQLAlchemy's URL, with the driver that we use.

    Parameters
    ----------
    log
        A path that ends in one of ``SUFFIXES``, ``sqlite:///path``, or ``postgresql://...``.

    Raises
    ------
    ValueError
        If it is something else; a password in it is not repeated.
    ImportError
        If SQLAlchemy is not installed.
    """
    sa = sql_toolkit()
    if "://" not in log:
        if Path(log).suffix not in SUFFIXES:
            raise ValueError(f"log {log!r} is no database: give {FORMS}.")
        return sa.URL.create("sqlite", database=log)
    scheme = log.split("://", 1)[0]
    try:
        url = sa.make_url(log)
    except (ValueError, sa.exc.ArgumentError) as error:
        raise ValueError(f"log '{scheme}://...' is no database URL: give {FORMS}.") from error
    dialect = url.get_backend_name()
    if dialect in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if dialect != "sqlite":
        raise ValueError(f"log '{scheme}://...' is of an unknown kind: give {FORMS}.")
    if not url.database or ":memory:" in url.database or "mode" in url.query:
        raise ValueError(f"log {log!r} names no file: an in-memory log is lost; give {FORMS}.")
    return url.set(drivername="sqlite")


def hide_password(log: str) -> str:
    """Write a log's name so that it can be shown: a URL's passwords become ``***``."""
    if "://" not in log or not ("@" in log or "?" in log):
        return log
    sa = sql_toolkit()
    try:
        url = sa.make_url(log)
    except (ValueError, sa.exc.ArgumentError):  # nobody can read it: it may still hold a password
        return f"{log.split('://', 1)[0]}://***"
    # "sslpassword" is one too: of the client's key
    secrets = {name: "***" for name in url.query if "password" in name.lower()}
    if secrets:
        url = url.update_query_dict(secrets)
    return str(url.render_as_string(hide_password=True))


def check_schema(connection: sqlalchemy.Connection, place: str) -> bool:
    """Refuse a database that is no decision log of this version; it is only read.

    Parameters
    ----------
    connection
        To the database.
    place
        How to call it in messages.

    Returns
    -------
    bool
        True for a log; False for a database in which one may be begun.

    Raises
    ------
    ValueError
        If it holds something else, or a log of another version.
    """
    sa, tables = sql_toolkit(), log_tables()
    present = set(sa.inspect(connection).get_table_names())
    ours = set(tables.metadata.tables)
    if tables.schema.name not in present:
        # A server's database is often shared; a file is not.
        shared = connection.dialect.name != "sqlite"
        foreign = present & ours if shared else present
        if foreign:
            raise ValueError(
                f"{place} is no decision log: it holds the tables {_listed(foreign)} of something "
                "else; name another database."
            )
        return False
    versions = connection.scalars(sa.select(tables.schema.c.version)).all()
    if versions != [SCHEMA_VERSION]:
        raise ValueError(
            f"{place} is a decision log of schema version {_listed(versions) or 'unknown'}, this "
            f"program reads and writes version {SCHEMA_VERSION}: use the release that wrote it, "
            "or begin another log."
        )
    if not ours <= present:
        raise ValueError(
            f"{place} is a damaged decision log: it lacks the tables {_listed(ours - present)}; "
            "restore it from a backup, or begin another log."
        )
    return True


def sql_toolkit() -> ModuleType:
    """Import SQLAlchemy.

    Raises
    ------
    ImportError
        If it is not installed, with the command that installs it.
    """
    try:
        import sqlalchemy
        import sqlalchemy.exc
    except ImportError as error:
        raise ImportError(
            "decision logs in a database need SQLAlchemy: pip install routing-gym[serve]"
        ) from error
    return sqlalchemy


def _decisions(sa: ModuleType, metadata: sqlalchemy.MetaData) -> sqlalchemy.Table:
    """Describe the table of decisions."""
    texts = ("time", "request_id", "policy_name", "policy_version", "pool_fingerprint")
    known_later = {
        "generation_seconds": sa.Double,
        "total_seconds": sa.Double,
        "prompt_tokens": sa.Integer,
        "completion_tokens": sa.Integer,
        "status": sa.Text,
    }
    table: sqlalchemy.Table = sa.Table(
        "decisions",
        metadata,
        sa.Column("sequence", _counter(sa), primary_key=True, autoincrement=True),
        sa.Column("decision_id", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        sa.Column("adapters", sa.Text, nullable=False),
        sa.Column("eligible", sa.Text, nullable=False),
        sa.Column("action", sa.Integer, nullable=False),
        sa.Column("propensity", sa.Double),
        sa.Column("propensities", sa.Text, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("fallback", sa.Boolean, nullable=False),
        sa.Column("query_hash", sa.Text, nullable=False),
        sa.Column("query", sa.Text),
        sa.Column("encoder", sa.Text, nullable=False),
        sa.Column("encoder_seconds", sa.Double),
        sa.Column("policy_seconds", sa.Double),
        *(sa.Column(name, kind) for name, kind in known_later.items()),
        # Last: SQLite reads a row's columns in order, and most queries do not need it.
        sa.Column("embedding", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    return table


def _feedback(sa: ModuleType, metadata: sqlalchemy.MetaData) -> sqlalchemy.Table:
    """Describe the table of rewards."""
    owner = sa.ForeignKey("decisions.decision_id", ondelete="CASCADE")
    table: sqlalchemy.Table = sa.Table(
        "feedback",
        metadata,
        sa.Column("sequence", _counter(sa), primary_key=True, autoincrement=True),
        sa.Column("decision_id", sa.Text, owner, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reward", sa.Double, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
        sa.UniqueConstraint("decision_id", "source"),
        sqlite_autoincrement=True,
    )
    return table


def _counter(sa: ModuleType) -> object:
    """Type of a rising key: SQLite counts only plain integers."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _listed(names: Collection[object]) -> str:
    """List names for a message, the first few of many."""
    shown = sorted(map(str, names))
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
