"""What the page's framework may be asked for, and what the browser may load for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
)
_POSTED = tuple(
    f"/gradio_api/{event}" for event in ("queue/join", "run/predict", "cancel", "reset")
)
# The page, its looks, and the stream that carries the answers to its buttons' events.
_READ = ("/", "/theme.css", "/favicon.ico", "/gradio_api/queue/data")
_READ_BELOW = ("/assets/", "/static/")


class DemoDoor:
    """ASGI middleware in front of the page.

    The framework can also take uploads, serve files, fetch from other hosts and describe itself;
    the page needs none of that. Let in are reads of the page, of its scripts and styles and of the
    stream of its own answers, and the events of its own buttons, up to the size that the API's
    bodies have. The browser is told to load nothing from other hosts.

    Parameters
    ----------
    app
        The application that serves the page.
    limit
        Most bytes of a body.
    frames
        Origins whose pages may show this one in a frame.
    """

    def __init__(self, app: ASGIApp, *, limit: int, frames: Sequence[str] = ()) -> None:
        self._app = app
        self._limit = limit
        self._headers = (
            (b"content-security-policy", " ".join((_CONTENT_POLICY, *frames)).encode()),
            (b"referrer-policy", b"no-referrer"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request; lifespans pass."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """Return the response that turns a request away, if it is to be."""
        if scope["type"] != "http":
            return PlainTextResponse("not found", 404)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        reads = scope["method"] in ("GET", "HEAD")
        if reads and (path in _READ or path.startswith(_READ_BELOW)):
            return None
        if scope["method"] != "POST" or path not in _POSTED:
            return PlainTextResponse("not found", 404)
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            return PlainTextResponse("a length is required", 411)
        return PlainTextResponse("too long", 413) if int(length) > self._limit else None
