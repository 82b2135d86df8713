"""Any OpenAI-compatible server with LoRA modules by name: vLLM, LoRAX, Ray Serve."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from routing_gym.adapters.pool import PROBES
from routing_gym.serving.activation import PROBE_TOKENS, check_activation
from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendRefused,
    BackendTimeout,
    ChatRequest,
    Message,
    Piece,
)
from routing_gym.serving.slots import Slots
from routing_gym.serving.timeouts import Timeouts, bounded
from routing_gym.serving.upstream_answer import (
    SOURCE,
    Speaker,
    listed_models,
    piece_of_body,
    refusal,
)
from routing_gym.serving.upstream_connection import relayed_pieces, send_chat, whole_body
from routing_gym.serving.upstream_settings import UpstreamSettings

if TYPE_CHECKING:
    import httpx

_HEALTH_SECONDS = 2.0


class OpenAIBackend:
    """Lets an upstream server answer, and relays what it sends.

    Parameters
    ----------
    settings
        The server.
    adapters
        Names of the pool in the order of their action ids.

    Raises
    ------
    ModuleNotFoundError
        If httpx is not installed.
    ValueError
        If a configured model belongs to no adapter, or the base is none of the adapters.
    """

    name = "openai"

    def __init__(self, settings: UpstreamSettings, adapters: Sequence[str]) -> None:
        if importlib.util.find_spec("httpx") is None:
            raise ModuleNotFoundError("httpx is not installed: pip install routing-gym[serve].")
        self.adapters = tuple(adapters)
        known = ", ".join(self.adapters)
        for name in (*settings.models, settings.base):
            if name not in self.adapters:
                raise ValueError(f"{name!r} is no adapter of the pool: it has {known}.")
        self._settings = settings
        self._models = {name: settings.models.get(name, name) for name in self.adapters}
        self._client: httpx.AsyncClient | None = None
        self._speakers = {name: Speaker(name) for name in self.adapters}
        self._slots = Slots(settings.concurrency)
        self._key = ""

    def __repr__(self) -> str:
        return f"OpenAIBackend(url={self._settings.url!r}, adapters={self.adapters})"

    async def start(self) -> None:
        """Connect, find every adapter in the server's list, and probe that each is active.

        Raises
        ------
        BackendError
            If the server cannot be reached, or an adapter is missing or answers as the base.
        """
        import httpx

        if self._client is not None:
            return
        patience, self._key = self._settings.timeouts, self._settings.read_key()
        headers = {"Accept-Encoding": "identity"}  # what is relayed as it is must not be packed
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        client = self._client = httpx.AsyncClient(
            base_url=self._settings.root,
            headers=headers,
            timeout=httpx.Timeout(None, connect=patience.connect),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )
        try:
            await self._find_models(client)
            if self._settings.probe:
                await self._probe()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every connection; what is being written upstream ends with it."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def healthy(self) -> bool:
        """Tell whether the server lists its models."""
        client = self._client
        if client is None:
            return False
        import httpx

        try:
            answer = await client.get("/models", timeout=_HEALTH_SECONDS)
        except (httpx.HTTPError, RuntimeError):  # RuntimeError: closed meanwhile
            return False
        return answer.status_code < 500

    async def stream(
        self, adapter: str, request: ChatRequest, *, request_id: str
    ) -> AsyncGenerator[Piece, None]:
        """Answer a request piece by piece; see `routing_gym.serving.backend.Backend.stream`."""
        if adapter not in self.adapters:
            known = ", ".join(self.adapters)
            raise BackendRefused(f"unknown adapter {adapter!r}: the pool has {known}.", status=404)
        patience = self._settings.timeouts
        try:
            await self._slots.acquire(patience.connect)
        except TimeoutError:
            raise BackendBusy(
                f"{self._settings.concurrency} requests are at the upstream server already: "
                "try again later."
            ) from None
        try:
            async with aclosing(self._bounded(adapter, request, request_id, patience)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._slots.release()

    def _bounded(
        self, adapter: str, request: ChatRequest, request_id: str, patience: Timeouts
    ) -> AsyncGenerator[Piece, None]:
        """Relay an answer until the patience with it ends."""
        return bounded(self._relayed(adapter, request, request_id), patience, source=SOURCE)

    async def _relayed(
        self, adapter: str, request: ChatRequest, request_id: str
    ) -> AsyncGenerator[Piece, None]:
        """Send a request and relay its answer; closing this closes the connection."""
        body, speaker = self._body(adapter, request), self._speakers[adapter]
        async with self._response(body, request_id) as response:
            if not request.streaming:
                yield piece_of_body(await whole_body(response), speaker)
                return
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise BackendError(f"{SOURCE} answered with {kind or 'no type'}, not a stream.")
            asked = bool((request.extra.get("stream_options") or {}).get("include_usage"))
            async with aclosing(relayed_pieces(response, speaker)) as pieces:
                async for piece in pieces:
                    unasked = piece.usage and not (piece.text or piece.finish_reason or asked)
                    yield Piece(usage=piece.usage) if unasked else piece

    @asynccontextmanager
    async def _response(
        self, body: Mapping[str, Any], request_id: str
    ) -> AsyncGenerator[httpx.Response, None]:
        """Send a chat request; within, the response's headers are there and show success."""
        import httpx

        if self._client is None:
            raise BackendError("the openai back end is closed.")
        headers = {"X-Request-Id": request_id}
        try:
            async with aclosing(await send_chat(self._client, body, headers)) as response:
                if response.status_code != 200:
                    said = await whole_body(response)
                    raise refusal(response.status_code, response.headers, said, hidden=self._key)
                yield response
        except httpx.TimeoutException:
            raise BackendTimeout(f"{SOURCE} took too long to connect.") from None
        except httpx.ConnectError:
            raise BackendError(f"{SOURCE} cannot be reached.") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            kind = type(error).__name__
            raise BackendError(f"{SOURCE} broke off its answer ({kind}).") from None

    def _body(self, adapter: str, request: ChatRequest) -> dict[str, Any]:
        """Write the request as the server wants it."""
        body: dict[str, Any] = {
            **request.extra,
            "model": self._models[adapter],
            "messages": [_message(message) for message in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": request.streaming,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None:
            body["seed"] = request.seed
        if request.streaming and self._settings.ask_usage:
            options = request.extra.get("stream_options") or {}
            body["stream_options"] = {**options, "include_usage": True}
        return body

    async def _find_models(self, client: httpx.AsyncClient) -> None:
        """Find every adapter's model in the server's list."""
        import httpx

        try:
            answer = await client.get("/models", timeout=self._settings.timeouts.first)
        except httpx.TimeoutException:
            raise BackendTimeout(f"{SOURCE} did not list its models in time.") from None
        except httpx.HTTPError as error:
            kind = type(error).__name__
            raise BackendError(f"{SOURCE} at {self._settings.root}: {kind}.") from None
        if answer.status_code != 200:
            raise refusal(answer.status_code, answer.headers, answer.content, hidden=self._key)
        entries = listed_models(answer.content)
        ids = [str(entry["id"]) for entry in entries]
        base = self._settings.base
        if base not in self._settings.models and base not in ids:
            own = set(self._models.values())
            roots = [str(e["id"]) for e in entries if e["id"] not in own and not e.get("parent")]
            self._models[base] = roots[0] if len(roots) == 1 else base
        for name, model in self._models.items():
            if model not in ids:
                raise BackendError(
                    f"adapter {name!r}: {SOURCE} has no model {model!r}; it has {', '.join(ids)}. "
                    "Load it there, or name its model in `models`."
                )
        self._know_speakers(entries)

    def _know_speakers(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Note by which names of the server's list each adapter's answers may not be signed."""
        served = {str(entry["id"]) for entry in entries}
        loaded = {str(entry["id"]) for entry in entries if entry.get("parent")}
        for name, model in self._models.items():
            # the base may have several names, without a parent; what has one is an adapter
            others = loaded | set(self._models.values()) if name == self._settings.base else served
            self._speakers[name] = Speaker(name, frozenset(others - {model}))

    async def _probe(self) -> None:
        """Compare each adapter's greedy answers with the base's, which is asked a second time.

        One probe after the other: a server that loads an adapter at its first request may need
        its time for each, and the same company in a batch makes the same rounding.
        """
        base = self._settings.base
        answers = {
            name: [await self._probed(name, text) for text in PROBES] for name in self.adapters
        }
        control = [await self._probed(base, text) for text in PROBES]
        check_activation(answers, base=base, control=control, source=SOURCE)

    async def _probed(self, adapter: str, text: str) -> str:
        """Return one greedy answer to a probe, with the patience of a whole answer."""
        request = ChatRequest((Message("user", text),), max_tokens=PROBE_TOKENS, streaming=False)
        total = self._settings.timeouts.total
        patience = Timeouts(connect=total, first=total, between=total, total=total)
        try:
            async with aclosing(self._bounded(adapter, request, "probe", patience)) as pieces:
                return "".join([piece.text async for piece in pieces])
        except BackendError as error:
            raise BackendError(f"adapter {adapter!r} could not be probed: {error}") from error


def _message(message: Message) -> dict[str, Any]:
    """Write a message as the client sent it, or from its role and content."""
    if message.payload is not None:
        return dict(message.payload)
    return {"role": message.role, "content": message.content}
