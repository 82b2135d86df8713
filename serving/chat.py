"""One chat request: a place in the queue, a decision, an answer, and its books."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendRefused,
    BackendTimeout,
    ChatRequest,
    Piece,
    TokenSignals,
)
from routing_gym.serving.chat_format import AnswerFormat, decision_headers, error_event, usage_of
from routing_gym.serving.deadlines import within
from routing_gym.serving.decision_log import Completed
from routing_gym.serving.decisions import Choice
from routing_gym.serving.errors import ApiError, Overloaded, internal_error
from routing_gym.serving.logs import log, log_exception
from routing_gym.serving.self_evaluation import ServedAnswer

if TYPE_CHECKING:
    from routing_gym.serving.services import Services

ValueT = TypeVar("ValueT")
SIGNALS: ContextVar[list[TokenSignals] | None] = ContextVar("SIGNALS", default=None)
"""A caller in the same task may leave a list here, to be told an answer's signals; see the demo."""
CLIENT_GONE = 499
_REFUSALS = (400, 404, 413, 422)
_OUTCOMES = {200: "ok", CLIENT_GONE: "cancelled", 429: "busy", 504: "timeout"}


@dataclass(frozen=True)
class Target:
    """Who is asked: a policy that decides on a text, or an adapter by its name.

    Parameters
    ----------
    policy
        The policy; None for an adapter.
    adapter
        The adapter; "" while a policy has not decided.
    text
        What the policy decides on.
    """

    policy: str | None
    adapter: str
    text: str


class ChatAnswer(Response):
    """The response to one chat request, written while the client waits; its leaving ends the work.

    Parameters
    ----------
    services
        The server's parts.
    target
        Who is asked.
    request
        What is asked.
    request_id
        For logs and the upstream server.
    include_usage
        Whether a stream ends with the tokens that were used.
    """

    def __init__(
        self,
        services: Services,
        *,
        target: Target,
        request: ChatRequest,
        request_id: str,
        include_usage: bool,
    ) -> None:
        super().__init__()
        self._services = services
        self._target = target
        self._request = request
        self._request_id = request_id
        self._include_usage = include_usage
        self._start = time.monotonic()
        self._end = self._start + services.config.request_timeout
        self._choice: Choice | None = None
        self._adapter = target.adapter
        self._pieces: list[Piece] = []
        self._sent = self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client leaves first."""
        work = asyncio.ensure_future(self._answer(send))
        left = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or self._complete:  # a complete response ends the connection's wait, too
                await work
            else:
                log("client left", request_id=self._request_id)
        except _ClientStuck:  # an answer that has no end lets uvicorn close the connection
            self._services.metrics.errors.labels("client_stuck").inc()
            log("client does not read", request_id=self._request_id)
        finally:
            for task in (work, left):
                task.cancel()
            await asyncio.gather(work, left, return_exceptions=True)

    async def _answer(self, send: Send) -> None:
        """Wait for a turn, decide, generate, send."""
        services = self._services
        with services.gate.enter() as ticket:
            if self._target.policy is not None:
                (self._choice,) = await services.decider.decide(
                    self._target.policy, [self._target.text], request_id=self._request_id
                )
                self._adapter = self._choice.adapter
            await self._before(self._end, ticket.turn(), code="request_timeout")
            turn, status = time.monotonic(), CLIENT_GONE
            try:
                await self._generate(send, first=turn + services.config.first_token_timeout)
                status = 200
            except _ClientStuck:
                raise
            except ApiError as error:
                status = error.status
                await self._fail(error, send)
            except Exception as error:
                status = 500
                log_exception("answer failed", error, request_id=self._request_id)
                await self._fail(internal_error(), send)
            finally:
                await self._close_books(status, seconds=time.monotonic() - turn)

    async def _generate(self, send: Send, *, first: float) -> None:
        """Let the adapter write and bring the pieces to the client."""
        written = AnswerFormat(
            self._adapter,
            identity=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            include_usage=self._include_usage,
        )
        pieces = self._services.backend.stream(
            self._adapter, self._request, request_id=self._request_id
        )
        async with aclosing(pieces):
            async for piece in self._timed(pieces, first=first):
                self._pieces.append(piece)
                if self._request.streaming:
                    await self._send_events(send, written.events(piece))
        if self._request.streaming:
            relayed = any(piece.raw is not None for piece in self._pieces)
            last = written.ending(usage_of(self._pieces), relayed=relayed)
            await self._send_events(send, last, more=False)
        else:
            await self._send_body(send, written.body(self._pieces))

    async def _timed(self, pieces: AsyncIterator[Piece], *, first: float) -> AsyncIterator[Piece]:
        """Take pieces until the answer's end, each in its time."""
        iterator = aiter(pieces)
        # a whole answer in one piece is not late for the first token
        end = min(first, self._end) if self._request.streaming else self._end
        code = "first_token_timeout" if end < self._end else "request_timeout"
        while True:
            try:
                piece = await self._before(end, anext(iterator), code=code)
            except StopAsyncIteration:
                return
            except BackendError as error:
                raise _translated(error) from None
            yield piece
            end, code = self._end, "request_timeout"

    async def _before(self, end: float, work: Awaitable[ValueT], *, code: str) -> ValueT:
        """Wait until a point of the monotonic clock."""
        try:
            async with within(end - time.monotonic()):
                return await work
        except TimeoutError:
            limit = getattr(self._services.config, code)
            raise ApiError(
                504, f"no answer within {limit:g} s ({code}): try again later.", code=code
            ) from None

    async def _send_events(self, send: Send, events: bytes, *, more: bool = True) -> None:
        """Send a part of a stream; its first brings the headers along."""
        if not self._sent:
            await self._send_start(
                send,
                {
                    "content-type": "text/event-stream; charset=utf-8",
                    "cache-control": "no-cache",
                    "x-accel-buffering": "no",
                },
            )
        self._complete = not more
        if events or not more:
            message = {"type": "http.response.body", "body": events, "more_body": more}
            await self._deliver(send, message)

    async def _send_body(self, send: Send, body: bytes) -> None:
        """Send a whole answer."""
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        await self._send_start(send, headers)
        self._complete = True
        await self._deliver(send, {"type": "http.response.body", "body": body})

    async def _send_start(self, send: Send, headers: dict[str, str]) -> None:
        """Send status and headers."""
        self._sent = True
        headers |= decision_headers(self._adapter, self._choice)
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        message = {"type": "http.response.start", "status": 200, "headers": raw}
        await self._deliver(send, message)

    async def _deliver(self, send: Send, message: Message) -> None:
        """Send until the request's end: who does not read must not keep a place for ever."""
        try:
            async with within(self._end - time.monotonic()):
                await send(message)
        except TimeoutError:
            raise _ClientStuck from None

    async def _fail(self, error: ApiError, send: Send) -> None:
        """Tell the client of a failure, in the stream if that has begun."""
        if not self._sent:
            error.headers |= decision_headers(self._adapter, self._choice)
            raise error
        self._services.metrics.errors.labels(error.code).inc()
        log("stream failed", request_id=self._request_id, code=error.code)
        await self._send_events(send, error_event(error.body()), more=False)

    async def _close_books(self, status: int, *, seconds: float) -> None:
        """Note what became of the request; offer the answer to the self-evaluation."""
        services, choice, usage = self._services, self._choice, usage_of(self._pieces)
        services.metrics.generation_seconds.labels(self._adapter).observe(seconds)
        signals, wanted = self._signals, SIGNALS.get()
        if signals is not None and wanted is not None:
            wanted.append(signals)
        if choice is None:
            return
        completed = Completed(
            decision_id=choice.decision_id,
            generation_seconds=seconds,
            total_seconds=time.monotonic() - self._start,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            status=_OUTCOMES.get(status, "error"),
        )
        try:
            await services.store.complete(completed)
        except Exception as error:  # the decision itself is logged: the answer must not fail
            log_exception("completion not logged", error, request_id=self._request_id)
        if status == 200 and services.evaluation is not None:
            services.evaluation.offer(self._served(choice, seconds=seconds))

    def _served(self, choice: Choice, *, seconds: float) -> ServedAnswer:
        """Return the answer as the self-evaluation sees it."""
        usage = usage_of(self._pieces)
        reasons = [piece.finish_reason for piece in self._pieces if piece.finish_reason]
        return ServedAnswer(
            decision_id=choice.decision_id,
            adapter=self._adapter,
            query=self._target.text,
            response="".join(piece.text for piece in self._pieces),
            finished="length" not in reasons,
            completion_tokens=usage.completion_tokens if usage else 0,
            seconds=seconds,
            signals=self._signals,
        )

    @property
    def _signals(self) -> TokenSignals | None:
        """What the back end measured of the answer's tokens."""
        return next((piece.signals for piece in self._pieces if piece.signals is not None), None)


class _ClientStuck(Exception):
    """A client that does not read what it is sent."""


def _translated(error: BackendError) -> ApiError:
    """Say what a back end's failure means for the client."""
    if isinstance(error, BackendBusy):
        return Overloaded("busy", str(error), retry_after=error.retry_after)
    if isinstance(error, BackendRefused):
        status = error.status if error.status in _REFUSALS else 400
        return ApiError(status, str(error), code="refused")
    status = 504 if isinstance(error, BackendTimeout) else 502
    return ApiError(status, str(error), code=f"backend_{error.kind}")


async def _disconnect(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
