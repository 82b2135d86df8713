"""What Prometheus may know of the server; every series lives in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)
_WHOLE = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_POLICY = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)
_REWARD = tuple(step / 10 for step in range(11))


class Metrics:
    """The server's counters, gauges and histograms."""

    def __init__(self) -> None:
        disable_created_metrics()  # a time of birth beside every series helps nobody here
        self.registry = CollectorRegistry()
        self._add_decisions()
        self._add_requests()
        self._add_learning()
        ProcessCollector(registry=self.registry)

    def _add_decisions(self) -> None:
        """Add what is known of decisions and answers."""
        own: Any = {"registry": self.registry}
        self.decisions = Counter(
            "router_decisions_total",
            "Decisions, by the adapter that was chosen.",
            ("policy", "adapter", "fallback"),
            **own,
        )
        self.fallbacks = Counter(
            "router_fallbacks_total",
            "Decisions in which the best single adapter replaced the policy's choice.",
            ("policy",),
            **own,
        )
        self.encoder_seconds = Histogram(
            "router_encoder_seconds", "One pass of the query encoder.", buckets=_FAST, **own
        )
        self.policy_seconds = Histogram(
            "router_policy_seconds", "One pass of the policy.", buckets=_POLICY, **own
        )
        self.generation_seconds = Histogram(
            "router_generation_seconds",
            "Writing one answer, without waiting for a turn.",
            ("adapter",),
            buckets=_WHOLE,
            **own,
        )
        self.embedding_drift = Gauge(
            "router_embedding_drift",
            "Distance of the recent queries' mean embedding from training's, in units of the "
            "training spread, less chance's; 0 is no drift.",
            ("policy",),
            **own,
        )
        self.arm_share_drift = Gauge(
            "router_arm_share_drift",
            "Total variation between recent and training shares of the adapters that the policy "
            "prefers (before exploration and fallbacks), less chance's; 0 is no drift.",
            ("policy",),
            **own,
        )

    def _add_requests(self) -> None:
        """Add what is known of requests and the server's state."""
        own: Any = {"registry": self.registry}
        self.request_seconds = Histogram(
            "router_request_seconds",
            "A whole request, until its last byte was handed over.",
            ("route", "status"),
            buckets=_WHOLE,
            **own,
        )
        self.queue_length = Gauge(
            "router_queue_length", "Chat requests that wait for their turn.", **own
        )
        self.in_flight = Gauge("router_in_flight", "Answers that are being written.", **own)
        self.errors = Counter(
            "router_errors_total", "Requests that failed here or upstream.", ("kind",), **own
        )
        self.rejected = Counter(
            "router_rejected_total", "Requests refused for want of room.", ("reason",), **own
        )
        self.log_pending = Gauge(
            "router_log_pending", "Decisions that wait to be written to the log.", **own
        )
        self.log_errors = Counter(
            "router_log_errors_total", "Failed attempts to write to the decision log.", **own
        )
        self.ready = Gauge("router_ready", "1 if /readyz says 200, else 0.", **own)
        self.build_info = Gauge(
            "router_build_info",
            "Versions; always 1.",
            ("version", "policy", "policy_version"),
            **own,
        )

    def _add_learning(self) -> None:
        """Add what is known of rewards."""
        own: Any = {"registry": self.registry}
        self.feedback = Counter(
            "router_feedback_total", "Rewards that were recorded.", ("source",), **own
        )
        self.reward = Histogram(
            "router_reward",
            "Rewards that were recorded, by the adapter that answered.",
            ("adapter",),
            buckets=_REWARD,
            **own,
        )
        self.self_evaluations = Counter(
            "router_self_evaluations_total",
            "Answers that the self-evaluator scored.",
            ("adapter",),
            **own,
        )

    def announce(self, policies: Iterable[tuple[str, str]], *, version: str) -> None:
        """Make the series that exist before the first request.

        Parameters
        ----------
        policies
            Name and version of each.
        version
            Of the package.
        """
        for policy, policy_version in policies:
            self.build_info.labels(version, policy, policy_version).set(1)
            self.fallbacks.labels(policy)
            self.embedding_drift.labels(policy).set(0)
            self.arm_share_drift.labels(policy).set(0)
        for source in ("user", "self_evaluation"):
            self.feedback.labels(source)
        for reason in ("queue_full", "decision_queue_full", "too_many_requests", "busy"):
            self.rejected.labels(reason)

    def watch(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Read a gauge's value whenever the metrics are asked for."""
        gauge.set_function(read)

    def render(self) -> bytes:
        """Write everything in Prometheus's text format."""
        return generate_latest(self.registry)
