"""The real pool in the process: one base model in memory, all adapters beside it, one batch."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from routing_gym.adapters.spec import PoolSpec
from routing_gym.serving.backend import BackendError, BackendRefused, ChatRequest, Piece
from routing_gym.serving.local_engine import EngineLimits, Job, LocalEngine
from routing_gym.serving.timeouts import Timeouts, bounded

if TYPE_CHECKING:
    from routing_gym.adapters.mixed_pool import MixedPool

_NEEDED = ("torch", "transformers", "peft")
_HARMLESS = frozenset(
    (
        "metadata",
        "parallel_tool_calls",  # tools themselves are refused
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    )
)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none",),
    "tools": ([],),
    "top_k": (0, -1),
    "top_logprobs": (0,),
    "top_p": (1,),
}
_LONGEST_NAME = 64


class LocalBackend:
    """Answers with a pool's adapters in this process.

    Requests that chose different adapters are decoded in one batch, which others join and leave
    between two tokens. The greedy answer is the text of `AdapterPool.generate`, up to the rounding
    of sums in batches of other shapes.

    Parameters
    ----------
    spec
        The pool.
    limits
        Rows, memory and queue of the worker.
    timeouts
        Patience with it; waiting for a row counts towards the first piece.
    threads
        CPU threads of torch, in the whole process; 0 leaves them as they are.
    signals
        Whether the last piece of an answer carries its `TokenSignals`, for the self-evaluation.

    Attributes
    ----------
    adapters
        The pool's names in the order of their action ids.
    fingerprint
        The pool's; a policy that was trained on a pool with another one must not be served here.

    Raises
    ------
    ModuleNotFoundError
        If torch, transformers or peft is not installed.
    ValueError
        If threads is negative.
    """

    name = "local"

    def __init__(
        self,
        spec: PoolSpec,
        *,
        limits: EngineLimits | None = None,
        timeouts: Timeouts | None = None,
        threads: int = 0,
        signals: bool = False,
    ) -> None:
        lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if lacking:
            raise ModuleNotFoundError(
                f"{', '.join(lacking)} not installed, which the local back end needs: "
                "pip install routing-gym[serve,llm], or use the openai back end."
            )
        if threads < 0:
            raise ValueError(f"threads={threads}: give 0 (as they are) or more.")
        self.spec = spec
        self.adapters = spec.names
        self.fingerprint = spec.fingerprint
        self._limits = limits or EngineLimits()
        self._timeouts = timeouts or Timeouts()
        self._threads = threads
        self._signals = signals
        self._engine: LocalEngine | None = None

    async def start(self) -> None:
        """Load the pool, probe that each adapter is active, and begin to decode.

        Raises
        ------
        BackendError
            If the base model or an adapter cannot be loaded, or an adapter answers as the base.
        """
        if self._engine is None:
            pool = await asyncio.to_thread(self._load)
            engine = LocalEngine(pool, self._limits, signals=self._signals)
            engine.start()
            self._engine = engine

    async def close(self) -> None:
        """End every answer and free the pool."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.stop)

    async def healthy(self) -> bool:
        """Tell whether the worker runs."""
        return self._engine is not None and self._engine.alive

    async def stream(
        self, adapter: str, request: ChatRequest, *, request_id: str
    ) -> AsyncGenerator[Piece, None]:
        """Answer a request piece by piece; see `routing_gym.serving.backend.Backend.stream`."""
        engine = self._engine
        if engine is None:
            raise BackendError("the local pool is not loaded.")
        if adapter not in self.adapters:
            known = ", ".join(self.adapters)
            raise BackendRefused(f"unknown adapter {adapter!r}: the pool has {known}.", status=404)
        _check_extra(request)
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Piece | BackendError] = asyncio.Queue()

        def emit(piece: Piece | BackendError) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, piece)
            except RuntimeError:  # the loop has been closed: nobody is left who would read it
                job.cancelled.set()

        job = Job(adapter, request, emit)
        engine.submit(job)
        try:
            pieces = bounded(_read(queue), self._timeouts, source=f"adapter {adapter!r}")
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        finally:
            job.cancelled.set()

    def _load(self) -> MixedPool:
        """Load the pool in a thread of its own."""
        import torch

        from routing_gym.adapters.mixed_pool import MixedPool

        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            return MixedPool(self.spec)
        except (ValueError, OSError) as error:
            raise BackendError(f"the local pool cannot be served: {error}") from error


async def _read(queue: asyncio.Queue[Piece | BackendError]) -> AsyncGenerator[Piece, None]:
    """Read one answer out of its queue."""
    while True:
        piece = await queue.get()
        if isinstance(piece, BackendError):
            raise piece
        yield piece
        if piece.finish_reason is not None:
            return


def _check_extra(request: ChatRequest) -> None:
    """Refuse what would otherwise be silently left out; what would change no answer may stay."""
    for name, value in request.extra.items():
        if value is None or name in _HARMLESS or value in _NEUTRAL.get(name, ()):
            continue
        raise BackendRefused(
            f"{name[:_LONGEST_NAME]} is not supported by the local back end: leave it out, or "
            "serve the pool with a server behind the openai back end."
        )
