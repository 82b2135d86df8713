"""A real HTTP server on loopback that speaks the chat-completions protocol, and misbehaves."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MODES = (
    "fine",
    "hang",  # takes the request and never answers
    "hang_later",  # falls silent after two events
    "reset",  # resets the connection after two events
    "cut",  # closes it properly after two events, in the middle of a third
    "busy",  # 429 with Retry-After: 7
    "error",  # 500
    "unavailable",  # 503 with an HTML page
    "bad_request",  # 400 with a sentence
    "unauthorised",  # 401 that quotes the key
    "broken_json",
    "broken_later",  # broken JSON after two events
    "error_event",  # reports an error after two events
    "no_finish",  # ends without a finish reason
    "no_done",  # ends without [DONE]
    "not_a_stream",  # answers a streaming request with JSON
    "empty",  # no choices
    "slow",  # 50 ms between events
    "same",  # all models answer as the base does
    "evicted",  # the base answers for all models, and says so
    "endless",  # an event that does not end
)
BASE_MODEL = "tiny/base"
WORDS = (" says", ": naïve", " café", " 😀", " — fine", ".")
PROMPT_TOKENS = 11


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Upstream:
    """The server, for a ``with`` block; `mode` may be changed while it runs.

    Parameters
    ----------
    models
        Names of the adapters that it serves beside `BASE_MODEL`.
    mode
        How it behaves, one of `MODES`.
    key
        What it wants as a bearer key; empty asks for none.
    port
        0 takes a free one.
    delay
        Seconds before every answer.

    Attributes
    ----------
    seen
        The chat requests in order.
    cancelled
        Request ids of those whose client left before the end.
    sent
        Request id -> the bytes of a finished stream.
    """

    paths: tuple[str, ...] = ("/v1/chat/completions",)

    def __init__(
        self,
        models: Sequence[str] = ("one", "two"),
        *,
        mode: str = "fine",
        key: str = "",
        port: int = 0,
        delay: float = 0.0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} is unknown: choose {', '.join(MODES)}.")
        self.delay = delay
        self.models, self.mode, self.key = tuple(models), mode, key
        self.seen: list[Seen] = []
        self.cancelled: list[str] = []
        self.sent: dict[str, bytes] = {}
        self.most_at_once = self.at_once = 0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Upstream:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one_request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; True if the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split(" ")
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            await self._json(writer, 401, error(f"bad key {headers.get('authorization')}"))
            return False
        if (method, path) == ("GET", "/v1/models"):
            await self._json(writer, 200, {"object": "list", "data": self._listed()})
            return False
        if method != "POST" or path not in self.paths:
            await self._json(writer, 404, error(f"no such path {path}"))
            return False
        self.seen.append(Seen(path, headers, json.loads(raw)))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        answer = asyncio.ensure_future(self._chat(writer, self.seen[-1]))
        left = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done() and not isinstance(answer.exception(), ConnectionError):
                await answer
            else:
                self.cancelled.append(headers.get("x-request-id", ""))
            return False  # what `left` may have read cannot be put back
        finally:
            self.at_once -= 1
            answer.cancel()
            left.cancel()
            await asyncio.gather(answer, left, return_exceptions=True)

    def _listed(self) -> list[dict[str, Any]]:
        base = {"id": BASE_MODEL, "object": "model", "root": BASE_MODEL, "parent": None}
        return [base, *({"id": m, "object": "model", "parent": BASE_MODEL} for m in self.models)]

    async def _chat(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        mode, body = self.mode, seen.body
        await asyncio.sleep(self.delay)
        if mode == "hang":
            await asyncio.sleep(3600)
        refusals: dict[str, tuple[int, object]] = {
            "busy": (429, error("Model is overloaded")),
            "error": (500, error("Internal Server Error")),
            "unavailable": (503, b"<html>no</html>"),
            "bad_request": (400, error("This model's maximum context length is 12 tokens.")),
            "unauthorised": (401, error(f"Incorrect key {seen.headers.get('authorization')}")),
        }
        if mode in refusals:
            await self._json(writer, *refusals[mode], retry_after=mode == "busy")
        elif body["model"] not in (BASE_MODEL, *self.models):
            await self._json(writer, 404, error(f"The model `{body['model']}` does not exist."))
        elif body.get("stream") and mode != "not_a_stream":
            await self._stream(writer, seen)
        else:
            await self._whole(writer, body)

    def _words(self, body: dict[str, Any]) -> list[str]:
        speaker = BASE_MODEL if self.mode in ("same", "evicted") else body["model"]
        return [speaker, *WORDS][: body["max_tokens"]]

    def _signature(self, body: dict[str, Any]) -> str:
        return BASE_MODEL if self.mode == "evicted" else str(body["model"])

    async def _whole(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        if self.mode == "slow":
            await asyncio.sleep(0.3)
        words = self._words(body)
        message = {"role": "assistant", "content": "".join(words), "own_field": [1, 2]}
        reason = "stop" if len(words) > len(WORDS) else "length"
        choices = [{"index": 0, "message": message, "finish_reason": reason}]
        content = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": self._signature(body),
            "choices": [] if self.mode == "empty" else choices,
            "usage": usage(len(words)),
        }
        raw = json.dumps(content, indent=1).encode()
        await self._json(writer, 200, raw[:-40] if self.mode == "broken_json" else raw)

    def _events(self, body: dict[str, Any]) -> list[bytes]:
        """Make a stream's events: odd spacing, a comment, own fields, both kinds of line ends."""
        words, model = self._words(body), self._signature(body)
        reason = "stop" if len(words) > len(WORDS) else "length"
        events = [chunk(model, [{"role": "assistant", "content": ""}]), b": ping\n\n"]
        events += [chunk(model, [{"content": word}]) for word in words]
        if self.mode == "error_event":
            events[3] = b"data: " + json.dumps(error("CUDA out of memory")).encode() + b"\n\n"
        if self.mode == "broken_json":
            events[0] = b'data: {"choices": [{"del\n\n'
        if self.mode == "broken_later":
            events[3] = b'data: {"choices": [{"del\n\n'
        if self.mode == "empty":
            events[0] = b'data: {"object": "chat.completion.chunk"}\n\n'
        if self.mode == "endless":
            return [b"data: " + b"x" * 2**20] + [b"x" * 2**20] * 8
        if self.mode == "no_finish":
            return [*events, b"data: [DONE]\n\n"]
        end = chunk(model, [{}], reason)
        events.append(end.replace(b"\n\n", b"\r\n\r\n"))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(chunk(model, [], own_usage=usage(len(words))))
        return events if self.mode == "no_done" else [*events, b"data: [DONE]\n\n"]

    async def _stream(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        events = self._events(seen.body)
        for place, event in enumerate(events):
            if place == 4 and self.mode == "hang_later":
                await asyncio.sleep(3600)
            if place == 4 and self.mode == "reset":
                await asyncio.sleep(0.05)  # a reset takes back what has not been read yet
                reset(writer)
                return
            if place == 4 and self.mode == "cut":
                await send(writer, event[:20])
                return
            half = len(event) // 2  # an event may arrive in two parts, with half a character
            for part in (event[:half], event[half:]) if place % 2 else (event,):
                await send(writer, part)
                await asyncio.sleep(0.05 if self.mode == "slow" else 0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        self.sent[seen.headers.get("x-request-id", "")] = b"".join(events)

    async def _json(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        content: object,
        *,
        retry_after: bool = False,
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        head = f"HTTP/1.1 {status} Status\r\nConnection: close\r\n"
        head += "Content-Type: application/json\r\n"
        head += "Retry-After: 7\r\n" if retry_after else ""
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()


def chunk(
    model: str,
    deltas: Sequence[dict[str, Any]],
    reason: str | None = None,
    *,
    own_usage: dict[str, int] | None = None,
) -> bytes:
    """Make one event of a stream."""
    choices = [
        {"index": i, "delta": delta, "finish_reason": reason, "logprobs": None}
        for i, delta in enumerate(deltas)
    ]
    content = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
        "own_field": {"kept": True},
    }
    if own_usage:
        content["usage"] = own_usage
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


def usage(written: int) -> dict[str, int]:
    """Count the tokens of an answer."""
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": written,
        "total_tokens": PROMPT_TOKENS + written,
    }


def error(message: str) -> dict[str, Any]:
    """Report an error as OpenAI does."""
    return {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the client gets a TCP reset."""
    own = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send one chunk of a chunked body."""
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()
