"""The decision log: what a server writes and off-policy evaluation reads.

One line per decision in JSON Lines (``.jsonl``), or one row per decision in Parquet
(``.parquet``), with these fields; others are ignored.

=================  ================  ===========================================================
field              type              meaning
=================  ================  ===========================================================
decision_id        string            unique in the log
time               string            ISO 8601 with offset, ``2025-01-31T12:00:00+00:00``
adapters           list of strings   the pool's adapters; position = action id; at least two
pool_fingerprint   string            the pool that they belong to; the same in the whole log
policy_version     string            which policy decided; may change within a log
action             integer           position of the adapter that answered
adapter            string            its name, ``adapters[action]``
propensity         number            probability, in (0, 1], with which it was drawn; a policy that
                                     does not draw writes 1
propensities       list of numbers   optional: the probabilities of all adapters, which sum to 1;
                                     without them, adapters that are never played go unnoticed
eligible           list of booleans  optional: which adapters could be drawn at all; a policy under
                                     evaluation is held to them too
reward             number            optional: absent or null until feedback arrives
fallback           boolean           optional, default false: another adapter than the one drawn
                                     answered (an overload, a failure); left out of all estimates
query              string            optional: the text
query_id           string            optional: the query's id in an outcome table, which then
                                     supplies the embedding
embedding          list of numbers   optional: the context that the policy saw; in all lines or in
                                     none
encoder            string            optional: who made the embedding; one in a log with embeddings
=================  ================  ===========================================================

Feedback that arrives later is a line of its own, ``{"decision_id": ..., "reward": ...}``, anywhere
in a ``.jsonl`` file: an append is all that a server needs. The last feedback of a decision counts.
Logs in a database are described in `routing_gym.benchmark.off_policy_tables`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.benchmark.logged_decision import LoggedDecision, feedback_line

__all__ = ["SUM_TOLERANCE", "DecisionLog", "LoggedDecision", "feedback_line"]

SUM_TOLERANCE = 1e-4  # propensities may have been rounded to five digits


@dataclass(frozen=True, eq=False)
class DecisionLog:
    """N logged decisions over K adapters, verified when made.

    Parameters
    ----------
    adapters
        Adapter names, length K; the position is the action id.
    pool_fingerprint
        The pool that they belong to.
    decision_ids, times, policy_versions
        str (N,).
    actions
        int64 (N,), in [0, K).
    propensities
        float64 (N,), in (0, 1]; nan allowed for fallbacks.
    rewards
        float64 (N,), nan where no feedback has arrived.
    fallbacks
        bool (N,), decisions that another adapter answered than the one drawn.
    all_propensities
        float64 (N, K), rows sum to 1; None if not logged.
    observations
        float32 (N, D), the contexts; None if not logged.
    queries, query_ids
        str (N,), "" where unknown; None if not logged at all.
    eligible
        bool (N, K), the adapters that could be drawn; None if all could, always.
    encoders
        str (N,), the encoders that made the contexts, "" where unknown; None if not logged at all.

    Raises
    ------
    ValueError
        If anything does not fit; the message names the decision, the value and the remedy.
    """

    adapters: tuple[str, ...]
    pool_fingerprint: str
    decision_ids: np.ndarray
    times: np.ndarray
    policy_versions: np.ndarray
    actions: np.ndarray
    propensities: np.ndarray
    rewards: np.ndarray
    fallbacks: np.ndarray
    all_propensities: np.ndarray | None = None
    observations: np.ndarray | None = None
    queries: np.ndarray | None = None
    query_ids: np.ndarray | None = None
    eligible: np.ndarray | None = None
    encoders: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_adapters(self.adapters)
        n = len(self.decision_ids)
        if n == 0:
            raise ValueError("the log holds no decision: log some, or check the path.")
        for spec in dataclasses.fields(self)[2:]:
            values = getattr(self, spec.name)
            if values is not None and len(values) != n:
                raise ValueError(f"{spec.name} has {len(values)} entries, not N = {n}.")
        different, counts = np.unique(self.decision_ids, return_counts=True)
        if counts.max() > 1:
            raise ValueError(
                f"decision_id {str(different[counts.argmax()])!r} occurs {counts.max()} times: "
                "every decision is logged once; remove the copies."
            )
        self._refuse(
            (self.actions < 0) | (self.actions >= len(self.adapters)),
            self.actions,
            f"action {{}} is no position of the {len(self.adapters)} adapters {self.adapters}",
        )
        self._check_propensities()
        self._check_eligible()
        self._refuse(np.isinf(self.rewards), self.rewards, "reward {} is not finite: repair it")
        if self.observations is not None:
            broken = ~np.isfinite(self.observations).all(axis=1)
            self._refuse(broken, broken, "embedding is not finite: encode the query again")
            self._check_encoders()

    def __len__(self) -> int:
        return len(self.decision_ids)

    @property
    def rewarded(self) -> np.ndarray:
        """Whether the decision's reward has arrived, bool (N,)."""
        return ~np.isnan(self.rewards)

    @property
    def query_keys(self) -> np.ndarray:
        """What tells queries apart, str (N,): id, text, embedding, else the decision itself."""
        keys = np.array([f"decision {name}" for name in self.decision_ids], dtype=object)
        if self.observations is not None:
            digests = [hashlib.sha256(row.tobytes()).hexdigest() for row in self.observations]
            keys = np.array([f"embedding {digest}" for digest in digests], dtype=object)
        for kind, values in (("text", self.queries), ("id", self.query_ids)):
            if values is not None:
                known = values != ""
                keys[known] = np.array([f"{kind} {value}" for value in values[known]], dtype=object)
        return keys.astype(np.str_)

    def subset(self, rows: np.ndarray) -> DecisionLog:
        """Keep the decisions of a bool (N,) mask or int (n,) positions."""
        names = [spec.name for spec in dataclasses.fields(self)[2:]]
        values = {name: getattr(self, name) for name in names}
        kept: dict[str, Any] = {n: v if v is None else v[rows] for n, v in values.items()}
        return dataclasses.replace(self, **kept)

    def usable(self) -> DecisionLog:
        """Keep the decisions that estimates are made from: rewarded, and no fallback.

        Raises
        ------
        ValueError
            If none is left.
        """
        rows = self.rewarded & ~self.fallbacks
        if not rows.any():
            raise ValueError(
                f"none of the {len(self)} decisions counts ({int(self.fallbacks.sum())} fallbacks, "
                f"{int((~self.rewarded).sum())} without a reward): wait for feedback."
            )
        return self.subset(rows)

    def check_exploration(self) -> None:
        """Refuse a log in which a single adapter ever answered.

        Raises
        ------
        ValueError
            If so; the adapter is named.
        """
        played = np.unique(self.actions)
        if len(played) == 1:
            raise ValueError(
                f"the log holds one adapter only: all {len(self)} decisions chose "
                f"{self.adapters[played[0]]!r}, so nothing is known of the others; log with a "
                "policy that explores."
            )

    def check_pool(self, adapters: Sequence[str], fingerprint: str = "", *, owner: str) -> None:
        """Refuse a policy or a table of another pool.

        Parameters
        ----------
        adapters
            Its adapter names, in the order of their action ids.
        fingerprint
            Its pool's fingerprint; compared if both sides know one.
        owner
            Whose they are, for the message.

        Raises
        ------
        ValueError
            If names, their order, or fingerprints differ.
        """
        if tuple(adapters) != self.adapters:
            raise ValueError(
                f"{owner} is for adapters {tuple(adapters)}, the log for {self.adapters}: evaluate "
                "a policy of the log's pool."
            )
        if fingerprint and self.pool_fingerprint and fingerprint != self.pool_fingerprint:
            raise ValueError(
                f"{owner} is for pool {fingerprint!r}, the log for {self.pool_fingerprint!r}: the "
                "adapters have the same names but other weights; use a log of the same pool."
            )

    @property
    def encoder(self) -> str:
        """Name of the encoder that made the contexts; "" if it is unknown or there are several."""
        names = set() if self.encoders is None else set(self.encoders.tolist())
        return str(names.pop()) if len(names) == 1 else ""

    def check_encoder(self, encoder: str, *, owner: str) -> None:
        """Refuse a policy that reads another encoder's embeddings.

        Parameters
        ----------
        encoder
            Its encoder's name; compared if both sides know one.
        owner
            Whose it is, for the message.

        Raises
        ------
        ValueError
            If the names differ.
        """
        if encoder and self.encoder and encoder != self.encoder:
            raise ValueError(
                f"{owner} decides on embeddings of encoder {encoder!r}, the log holds those of "
                f"{self.encoder!r}: evaluate a policy of the log's encoder."
            )

    def decisions(self) -> list[LoggedDecision]:
        """Return the rows, as a server writes them."""
        return [self._decision(row) for row in range(len(self))]

    def _decision(self, row: int) -> LoggedDecision:
        """Return one row."""
        reward = float(self.rewards[row])
        return LoggedDecision(
            decision_id=str(self.decision_ids[row]),
            time=str(self.times[row]),
            adapters=self.adapters,
            pool_fingerprint=self.pool_fingerprint,
            policy_version=str(self.policy_versions[row]),
            action=int(self.actions[row]),
            propensity=float(self.propensities[row]),
            propensities=_floats(self.all_propensities, row),
            reward=None if np.isnan(reward) else reward,
            fallback=bool(self.fallbacks[row]),
            query=_text(self.queries, row),
            query_id=_text(self.query_ids, row),
            embedding=_floats(self.observations, row),
            eligible=None if self.eligible is None else tuple(self.eligible[row].tolist()),
            encoder=_text(self.encoders, row),
        )

    def _check_propensities(self) -> None:
        """Refuse what is no probability, or does not fit the probabilities of all adapters."""
        known = self.propensities
        wrong = ~((known > 0) & (known <= 1)) & ~(self.fallbacks & np.isnan(known))
        self._refuse(
            wrong,
            known,
            "propensity {} is not in (0, 1]: log the probability with which the adapter was drawn",
        )
        if self.all_propensities is None:
            return
        rows = self.all_propensities
        if rows.shape[1:] != (len(self.adapters),):
            raise ValueError(f"all_propensities has shape {rows.shape}: K = {len(self.adapters)}.")
        valued = ((rows >= 0) & (rows <= 1)).all(axis=1)  # False for NaN too
        text = [row.tolist() for row in rows]
        self._refuse(~valued, text, "propensities {} are not all in [0, 1]: repair them")
        total = rows.sum(axis=1)
        off = np.abs(total - 1) > SUM_TOLERANCE
        self._refuse(off, total, "propensities sum to {}, not to 1: log those that were drawn from")
        chosen = rows[np.arange(len(self)), self.actions]
        differs = (np.abs(chosen - known) > SUM_TOLERANCE) & ~self.fallbacks
        self._refuse(
            differs,
            known,
            "propensity {} is not that of its action in propensities: log both alike",
        )

    def _check_eligible(self) -> None:
        """Refuse a choice that could not have been made."""
        if self.eligible is None:
            return
        shape = (len(self), len(self.adapters))
        if self.eligible.shape != shape:
            raise ValueError(f"eligible has shape {self.eligible.shape}, not (N, K) = {shape}.")
        allowed = self.eligible[np.arange(len(self)), self.actions]
        fault = "action {} was not eligible: log the adapters that could really be drawn"
        self._refuse(~allowed & ~self.fallbacks, self.actions, fault)
        self._refuse(~self.eligible.any(axis=1), self.actions, "no adapter was eligible: repair it")

    def _check_encoders(self) -> None:
        """Refuse contexts of several encoders: equal widths do not make them comparable."""
        names = set() if self.encoders is None else set(self.encoders.tolist())
        if len(names) > 1:
            raise ValueError(
                f"the log mixes encoders {', '.join(repr(n or 'unknown') for n in sorted(names))}: "
                "split it, or read one part by 'policy' or 'since'."
            )

    def _refuse(self, wrong: Any, values: Any, fault: str) -> None:
        """Raise for the first decision that is wrong; ``{}`` stands for its value."""
        if np.any(wrong):
            row = int(np.argmax(wrong))
            raise ValueError(
                f"decision {str(self.decision_ids[row])!r}: {fault.format(values[row])}."
            )


def _check_adapters(adapters: Sequence[str]) -> None:
    """Refuse fewer than two adapters, and doubled or empty names."""
    if len(adapters) < 2 or len(set(adapters)) < len(adapters) or "" in adapters:
        raise ValueError(
            f"adapters={tuple(adapters)} must be at least two different, non-empty names: with one "
            "arm there is nothing to route."
        )


def _floats(rows: np.ndarray | None, row: int) -> tuple[float, ...] | None:
    """One row of an optional matrix as plain numbers."""
    return None if rows is None else tuple(rows[row].tolist())


def _text(values: np.ndarray | None, row: int) -> str | None:
    """One entry of an optional column of texts; None where it is empty."""
    return None if values is None or values[row] == "" else str(values[row])
