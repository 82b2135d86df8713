"""Decisions as a server logs them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.serving.log_database import LogDatabase
from routing_gym.serving.log_records import DecisionRecord, Feedback

START = datetime(2025, 1, 31, 12, tzinfo=timezone.utc)
ADAPTERS = ("base", "code", "maths")


def record(decision_id: str = "d0", **changes: Any) -> DecisionRecord:
    """Make one decision; its query is named after it."""
    text = f"query of {decision_id}"
    plain = DecisionRecord(
        decision_id=decision_id,
        time=START,
        request_id="r0",
        policy_name="router",
        policy_version="0123456789ab",
        pool_fingerprint="pool",
        adapters=ADAPTERS,
        eligible=(True, True, True),
        action=1,
        propensity=0.5,
        propensities=(0.3, 0.5, 0.2),
        confidence=0.75,
        fallback=False,
        query_hash=hashlib.sha256(text.encode()).hexdigest(),
        query=None,
        encoder="stand-in",
        embedding=np.arange(4, dtype="<f4").tobytes(),
        encoder_seconds=0.004,
        policy_seconds=0.0002,
    )
    return dataclasses.replace(plain, **changes)


def written(
    url: str, records: Sequence[DecisionRecord], feedback: Iterable[tuple[str, float, str]] = ()
) -> None:
    """Write a log, without a server."""
    database = LogDatabase(url)
    database.connect()
    if records:
        database.write_decisions([decision.row() for decision in records])
    items = [Feedback(name, reward, source, START) for name, reward, source in feedback]
    if items:
        outcomes = database.write_feedback(items)
        assert set(outcomes) == {"recorded"}, outcomes
    database.close()


def records_of(log: DecisionLog) -> list[DecisionRecord]:
    """Turn a log's decisions into what a server would have written."""
    assert log.all_propensities is not None
    assert log.observations is not None
    return [
        record(
            str(log.decision_ids[row]),
            time=START + timedelta(seconds=row),
            adapters=log.adapters,
            pool_fingerprint=log.pool_fingerprint,
            eligible=(True,) * len(log.adapters),
            action=int(log.actions[row]),
            propensity=float(log.propensities[row]),
            propensities=tuple(log.all_propensities[row].tolist()),
            fallback=bool(log.fallbacks[row]),
            embedding=log.observations[row].astype("<f4").tobytes(),
        )
        for row in range(len(log))
    ]
