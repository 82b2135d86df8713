"""From a text to a logged decision: routed, recorded before anybody hears of it, counted."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial

import numpy as np

from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.decision_log import DecisionRecord, DecisionStore, LogUnavailable
from routing_gym.serving.drift import Drift
from routing_gym.serving.errors import ApiError
from routing_gym.serving.logs import log
from routing_gym.serving.metrics import Metrics
from routing_gym.serving.routing import Routed, Router
from routing_gym.serving.settings import ServeConfig

_REMEMBERED = 10_000  # decisions whose adapter is known without asking the log


@dataclass(frozen=True)
class Choice:
    """One logged decision, as clients are told of it.

    Parameters
    ----------
    decision_id
        Under which feedback is given.
    policy, policy_version
        Who decided.
    adapter
        Who is to answer.
    propensity
        Probability of that adapter under the policy.
    probabilities
        Adapter -> probability.
    confidence
        Calibrated probability that the policy's choice is worth at least the best single adapter.
    fallback
        Whether the best single adapter replaced the policy's choice.
    """

    decision_id: str
    policy: str
    policy_version: str
    adapter: str
    propensity: float
    probabilities: Mapping[str, float]
    confidence: float
    fallback: bool


class Decider:
    """Routes texts and logs the decisions.

    Parameters
    ----------
    config
        The server's settings.
    bundles
        Policy name -> bundle.
    router
        Decides.
    store
        The decision log.
    metrics
        Counts.
    """

    def __init__(
        self,
        config: ServeConfig,
        *,
        bundles: Mapping[str, PolicyBundle],
        router: Router,
        store: DecisionStore,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._bundles = bundles
        self._router = router
        self._store = store
        self._metrics = metrics
        self._drifts = {
            name: Drift(
                bundle.manifest.training.embedding_mean,
                bundle.manifest.training.embedding_spread,
                bundle.manifest.training.arm_shares,
                half_life=config.drift_half_life,
            )
            for name, bundle in bundles.items()
        }
        self._adapters: OrderedDict[str, str] = OrderedDict()

    async def decide(self, policy: str, texts: Sequence[str], *, request_id: str) -> list[Choice]:
        """Decide on texts; the decisions are in the log when this returns.

        Raises
        ------
        ApiError
            429 or 504 from the router; 503 if the log cannot be written and is required.
        """
        routed = await self._router.decide(policy, texts)
        choices = self._choices(policy, routed)
        await self._record(policy, texts, routed, choices, request_id=request_id)
        # after the answer is on its way
        asyncio.get_running_loop().call_soon(self._count, policy, routed, choices)
        return choices

    def adapter_of(self, decision_id: str) -> str:
        """Name the adapter of a recent decision; "unknown" for one of long ago."""
        return self._adapters.get(decision_id, "unknown")

    def _choices(self, policy: str, routed: Routed) -> list[Choice]:
        """Turn arrays into records."""
        bundle, decision = self._bundles[policy], routed.decision
        return [
            Choice(
                decision_id=uuid.uuid4().hex,
                policy=policy,
                policy_version=bundle.version,
                adapter=adapter,
                propensity=propensity,
                probabilities=dict(zip(bundle.adapters, probabilities, strict=True)),
                confidence=confidence,
                fallback=fallback,
            )
            for adapter, propensity, probabilities, confidence, fallback in zip(
                decision.names,
                decision.propensities.tolist(),
                decision.probabilities.tolist(),
                decision.confidences.tolist(),
                decision.fallbacks.tolist(),
                strict=True,
            )
        ]

    async def _record(
        self,
        policy: str,
        texts: Sequence[str],
        routed: Routed,
        choices: Sequence[Choice],
        *,
        request_id: str,
    ) -> None:
        """Write the decisions to the log, or say why not."""
        records = self._records(policy, texts, routed, choices, request_id=request_id)
        try:
            await self._store.add(records)
        except LogUnavailable as error:
            self._metrics.log_errors.inc()
            log("not logged", level=logging.DEBUG, request_id=request_id, error=str(error))
            if self._config.log_required:
                raise ApiError(
                    503,
                    "the decision log cannot be written, so no decision is made: try again later.",
                    code="log_unavailable",
                    headers={"retry-after": "1"},
                ) from None

    def _records(
        self,
        policy: str,
        texts: Sequence[str],
        routed: Routed,
        choices: Sequence[Choice],
        *,
        request_id: str,
    ) -> list[DecisionRecord]:
        """Make the log's rows."""
        bundle = self._bundles[policy]
        now = datetime.now(timezone.utc)
        eligible = self._router.eligible(policy)
        embeddings = routed.embeddings if self._config.log_embeddings else None
        return [
            DecisionRecord(
                decision_id=choice.decision_id,
                time=now,
                request_id=request_id,
                policy_name=policy,
                policy_version=bundle.version,
                pool_fingerprint=bundle.manifest.pool_fingerprint,
                adapters=bundle.adapters,
                eligible=eligible,
                action=int(routed.decision.actions[row]),
                propensity=choice.propensity,
                propensities=tuple(choice.probabilities.values()),
                confidence=choice.confidence,
                fallback=choice.fallback,
                query_hash=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
                query=text if self._config.log_text else None,
                encoder=bundle.manifest.encoder.name,
                embedding=None if embeddings is None else _bytes(embeddings[row]),
                encoder_seconds=routed.encoder_seconds,
                policy_seconds=routed.policy_seconds,
            )
            for row, (text, choice) in enumerate(zip(texts, choices, strict=True))
        ]

    def _count(self, policy: str, routed: Routed, choices: Sequence[Choice]) -> None:
        """Bring metrics, drift and memory up to date."""
        metrics, drift = self._metrics, self._drifts[policy]
        metrics.encoder_seconds.observe(routed.encoder_seconds)
        metrics.policy_seconds.observe(routed.policy_seconds)
        for choice in choices:
            fallback = "true" if choice.fallback else "false"
            metrics.decisions.labels(policy, choice.adapter, fallback).inc()
            if choice.fallback:
                metrics.fallbacks.labels(policy).inc()
            self._adapters[choice.decision_id] = choice.adapter
        while len(self._adapters) > _REMEMBERED:
            self._adapters.popitem(last=False)
        drift.update(routed.embeddings, routed.decision.greedy)

    def watch(self) -> None:
        """Let the drift gauges read the drift when they are asked for."""
        metrics = self._metrics
        for name, drift in self._drifts.items():
            metrics.watch(metrics.embedding_drift.labels(name), partial(_embedding, drift))
            metrics.watch(metrics.arm_share_drift.labels(name), partial(_arm_share, drift))


def _embedding(drift: Drift) -> float:
    """Read the drift of the queries."""
    return drift.embedding


def _arm_share(drift: Drift) -> float:
    """Read the drift of the decisions."""
    return drift.arm_share


def _bytes(row: np.ndarray) -> bytes:
    """Return float32 (D,) as little-endian bytes."""
    return np.ascontiguousarray(row, dtype="<f4").tobytes()
