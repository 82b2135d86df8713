"""What the decision log holds of a decision, and what can go wrong with it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
from typing import Any

from routing_gym.benchmark.off_policy_log import SUM_TOLERANCE
from routing_gym.benchmark.off_policy_sql import utc_text
from routing_gym.benchmark.off_policy_tables import SOURCES

Row = dict[str, Any]


class LogUnavailable(RuntimeError):
    """The log cannot be written now: the disk is full, the database is gone, too much waits."""


class UnknownDecision(LookupError):
    """Feedback for a decision that the log does not hold."""


class FeedbackConflict(ValueError):
    """Feedback that contradicts what the same source said before and was promised."""


@dataclass(frozen=True)
class DecisionRecord:
    """One decision, as it is logged before its answer is written.

    Parameters
    ----------
    decision_id
        Unique: a second record of the same id is ignored.
    time
        With an offset; kept in UTC.
    request_id
        Of the request that asked for it.
    policy_name, policy_version
        Who decided.
    pool_fingerprint
        The pool of the adapters.
    adapters
        K names; the position is the action id.
    eligible
        K flags: which could be drawn.
    action
        Position of the adapter that answers.
    propensity
        Probability with which it was drawn, in (0, 1]; of a fallback anything, also nan.
    propensities
        K probabilities, which sum to 1; of a fallback those that it would have been drawn from.
    confidence
        Of the policy in its choice, in [0, 1]; nan where it has none.
    fallback
        Whether another adapter stands in for the one drawn.
    query_hash
        SHA-256 of the text, hexadecimal.
    query
        The text; None unless it was asked for.
    encoder
        Name of the encoder that made the context.
    embedding
        Little-endian float32 (D,), the context; None if it is not to be logged.
    encoder_seconds, policy_seconds
        Durations, from a clock that does not step.

    Raises
    ------
    ValueError
        If the record could not be read again for off-policy evaluation.
    """

    decision_id: str
    time: datetime
    request_id: str
    policy_name: str
    policy_version: str
    pool_fingerprint: str
    adapters: tuple[str, ...]
    eligible: tuple[bool, ...]
    action: int
    propensity: float
    propensities: tuple[float, ...]
    confidence: float
    fallback: bool
    query_hash: str
    query: str | None
    encoder: str
    embedding: bytes | None
    encoder_seconds: float
    policy_seconds: float

    def __post_init__(self) -> None:
        k = len(self.adapters)
        if self.time.tzinfo is None:
            self._refuse(
                "time", self.time, "a time with an offset: take datetime.now(timezone.utc)"
            )
        if len(self.eligible) != k or len(self.propensities) != k:
            fault = f"of K = {k} entries like adapters"
            self._refuse("eligible, propensities", (self.eligible, self.propensities), fault)
        if not 0 <= self.action < k:
            self._refuse("action", self.action, f"a position 0 to {k - 1}")
        total = sum(self.propensities)
        if not (min(self.propensities) >= 0 and abs(total - 1) <= SUM_TOLERANCE):
            self._refuse("propensities", self.propensities, "at least 0 and sum to 1")
        if self.embedding is not None and (len(self.embedding) % 4 or not self.embedding):
            self._refuse("embedding", len(self.embedding), "bytes of float32, four each")
        if self.fallback:
            return
        if not self.eligible[self.action]:
            self._refuse("action", self.action, "an eligible adapter; mark stand-ins as fallback")
        expected = self.propensities[self.action]
        if not (0 < self.propensity <= 1 and abs(self.propensity - expected) <= SUM_TOLERANCE):
            self._refuse("propensity", self.propensity, f"propensities[action] = {expected}")

    def row(self) -> Row:
        """Return the values of the table's columns."""
        return {
            "decision_id": self.decision_id,
            "time": utc_text(self.time),
            "request_id": clean_text(self.request_id),
            "policy_name": self.policy_name,
            "policy_version": self.policy_version,
            "pool_fingerprint": self.pool_fingerprint,
            "adapters": json.dumps(self.adapters, ensure_ascii=False),
            "eligible": json.dumps(self.eligible),
            "action": int(self.action),
            "propensity": _number(self.propensity),
            "propensities": json.dumps(self.propensities),
            "confidence": _number(self.confidence),
            "fallback": bool(self.fallback),
            "query_hash": self.query_hash,
            "query": None if self.query is None else clean_text(self.query),
            "encoder": clean_text(self.encoder),
            "encoder_seconds": _number(self.encoder_seconds),
            "policy_seconds": _number(self.policy_seconds),
            "embedding": self.embedding,
        }

    def _refuse(self, name: str, value: object, allowed: str) -> None:
        """Raise for a field that is wrong."""
        raise ValueError(f"decision {self.decision_id!r}: {name}={value} must be {allowed}.")


@dataclass(frozen=True)
class Completed:
    """What is known of a decision once its answer has been written.

    Parameters
    ----------
    decision_id
        Which decision; an unknown one is ignored.
    generation_seconds, total_seconds
        Durations of the answer's writing and of the whole request.
    prompt_tokens, completion_tokens
        Real counts; None where the back end does not tell.
    status
        How it ended, for instance "ok", "cancelled" or "timeout".
    """

    decision_id: str
    generation_seconds: float | None
    total_seconds: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    status: str

    def row(self) -> Row:
        """Return the values of the table's columns; the key is ``wanted``."""
        return {
            "wanted": self.decision_id,
            "generation_seconds": _number(self.generation_seconds),
            "total_seconds": _number(self.total_seconds),
            "prompt_tokens": _count(self.prompt_tokens),
            "completion_tokens": _count(self.completion_tokens),
            "status": clean_text(str(self.status)),
        }


@dataclass(frozen=True)
class Feedback:
    """A reward for a decision.

    Parameters
    ----------
    decision_id
        Which decision.
    reward
        Finite.
    source
        "user" or "self_evaluation".
    time
        When it came, with an offset.

    Raises
    ------
    ValueError
        If the reward is no finite number or the source unknown.
    """

    decision_id: str
    reward: float
    source: str
    time: datetime

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ValueError(f"source={self.source!r} must be one of {', '.join(SOURCES)}.")
        number = isinstance(self.reward, Real) and not isinstance(self.reward, bool)
        if not number or not math.isfinite(self.reward):
            raise ValueError(f"reward={self.reward!r} must be a finite number.")

    @property
    def key(self) -> tuple[str, str]:
        """What there is one reward for."""
        return self.decision_id, self.source

    def row(self) -> Row:
        """Return the values of the table's columns."""
        return {
            "decision_id": self.decision_id,
            "source": self.source,
            "reward": float(self.reward),
            "time": utc_text(self.time),
        }


def clean_text(text: str) -> str:
    """Take out what a database cannot hold: lone surrogates and zero characters."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _number(value: float | None) -> float | None:
    """Write what is no number as null."""
    return None if value is None or not math.isfinite(value) else float(value)


def _count(value: int | None) -> int | None:
    """Write what is no count that a column holds as null: it comes from another server."""
    return None if value is None or not 0 <= value < 2**31 else int(value)
