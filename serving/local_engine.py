"""The worker that decodes: one thread, one open batch, rows that come and go."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendRefused,
    ChatRequest,
    Piece,
    TokenSignals,
    Usage,
)

if TYPE_CHECKING:
    from routing_gym.adapters.mixed_pool import MixedPool
    from routing_gym.adapters.open_batch import OpenBatch, Row
    from routing_gym.adapters.text_stream import TextStream

LOG = logging.getLogger(__name__)
READ_TOKENS = 512
"""Tokens of prompts that are read together: more of them stall the rows that write."""
_SEEDS = 2**63


@dataclass(frozen=True)
class EngineLimits:
    """How much the worker takes on.

    Parameters
    ----------
    rows
        Answers that are written at once.
    cache_tokens
        Tokens of all rows together, padding included; bounds the memory. A prompt and its budget
        must fit, too.
    waiting
        Requests that wait for a row; further ones are refused as busy.

    Raises
    ------
    ValueError
        If one is below 1.
    """

    rows: int = 32
    cache_tokens: int = 8192
    waiting: int = 64

    def __post_init__(self) -> None:
        for name in ("rows", "cache_tokens", "waiting"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")


@dataclass(eq=False)
class Job:
    """One request on its way through the worker.

    Parameters
    ----------
    adapter, request
        Who answers what.
    emit
        Called from the worker's thread with each piece, or with the error that ends the answer.
    """

    adapter: str
    request: ChatRequest
    emit: Callable[[Piece | BackendError], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class _Writing:
    """A job that has been read or is about to be."""

    job: Job
    row: Row
    text: TextStream
    written: int = 0
    gathered: list[str] = field(default_factory=list)
    signals: list[tuple[float, float]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens of the cache that it may come to need."""
        return len(self.row.prompt) + self.job.request.max_tokens


class LocalEngine:
    """Decodes jobs of all adapters in one batch, in a thread of its own.

    Between two steps finished and cancelled rows leave, and waiting ones join in their order.

    Parameters
    ----------
    pool
        Its adapters write.
    limits
        How much is taken on.
    signals
        Whether the last piece of an answer says how sure the model was of its tokens.
    """

    def __init__(self, pool: MixedPool, limits: EngineLimits, *, signals: bool = False) -> None:
        self._pool = pool
        self._limits = limits
        self._measures = signals
        context = getattr(pool.model.config, "max_position_embeddings", limits.cache_tokens)
        self._context = min(int(context), limits.cache_tokens)
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._keys = itertools.count()
        self._batch = self._empty()
        self._writing: dict[int, _Writing] = {}
        self._reading: list[_Writing] = []
        self._next: _Writing | None = None  # read into tokens, but no room for it yet
        self._thread = threading.Thread(target=self._run, name="local-engine", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current step; what is unfinished ends in an error."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether jobs are being decoded."""
        return self._thread.is_alive() and not self._stopping

    def submit(self, job: Job) -> None:
        """Take a job on; its pieces come through its `emit`.

        Raises
        ------
        BackendBusy
            If too many are waiting.
        BackendError
            If the worker has ended.
        """
        with self._changed:
            if not self.alive:
                raise BackendError("the local pool has been stopped.")
            self._waiting = deque(job for job in self._waiting if not job.cancelled.is_set())
            if len(self._waiting) >= self._limits.waiting:
                raise BackendBusy(
                    f"the local pool writes {len(self._begun)} answers and {len(self._waiting)} "
                    "more are waiting: try again later."
                )
            self._waiting.append(job)
            self._changed.notify()

    @property
    def _begun(self) -> list[_Writing]:
        """What is being read or written."""
        return [*self._reading, *self._writing.values()]

    def _run(self) -> None:
        while self._wait():
            try:
                self._step()
            except Exception:  # whatever the model raises, e.g. out of memory: the next may do
                LOG.exception("a step of the local pool failed")
                self._fail("the local pool failed while it was writing; its log says why.")
        self._fail("the local pool was stopped while it was writing.")

    def _wait(self) -> bool:
        """Wait for something to do; False if the worker is to end."""
        with self._changed:
            while not (self._stopping or self._waiting or self._begun or self._next):
                self._changed.wait()
            return not self._stopping

    def _step(self) -> None:
        """Let rows leave and join, and write one token of each."""
        self._leave({key for key, w in self._writing.items() if w.job.cancelled.is_set()})
        if all(writing.job.cancelled.is_set() for writing in self._reading):
            self._reading = self._arrivals()
            self._batch.begin([writing.row for writing in self._reading])
        if self._reading and self._batch.read_on():
            self._writing |= {writing.row.key: writing for writing in self._reading}
            self._reading = []
        if not self._writing:
            return
        tokens = self._batch.choose()
        rows = [self._writing[row.key] for row in self._batch.rows]
        for writing, signal in zip(rows, self._batch.signals, strict=self._measures):
            writing.signals.append(signal)
        ended = [w.row.key for w, token in zip(rows, tokens, strict=True) if self._write(w, token)]
        self._leave(set(ended))
        self._batch.advance()

    def _leave(self, keys: set[int]) -> None:
        for key in keys:
            del self._writing[key]
        self._batch.leave(keys)

    def _arrivals(self) -> list[_Writing]:
        """Take waiting jobs in their order while rows, cache and patience allow."""
        taken: list[_Writing] = []
        while len(self._writing) + len(taken) < self._limits.rows:
            self._next = self._next or self._admitted()
            if self._next is None:
                break
            if self._next.job.cancelled.is_set():
                self._next = None
            elif self._fits(self._next, taken):
                taken.append(self._next)
                self._next = None
            else:
                break
        return taken

    def _fits(self, writing: _Writing, taken: list[_Writing]) -> bool:
        """Tell whether a job may join now, beside those taken just before."""
        longest = max(len(other.row.prompt) for other in [writing, *taken])
        if taken and longest * (len(taken) + 1) > READ_TOKENS:
            return False
        others = [*self._writing.values(), *taken]
        # No row can get wider than the widest prompt and the largest budget of any row beside it.
        prompts = max(self._batch.width, longest)
        budgets = max(w.job.request.max_tokens - w.written for w in [writing, *others])
        return not others or (len(others) + 1) * (prompts + budgets) <= self._limits.cache_tokens

    def _admitted(self) -> _Writing | None:
        """Take the first waiting job that can be answered at all."""
        while True:
            with self._changed:
                if not self._waiting:
                    return None
                job = self._waiting.popleft()
            if job.cancelled.is_set():
                continue
            try:
                return self._prepared(job)
            except BackendError as error:
                job.emit(error)
            except Exception:
                LOG.exception("a prompt could not be read")
                job.emit(BackendError("the local pool could not read the messages."))

    def _prepared(self, job: Job) -> _Writing:
        """Turn a job's messages into tokens."""
        from routing_gym.adapters.open_batch import Row
        from routing_gym.adapters.prompt import render_conversation
        from routing_gym.adapters.text_stream import TextStream

        request, tokenizer = job.request, self._pool.tokenizer
        messages = [
            {"role": "system" if m.role == "developer" else m.role, "content": m.content}
            for m in request.messages
        ]
        try:
            prompt = render_conversation(tokenizer, messages)
        except ValueError as error:
            raise BackendRefused(str(error)) from error
        ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        if not ids or len(ids) + request.max_tokens > self._context:
            raise BackendRefused(
                f"the messages have {len(ids)} tokens and max_tokens={request.max_tokens}; "
                f"together they must be at most {self._context}: shorten one of them."
            )
        numbers = _numbers(request, prompt) if request.temperature > 0 else None
        row = Row(next(self._keys), job.adapter, ids, request.temperature, numbers)
        return _Writing(job, row, TextStream(tokenizer, request.stop))

    def _write(self, writing: _Writing, token: int) -> bool:
        """Give out one token's text; tell whether the answer ends with it."""
        job, text = writing.job, writing.text
        writing.written += 1
        piece = text.add(token)
        ended = token in self._pool.ends or text.stopped
        finished = ended or writing.written >= job.request.max_tokens
        if finished:
            piece += text.finish()
        reason = None
        if finished:
            reason = "stop" if ended or text.stopped else "length"
        if not job.request.streaming:
            writing.gathered.append(piece)
            piece = "".join(writing.gathered) if finished else ""
        if finished:
            usage = Usage(len(writing.row.prompt), writing.written)
            job.emit(Piece(piece, reason, usage, signals=self._signals(writing)))
        elif piece:
            job.emit(Piece(text=piece))
        return finished

    def _signals(self, writing: _Writing) -> TokenSignals | None:
        """Return what was measured of a job's tokens."""
        if not self._measures:
            return None
        log_probs, entropies = zip(*writing.signals, strict=True)
        return TokenSignals(log_probs, entropies)

    def _fail(self, sentence: str) -> None:
        """End every answer with an error."""
        jobs = [writing.job for writing in self._begun]
        if self._next is not None:
            jobs.append(self._next.job)
        if self._stopping:
            with self._changed:
                jobs += self._waiting
                self._waiting.clear()
        self._writing, self._reading, self._next = {}, [], None
        self._batch = self._empty()
        for job in jobs:
            job.emit(BackendError(sentence))

    def _empty(self) -> OpenBatch:
        """Make a batch without rows."""
        from routing_gym.adapters.open_batch import OpenBatch

        return OpenBatch(self._pool, signals=self._measures)


def _numbers(request: ChatRequest, prompt: str) -> np.random.Generator:
    """Make a row's random numbers; with a seed those of `AdapterPool.sample`'s first answer."""
    if request.seed is None:
        return np.random.default_rng()
    entropy: list[Any] = [request.seed % _SEEDS, 0, *prompt.encode()]
    return np.random.default_rng(entropy)
