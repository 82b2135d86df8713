"""The outermost layer: request ids, limits, a short way to the endpoints, logs, no bare failure."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from routing_gym.serving.errors import ApiError, Overloaded, internal_error
from routing_gym.serving.logs import log, log_exception

if TYPE_CHECKING:
    from routing_gym.serving.services import Services

REQUEST_ID = "request_id"
ALWAYS_OPEN = ("/healthz", "/readyz", "/metrics")
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_UNMATCHED = "unmatched"


Endpoint = Callable[[Request], Awaitable[Response]]


class Observation:
    """Pure ASGI middleware around the application.

    An endpoint at a fixed address is called from here, without the layers and the matching of
    routes in between: after the encoder has driven everything else out of the processor's caches,
    every layer costs.

    Parameters
    ----------
    app
        The application, for everything that has no fixed address.
    services
        The server's parts.
    endpoints
        (method, path) -> endpoint.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        services: Services,
        endpoints: Mapping[tuple[str, str], Endpoint],
    ) -> None:
        self._app = app
        self._services = services
        self._endpoints = dict(endpoints)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = scope[REQUEST_ID] = _request_id(scope)
        sender = _Sender(send, request_id)
        self._open += 1
        try:
            self._check(scope)
            endpoint = self._endpoints.get((scope["method"], scope["path"]))
            if endpoint is None:
                await self._app(scope, receive, sender)
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, sender)
        except ApiError as error:
            self._count(error)
            await error.response()(scope, receive, sender)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        except Exception as error:
            self._services.metrics.errors.labels("internal_error").inc()
            log_exception("request failed", error, request_id=request_id)
            if not sender.status:
                await internal_error().response()(scope, receive, sender)
        finally:
            self._open -= 1
            self._note(scope, sender, seconds=time.perf_counter() - start)

    def _check(self, scope: Scope) -> None:
        """Refuse a request that is too much by its headers or by its number."""
        config = self._services.config
        path = scope.get("raw_path") or scope["path"].encode()  # the protocol lets it be absent
        size = len(path) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > config.max_header_bytes:
            raise ApiError(
                431,
                f"address and headers are longer than {config.max_header_bytes} bytes.",
                code="headers_too_large",
            )
        if self._open > config.max_requests and scope["path"] not in ALWAYS_OPEN:
            raise Overloaded(
                "too_many_requests",
                f"{config.max_requests} requests are open already: try again later.",
            )

    def _count(self, error: ApiError) -> None:
        """Count refusals for want of room, and failures."""
        metrics = self._services.metrics
        if error.status == 429:
            metrics.rejected.labels(error.code).inc()
        elif error.status >= 500:
            metrics.errors.labels(error.code).inc()

    def _note(self, scope: Scope, sender: _Sender, *, seconds: float) -> None:
        """Count and log a request that has ended."""
        status = sender.status if sender.ended else 499
        route = scope["path"]
        if (scope["method"], route) not in self._endpoints:  # no client makes up a label
            route = getattr(scope.get("route"), "path", _UNMATCHED)
        self._services.metrics.request_seconds.labels(route, str(status)).observe(seconds)
        log(
            "request",
            level=logging.DEBUG if route in ALWAYS_OPEN else logging.INFO,
            request_id=scope[REQUEST_ID],
            method=scope["method"] if scope["method"].isalpha() else "?",
            route=route,
            status=status,
            seconds=round(seconds, 6),
        )


class _Sender:
    """Adds the request id to the response's headers and remembers what was sent."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id = (b"x-request-id", request_id.encode())
        self.status = 0
        self.ended = False

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._id]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended = True
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """Return the client's request id if it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _VALID_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
