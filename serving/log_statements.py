"""The SQL of the decision log, built once."""

from __future__ import annotations

from typing import Any

from routing_gym.benchmark.off_policy_tables import log_tables, sql_toolkit


class LogStatements:
    """Statements for one kind of database.

    Parameters
    ----------
    dialect
        "sqlite" or "postgresql".

    Attributes
    ----------
    decision, feedback
        Inserts that ignore what is known already.
    completion
        Update of the decision whose id is ``wanted``.
    known, rewards
        Of the decisions ``ids``: which exist, and which rewards they have.
    decision_text
        `decision` as SQLite's driver takes it, with named values.
    probe
        A write that changes nothing.
    durable
        Makes the transaction wait for the disk where PostgreSQL is set up not to.
    """

    def __init__(self, dialect: str) -> None:
        sa, tables = sql_toolkit(), log_tables()
        decisions, feedback = tables.decisions, tables.feedback
        insert = self._insert(dialect)
        self.decision: Any = insert(decisions).on_conflict_do_nothing(
            index_elements=["decision_id"]
        )
        self.feedback: Any = insert(feedback).on_conflict_do_nothing(
            index_elements=["decision_id", "source"]
        )
        filled = ("generation_seconds", "total_seconds", "prompt_tokens", "completion_tokens")
        self.decision_text = ""
        if dialect == "sqlite":
            later = (*filled, "status", "sequence")  # the database itself counts the sequence
            given = [column.name for column in decisions.c if column.name not in later]
            self.decision_text = self._sqlite_text(self.decision, given)
        self.completion: Any = (
            sa.update(decisions)
            .where(decisions.c.decision_id == sa.bindparam("wanted"))
            .values({name: sa.bindparam(name) for name in (*filled, "status")})
        )
        ids = sa.bindparam("ids", expanding=True)
        self.known: Any = sa.select(decisions.c.decision_id).where(decisions.c.decision_id.in_(ids))
        self.rewards: Any = sa.select(
            feedback.c.decision_id, feedback.c.source, feedback.c.reward
        ).where(feedback.c.decision_id.in_(ids))
        name = "synchronous_commit"
        self.durable: Any = sa.select(sa.func.set_config(name, "on", True)).where(
            sa.func.current_setting(name) == "off"
        )
        self.probe: Any = sa.update(tables.schema).values(created=tables.schema.c.created)

    @staticmethod
    def _insert(dialect: str) -> Any:
        """Return the dialect's insert, which knows conflicts."""
        if dialect == "sqlite":
            from sqlalchemy.dialects import sqlite

            return sqlite.insert
        from sqlalchemy.dialects import postgresql

        return postgresql.insert

    @staticmethod
    def _sqlite_text(statement: Any, columns: list[str]) -> str:
        """Write a statement in SQLite's words."""
        from sqlalchemy.dialects import sqlite

        dialect = sqlite.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
        return str(statement.compile(dialect=dialect, column_keys=columns))
