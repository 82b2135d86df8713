"""Connections of the decision log: SQLAlchemy's engine with our limits and transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routing_gym.benchmark.off_policy_tables import sql_toolkit

if TYPE_CHECKING:
    import sqlalchemy


def make_engine(url: sqlalchemy.URL, *, patience: float) -> sqlalchemy.Engine:
    """Make an engine whose transactions take SQLite's lock at their start.

    Parameters
    ----------
    url
        From `routing_gym.benchmark.off_policy_tables.database_url`.
    patience
        Seconds that a write may take: a third of it for SQLite's lock, which may have to be waited
        for twice; all of it for a connection to PostgreSQL (at least 2).

    Raises
    ------
    ImportError
        If the driver is not installed.
    """
    sa = sql_toolkit()
    is_sqlite = url.get_backend_name() == "sqlite"
    arguments = {"timeout": patience / 3} if is_sqlite else _limits(url, patience)
    try:
        engine: sqlalchemy.Engine = sa.create_engine(
            url, poolclass=sa.pool.NullPool, connect_args=arguments
        )
    except ImportError as error:
        raise ImportError("PostgreSQL needs psycopg: pip install routing-gym[serve]") from error
    if is_sqlite:
        sa.event.listen(engine, "connect", _leave_transactions_to_us)
        sa.event.listen(engine, "begin", _begin_immediately)
    return engine


def _limits(url: sqlalchemy.URL, patience: float) -> dict[str, Any]:
    """Options of libpq by which a lost server is noticed, except those that the URL gives."""
    seconds = max(2, round(patience))  # libpq takes no less than 2
    options = {
        "connect_timeout": seconds,
        "tcp_user_timeout": 1000 * seconds,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "application_name": "routing-gym",
    }
    return {name: value for name, value in options.items() if name not in url.query}


def _leave_transactions_to_us(driver: Any, _record: Any) -> None:
    """Keep Python's SQLite driver from opening transactions by its own rules."""
    driver.isolation_level = None


def _begin_immediately(connection: sqlalchemy.Connection) -> None:
    """Take the lock at the start: one that is taken later may fail without waiting."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
