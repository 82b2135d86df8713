"""Decisions for concurrent requests: one worker thread, batches without waiting for them."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from routing_gym.serving.bundle import PolicyBundle, RoutedDecision
from routing_gym.serving.errors import ApiError, Overloaded
from routing_gym.serving.exploration import Exploration


@dataclass(frozen=True, eq=False)
class Routed:
    """Decisions on N texts, with what the log and the metrics want to know.

    Parameters
    ----------
    embeddings
        float32 (N, D), what the policy saw.
    decision
        What it decided.
    encoder_seconds, policy_seconds
        Of the batch that the texts were decided in.
    """

    embeddings: np.ndarray
    decision: RoutedDecision
    encoder_seconds: float
    policy_seconds: float


class _Job:
    """Texts that wait for a decision, and who waits for it."""

    __slots__ = ("abandoned", "future", "policy", "texts")

    def __init__(self, policy: str, texts: Sequence[str], future: asyncio.Future[Routed]) -> None:
        self.policy = policy
        self.texts = texts
        self.future = future
        self.abandoned = False


class Router:
    """Decides for many clients at once.

    A thread takes everything that has queued while it decided on the batch before: a lone request
    is decided at once, and many share one pass of the encoder.

    Parameters
    ----------
    bundles
        Policy name -> bundle.
    exploration
        How all of them explore; None leaves it to each bundle.
    max_batch
        Most texts that are encoded together, unless one request has more.
    queue_size
        Most texts that wait.
    timeout
        Seconds until a decision that has not come is given up.
    seed
        Of the draws; None draws differently every time.
    """

    def __init__(
        self,
        bundles: Mapping[str, PolicyBundle],
        *,
        exploration: Exploration | None = None,
        max_batch: int = 64,
        queue_size: int = 256,
        timeout: float = 5.0,
        seed: int | None = None,
    ) -> None:
        self._bundles = dict(bundles)
        self._exploration = exploration
        self._max_batch = max_batch
        self._queue_size = queue_size
        self._timeout = timeout
        self._rng = np.random.default_rng(seed)
        self._eligible = {name: (True,) * len(b.adapters) for name, b in self._bundles.items()}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._pending = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """Texts that wait for a decision."""
        return self._pending

    def allow(self, adapters: Sequence[str]) -> None:
        """Decide among these adapters only.

        Raises
        ------
        ValueError
            If a policy knows none of them.
        """
        for name, bundle in self._bundles.items():
            eligible = tuple(adapter in adapters for adapter in bundle.adapters)
            if not any(eligible):
                raise ValueError(
                    f"policy {name!r} decides among {', '.join(bundle.adapters)}, the back end has "
                    f"{', '.join(adapters)}: serve the pool that the policy was trained for."
                )
            self._eligible[name] = eligible

    def eligible(self, policy: str) -> tuple[bool, ...]:
        """Return which of a policy's adapters may be chosen, in their order."""
        return self._eligible[policy]

    def start(self) -> None:
        """Start the thread; to be called in the event loop that decides."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="router", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stop the thread after the batch that it works on."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, 10)
            self._thread = None

    async def decide(self, policy: str, texts: Sequence[str]) -> Routed:
        """Decide on texts.

        Raises
        ------
        Overloaded
            If too many texts wait already.
        ApiError
            504 if the decision does not come in time.
        """
        if self._loop is None:
            raise RuntimeError("the router decides only between start() and close().")
        if self._pending + len(texts) > self._queue_size:
            raise Overloaded(
                "decision_queue_full",
                f"{self._pending} texts wait for a decision: try again later.",
            )
        job = _Job(policy, texts, self._loop.create_future())
        self._pending += len(texts)
        self._jobs.put(job)
        limit = self._loop.call_later(self._timeout, self._give_up, job)
        try:
            return await job.future
        finally:
            limit.cancel()
            self._pending -= len(texts)
            job.abandoned = True  # has no effect once it is decided

    def _give_up(self, job: _Job) -> None:
        """Stop waiting for a decision."""
        if not job.future.done():
            job.future.set_exception(
                ApiError(
                    504,
                    f"the decision did not come within {self._timeout:g} s: try again later.",
                    code="decision_timeout",
                )
            )

    def _work(self) -> None:
        """Decide, batch by batch, until told to stop."""
        while True:
            jobs, stop = self._take()
            by_policy: dict[str, list[_Job]] = {}
            for job in jobs:
                if not job.abandoned:
                    by_policy.setdefault(job.policy, []).append(job)
            for policy, group in by_policy.items():
                self._answer(policy, group)
            if stop:
                return

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a job and take along what has queued; tell whether it is time to stop."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        texts = 0
        while job is not None:
            jobs.append(job)
            texts += len(job.texts)
            if texts >= self._max_batch:
                return jobs, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, False
        return jobs, True

    def _answer(self, policy: str, jobs: list[_Job]) -> None:
        """Decide on a policy's jobs together; if that fails, on each by itself."""
        outcomes: list[tuple[_Job, Routed | Exception]] = []
        try:
            whole = self._decide(policy, [text for job in jobs for text in job.texts])
        except Exception as error:  # one job's texts may be to blame: spare the others
            if len(jobs) > 1:
                for job in jobs:
                    self._answer(policy, [job])
                return
            outcomes.append((jobs[0], error))
        else:
            start = 0
            for job in jobs:
                outcomes.append((job, _part(whole, start, start + len(job.texts))))
                start += len(job.texts)
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(_deliver, outcomes)
        except RuntimeError:  # the loop has been closed: nobody waits any more
            return

    def _decide(self, policy: str, texts: list[str]) -> Routed:
        """Encode and decide, with the clock running."""
        bundle = self._bundles[policy]
        start = time.perf_counter()
        embeddings = bundle.encode(texts)
        encoded = time.perf_counter()
        eligible = self._eligible[policy]
        decision = bundle.decide_embedded(
            embeddings,
            rng=self._rng,
            mask=None if all(eligible) else np.array(eligible),
            exploration=self._exploration,
        )
        return Routed(embeddings, decision, encoded - start, time.perf_counter() - encoded)


def _part(whole: Routed, start: int, stop: int) -> Routed:
    """Cut one job's rows out of a batch."""
    decision = whole.decision
    if stop - start == len(decision):
        return whole
    rows = slice(start, stop)
    return replace(
        whole,
        embeddings=whole.embeddings[rows],
        decision=replace(
            decision,
            actions=decision.actions[rows],
            probabilities=decision.probabilities[rows],
            confidences=decision.confidences[rows],
            fallbacks=decision.fallbacks[rows],
            greedy=decision.greedy[rows],
        ),
    )


def _deliver(outcomes: list[tuple[_Job, Routed | Exception]]) -> None:
    """Hand the outcomes to those who still wait; runs in the event loop."""
    for job, outcome in outcomes:
        if job.future.done():
            continue
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
