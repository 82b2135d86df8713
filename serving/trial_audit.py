"""Holding what clients were told against what the decision log holds."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from routing_gym.serving.trial_traffic import TEXTS, Acknowledged


@dataclass(frozen=True)
class Audit:
    """What a log lacks, or holds twice.

    Parameters
    ----------
    decisions, feedback
        Rows of the log.
    lost
        Acknowledged decisions or rewards that the log lacks or holds with another value.
    doubled
        Decisions that the log holds more often than a request asked for them.
    """

    decisions: int
    feedback: int
    lost: int
    doubled: int


def audit(database: Path, acknowledged: Acknowledged) -> Audit:
    """Compare a SQLite log with what clients were told.

    Parameters
    ----------
    database
        The log's file.
    acknowledged
        What clients were told.

    Raises
    ------
    sqlite3.DatabaseError
        If the file is damaged.
    """
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(f"{database} is damaged: {state}")
        rows = connection.execute("SELECT decision_id, request_id FROM decisions").fetchall()
        rewards = connection.execute(
            "SELECT decision_id, reward FROM feedback WHERE source = 'user'"
        ).fetchall()
    held = Counter(decision for decision, _ in rows)
    told = {one for ids in acknowledged.decisions.values() for one in ids}
    known = dict(rewards)
    lost = len(told - held.keys())
    lost += sum(known.get(name) != reward for name, reward in acknowledged.feedback.items())
    doubled = sum(count - 1 for count in held.values())
    for request, count in Counter(request for _, request in rows).items():
        doubled += max(count - TEXTS[request.partition("-")[0]], 0)
    return Audit(len(rows), len(rewards), lost, doubled)
