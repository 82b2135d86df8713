"""Everything that lives as long as the server: its parts, their start, their end."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import time
from collections.abc import Mapping

from routing_gym.serving.auth import Auth
from routing_gym.serving.backend import Backend
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.decision_log import (
    DecisionStore,
    FeedbackConflict,
    LogUnavailable,
    UnknownDecision,
)
from routing_gym.serving.decisions import Decider
from routing_gym.serving.limits import Gate
from routing_gym.serving.logs import log, log_exception
from routing_gym.serving.metrics import Metrics
from routing_gym.serving.protocol import ApiModels
from routing_gym.serving.readiness import Readiness
from routing_gym.serving.routing import Router
from routing_gym.serving.self_evaluation import BackgroundEvaluation, Evaluator, ServedAnswer
from routing_gym.serving.settings import ServeConfig

BUNDLES, ADAPTERS, LOG, BACKEND = "bundles", "adapters", "log", "backend"
_NOT_STARTED = "did not start; the server's output says why"
_UNWRITABLE = "cannot be written just now"
_HEALTH_SECONDS = 2.0


class Services:
    """The server's parts, wired.

    Parameters
    ----------
    config
        The settings.
    bundles
        Policy name -> verified bundle; the first is the default.
    backend
        Writes answers.
    store
        The decision log.
    evaluator
        Scores answers in the background; None leaves that out.

    Raises
    ------
    ValueError
        If there is no bundle, or the keys cannot be read.
    """

    def __init__(
        self,
        config: ServeConfig,
        *,
        bundles: Mapping[str, PolicyBundle],
        backend: Backend,
        store: DecisionStore,
        evaluator: Evaluator | None = None,
    ) -> None:
        if not bundles:
            raise ValueError("bundles is empty: give at least one policy.")
        self.config, self.bundles, self.backend, self.store = config, dict(bundles), backend, store
        self.auth = Auth.read(file=config.keys_file, variable=config.keys_env)
        self.models = ApiModels(config, text_only=backend.name == "local")
        self.metrics = Metrics()
        self.readiness = Readiness((BUNDLES, ADAPTERS, LOG, BACKEND))
        self.gate = Gate(concurrency=config.concurrency, queue_size=config.queue_size)
        self.router = Router(
            self.bundles,
            exploration=config.exploration_override,
            max_batch=config.max_batch,
            queue_size=config.decision_queue,
            timeout=config.decision_timeout,
            seed=config.seed,
        )
        self.decider = Decider(
            config, bundles=self.bundles, router=self.router, store=store, metrics=self.metrics
        )
        self.evaluation = self._background(evaluator)
        self.created = int(time.time())
        self.failure: Exception | None = None
        self._healthy = (True, 0.0)
        self._start: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch()

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies; the first is the default."""
        return tuple(self.bundles)

    async def start(self) -> None:
        """Begin to start: /healthz answers at once, /readyz says how far it is."""
        self.router.start()
        if self.evaluation is not None:
            self.evaluation.start()
        self._start = asyncio.create_task(self._begin())

    async def stop(self) -> None:
        """End what runs, flush the log, let go of everything."""
        self.readiness.draining = True
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait({self._start})
        if self.evaluation is not None:
            await self.evaluation.close()
        await self._settle()
        await self.router.close()
        for name, close in (("back end", self.backend.close), ("decision log", self.store.close)):
            try:
                await close()
            except Exception as error:
                log_exception("closing failed", error, part=name)
        log("stopped")

    async def check(self) -> bool:
        """Bring the checks of parts that may fail while running up to date; tell whether ready."""
        if self.failure is None:
            self._check_log()
            await self._check_backend()
        return self.readiness.ready

    async def record_reward(self, decision_id: str, reward: float, *, source: str) -> str:
        """Write a reward to the log and count it.

        Raises
        ------
        UnknownDecision, FeedbackConflict, LogUnavailable
            From the log.
        """
        try:
            status = await self.store.feedback(decision_id, reward, source=source)
        except LogUnavailable:
            self.metrics.log_errors.inc()
            raise
        if status == "recorded":
            adapter = self.decider.adapter_of(decision_id)
            self.metrics.feedback.labels(source).inc()
            self.metrics.reward.labels(adapter).observe(reward)
        return status

    def later(self, work: asyncio.Task[None]) -> None:
        """Keep a task that nobody waits for alive, and wait for it at the stop."""
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def _begin(self) -> None:
        """Open and verify every part; note the first that fails."""
        part = LOG
        try:
            await self.store.open()
            self.readiness.passed(LOG)
            part = ADAPTERS
            await self.backend.start()
            self.router.allow(self.backend.adapters)
            self.readiness.passed(ADAPTERS)
            self.readiness.passed(BACKEND)
            part = BUNDLES
            await asyncio.gather(*(self._try_policy(name) for name in self.policies))
            self.readiness.passed(BUNDLES)
        except Exception as error:
            self.failure = error
            self.readiness.failed(part, _NOT_STARTED)  # what it says is for the operator alone
            log_exception("start failed", error, part=part)
            return
        log("ready", policies=list(self.policies), adapters=list(self.backend.adapters))

    async def _try_policy(self, name: str) -> None:
        """Decide once, so that the first client does not wait for what is made on first use.

        That the bundle's files and golden vectors are right was verified when it was loaded.
        """
        await self.router.decide(name, ["Are you ready?"])

    def _check_log(self) -> None:
        """Ask the log whether it can be written just now; it recovers by itself."""
        needed = self.config.log_required
        if not needed or self.readiness.checks[LOG] not in ("ok", _UNWRITABLE):
            return
        if self.store.available:
            self.readiness.passed(LOG)
        else:
            self.readiness.failed(LOG, _UNWRITABLE)

    async def _check_backend(self) -> None:
        """Ask the back end how it is, at most once in a while."""
        if self.readiness.checks[ADAPTERS] != "ok":
            return
        healthy, checked = self._healthy
        if time.monotonic() - checked >= _HEALTH_SECONDS:
            try:
                healthy = await asyncio.wait_for(self.backend.healthy(), _HEALTH_SECONDS)
            except asyncio.TimeoutError:
                healthy = False
            self._healthy = (healthy, time.monotonic())
        if healthy:
            self.readiness.passed(BACKEND)
        else:
            self.readiness.failed(BACKEND, "does not answer")

    async def _settle(self) -> None:
        """Give cancelled requests and unwritten rewards a moment to end."""
        end = time.monotonic() + 2.0
        while (self.gate.in_flight or self._tasks) and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def _background(self, evaluator: Evaluator | None) -> BackgroundEvaluation | None:
        """Make the self-evaluation, if there is to be one."""
        config = self.config
        if evaluator is None or not config.evaluated_share:
            return None
        return BackgroundEvaluation(
            evaluator,
            share=config.evaluated_share,
            size=config.self_evaluation_queue,
            busy=lambda: bool(self.gate.in_flight or self.router.pending),
            deliver=self._deliver,
            seed=config.seed,
        )

    def _deliver(self, answer: ServedAnswer, reward: float) -> None:
        """Take a reward from the self-evaluation to the log."""
        self.metrics.self_evaluations.labels(answer.adapter).inc()
        self.later(asyncio.create_task(self._record_evaluation(answer, reward)))

    async def _record_evaluation(self, answer: ServedAnswer, reward: float) -> None:
        """Write a self-evaluated reward; it is lost if the log is out of reach."""
        try:
            await self.record_reward(answer.decision_id, reward, source="self_evaluation")
        except (UnknownDecision, FeedbackConflict, LogUnavailable) as error:
            log(
                "self-evaluation not recorded",
                level=logging.WARNING,
                decision_id=answer.decision_id,
                error=type(error).__name__,
            )

    def _watch(self) -> None:
        """Connect the gauges with what they show."""
        metrics = self.metrics
        metrics.announce(
            [(name, bundle.version) for name, bundle in self.bundles.items()], version=_version()
        )
        self.decider.watch()
        metrics.watch(metrics.queue_length, lambda: self.gate.waiting)
        metrics.watch(metrics.in_flight, lambda: self.gate.in_flight)
        metrics.watch(metrics.ready, lambda: float(self.readiness.ready))
        metrics.watch(metrics.log_pending, lambda: float(self.store.pending))


def _version() -> str:
    """Return the package's version, if it is installed as one."""
    try:
        return importlib.metadata.version("routing-gym")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
