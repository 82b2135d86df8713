"""Decision logs in SQLite and PostgreSQL, read for off-policy evaluation.

The tables are described in `routing_gym.benchmark.off_policy_tables`; a server's
`routing_gym.serving.decision_log.DecisionStore` writes them, also while they are read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_tables import (
    SELF_EVALUATION,
    USER,
    check_schema,
    database_url,
    hide_password,
    log_tables,
    sql_toolkit,
)

if TYPE_CHECKING:
    import sqlalchemy

ANY = "any"
REWARDS = (USER, SELF_EVALUATION, ANY)
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True)
class LogPart:
    """Which decisions and rewards of a database are read.

    Parameters
    ----------
    rewards
        Whose: "user", "self_evaluation", or "any" (the user's where there is one, else the
        self-evaluator's).
    pool
        Fingerprint of the pool; "" reads all, which must then be of one pool.
    policy
        Name or version of the policy that decided; "" reads all.
    since
        Earliest time, ISO 8601 with an offset; "" reads all.

    Raises
    ------
    ValueError
        If `rewards` is unknown or `since` no such time.
    """

    rewards: str = ANY
    pool: str = ""
    policy: str = ""
    since: str = ""

    def __post_init__(self) -> None:
        if self.rewards not in REWARDS:
            raise ValueError(f"rewards={self.rewards!r} must be one of {', '.join(REWARDS)}.")
        if self.since:
            _ = self.start

    @property
    def start(self) -> str:
        """`since` as the log writes times."""
        try:
            time = datetime.fromisoformat(self.since.replace("Z", "+00:00"))
        except ValueError as error:
            raise ValueError(_no_time(self.since)) from error
        if time.tzinfo is None:
            raise ValueError(_no_time(self.since))
        return utc_text(time)

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self == LogPart()

    @property
    def text(self) -> str:
        """What is meant, for a message; empty for all."""
        given = {name: value for name, value in vars(self).items() if value and value != ANY}
        return "".join(f" {name}={value!r}" for name, value in given.items())


def read_sql_log(url: str, part: LogPart | None = None) -> DecisionLog:
    """Read and verify a log that is a database.

    Parameters
    ----------
    url
        A ``.db`` or ``.sqlite`` file, ``sqlite:///...`` or ``postgresql://...``.
    part
        What to read; None reads all, and any reward.

    Returns
    -------
    DecisionLog
        In the order of writing. Fallbacks are marked. Where a single adapter was eligible (a
        client named it, or all others were down) nobody decided: these rows are left out. The
        query ids are the SHA-256 of the queries' texts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the database cannot be reached or read.
    ValueError
        If it is no decision log, holds nothing to read, mixes pools, or a row is broken.
    ImportError
        If SQLAlchemy or the driver is not installed.
    """
    sa, part = sql_toolkit(), part or LogPart()
    address = database_url(url)
    place = hide_password(url)
    if address.database and address.drivername == "sqlite":
        place = Path(address.database).name
        if not Path(address.database).is_file():
            raise FileNotFoundError(f"log {address.database!r} does not exist: check the path.")
    engine = _engine(address)
    try:
        with engine.connect() as connection:
            if not check_schema(connection, place):
                raise ValueError(f"{place} holds no decision: log some, or check the path.")
            rows = _rows(connection, part, place)
    except sa.exc.OperationalError as error:
        raise OSError(f"log {place} cannot be read: {_reason(error)}") from error
    except sa.exc.DatabaseError as error:
        raise ValueError(f"{place} is no readable database: {_reason(error)}") from error
    finally:
        engine.dispose()
    try:
        return _to_log(rows)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def utc_text(time: datetime) -> str:
    """Write an aware time as the log does: in UTC, of one length, so that texts sort as times."""
    return time.astimezone(timezone.utc).isoformat(timespec="microseconds")


def _engine(address: sqlalchemy.URL) -> sqlalchemy.Engine:
    """Make an engine for one reading."""
    sa = sql_toolkit()
    try:
        return sa.create_engine(address, poolclass=sa.pool.NullPool)
    except ImportError as error:
        raise ImportError("PostgreSQL needs psycopg: pip install routing-gym[serve]") from error


def _rows(connection: sqlalchemy.Connection, part: LogPart, place: str) -> list[Any]:
    """Read the rows on which somebody decided, of one pool."""
    sa, decisions = sql_toolkit(), log_tables().decisions
    wanted = _conditions(part)
    pool = (decisions.c.pool_fingerprint, decisions.c.adapters)
    counted = sa.select(*pool, sa.func.count()).where(*wanted).group_by(*pool)
    pools = connection.execute(counted).all()
    if len(pools) > 1:
        named = ", ".join(f"{name!r} of {adapters} ({n})" for name, adapters, n in pools)
        raise ValueError(
            f"{place} mixes decisions of {len(pools)} pools: {named}; give the fingerprint of one "
            "as 'pool', or a time as 'since'."
        )
    query = _query(part).where(*wanted).order_by(decisions.c.sequence)
    streamed = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    rows = [row for row in streamed if json.loads(row.eligible).count(True) > 1]
    if pools and not rows:
        raise ValueError(
            f"{place} holds no choice: in all {pools[0][2]} decisions a single adapter was "
            "eligible, so that nobody decided; serve a pool of which several can answer."
        )
    if not rows:
        raise ValueError(f"{place} holds no decision{part.text}: log some, or check what is read.")
    return rows


def _conditions(part: LogPart) -> list[Any]:
    """Say which decisions are meant."""
    sa, decisions = sql_toolkit(), log_tables().decisions
    wanted = []
    if part.pool:
        wanted.append(decisions.c.pool_fingerprint == part.pool)
    if part.policy:
        same = (decisions.c.policy_name == part.policy, decisions.c.policy_version == part.policy)
        wanted.append(sa.or_(*same))
    if part.since:
        wanted.append(decisions.c.time >= part.start)
    return wanted


def _query(part: LogPart) -> Any:
    """Select each decision with its reward."""
    sa, tables = sql_toolkit(), log_tables()
    columns = "decision_id time adapters eligible pool_fingerprint policy_version action propensity"
    columns += " propensities fallback query_hash query encoder embedding"
    user, own = tables.feedback.alias(), tables.feedback.alias()
    rewards = {
        USER: user.c.reward,
        SELF_EVALUATION: own.c.reward,
        ANY: sa.func.coalesce(user.c.reward, own.c.reward),
    }
    joined: Any = tables.decisions
    for given, source in ((user, USER), (own, SELF_EVALUATION)):
        same = given.c.decision_id == tables.decisions.c.decision_id
        joined = joined.outerjoin(given, sa.and_(same, given.c.source == source))
    chosen = [tables.decisions.c[name] for name in columns.split()]
    return sa.select(*chosen, rewards[part.rewards].label("reward")).select_from(joined)


def _to_log(rows: Sequence[Any]) -> DecisionLog:
    """Turn rows of one pool into arrays."""
    adapters = tuple(json.loads(rows[0].adapters))
    k = len(adapters)
    propensities = _matrix(rows, "propensities", k).astype(np.float64)
    fallbacks = np.array([row.fallback for row in rows], dtype=np.bool_)
    drawn = np.array([math.nan if r.propensity is None else r.propensity for r in rows])
    drawn[fallbacks & (drawn == 0)] = np.nan  # the adapter that stood in could not be drawn
    # Objects: one long prompt would widen every entry of an array of texts.
    queries = np.array([row.query or "" for row in rows], dtype=object)
    log = DecisionLog(
        adapters=adapters,
        pool_fingerprint=rows[0].pool_fingerprint,
        decision_ids=np.array([row.decision_id for row in rows], dtype=np.str_),
        times=np.array([row.time for row in rows], dtype=np.str_),
        policy_versions=np.array([row.policy_version for row in rows], dtype=np.str_),
        actions=np.array([row.action for row in rows], dtype=np.int64),
        propensities=drawn,
        rewards=np.array([math.nan if r.reward is None else r.reward for r in rows]),
        fallbacks=fallbacks,
        all_propensities=propensities,
        queries=queries if (queries != "").any() else None,
        query_ids=np.array([row.query_hash for row in rows], dtype=np.str_),
        eligible=_matrix(rows, "eligible", k).astype(np.bool_),
        encoders=np.array([row.encoder for row in rows], dtype=np.str_),
    )
    return dataclasses.replace(log, observations=_embeddings(rows))


def _matrix(rows: Sequence[Any], name: str, width: int) -> np.ndarray:
    """Read a column of JSON lists of one length: (N, K)."""
    lists = [json.loads(getattr(row, name)) for row in rows]
    for row, values in zip(rows, lists, strict=True):
        if len(values) != width:
            raise ValueError(
                f"decision {row.decision_id!r}: {name} has {len(values)} entries, not {width}."
            )
    return np.array(lists)


def _embeddings(rows: Sequence[Any]) -> np.ndarray | None:
    """Read the contexts, float32 (N, D); None if none is logged."""
    sizes = {len(row.embedding or b"") for row in rows}
    if sizes == {0}:
        return None
    if len(sizes) > 1 or sizes.pop() % 4:
        raise ValueError(
            "embeddings of different lengths, or of some decisions only: the encoder or the "
            "setting changed; read one part of the log by 'policy' or 'since'."
        )
    values = np.frombuffer(b"".join(row.embedding for row in rows), dtype="<f4")
    return values.reshape(len(rows), -1).astype(np.float32)


def _no_time(text: str) -> str:
    """Say what a time must be like."""
    return f"since={text!r} must be ISO 8601 with an offset, like '2025-01-31T12:00:00+00:00'."


def _reason(error: Any) -> str:
    """Take the database's own words, in one line."""
    return " ".join(str(error.orig or error).split())
