"""A server that answers at once, so that what is left to measure is its client.

Run as ``python -m routing_gym.benchmark.instant_server``: it writes its port, and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BASE, ADAPTER = "base/model", "instant"
_TEXT = "The instant answer is neither right nor wrong, but of a usual length for an adapter."


@contextmanager
def instant_server(*, tokens: int = 16, logprobs: int = 20) -> Iterator[str]:
    """Run the server in a process of its own; its URL.

    Parameters
    ----------
    tokens
        Length of every answer.
    logprobs
        Likeliest tokens that it tells with each token; 0 tells none.
    """
    command = [sys.executable, "-m", __name__, str(tokens), str(logprobs)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()  # the end of its input ends it


class _Answering(asyncio.Protocol):
    """One kept connection: a request in, an answer out."""

    def __init__(self, choice: dict[str, Any], tokens: int) -> None:
        self._choice, self._tokens = json.dumps([choice]), tokens
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            head, _, rest = self._held.partition(b"\r\n\r\n")
            length = _content_length(head)
            if len(rest) < length:
                return
            self._held = rest[length:]
            self._transport.write(_whole(self._answer(head, rest[:length])))

    def _answer(self, head: bytes, body: bytes) -> str:
        if head.startswith(b"GET"):
            listed = [{"id": BASE, "parent": None}, {"id": ADAPTER, "parent": BASE}]
            return json.dumps({"object": "list", "data": listed})
        asked = json.loads(body)
        usage = json.dumps(
            {"prompt_tokens": len(asked.get("prompt", "1")), "completion_tokens": self._tokens}
        )
        model = json.dumps(asked["model"])
        return f'{{"model": {model}, "choices": {self._choice}, "usage": {usage}}}'


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def _whole(body: str) -> bytes:
    raw = body.encode()
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw


def _choice(tokens: int, logprobs: int) -> dict[str, Any]:
    """Write an answer for either path, as vLLM would."""
    top = {f"token_id:{17 * place}": -0.123456789 - place for place in range(logprobs)}
    told = {
        "tokens": [f"token_id:{token}" for token in range(tokens)],
        "token_logprobs": [-0.123456789] * tokens,
        "top_logprobs": [top] * tokens,
        "text_offset": list(range(tokens)),
    }
    return {
        "index": 0,
        "text": _TEXT,
        "message": {"role": "assistant", "content": _TEXT},
        "finish_reason": "stop",
        "logprobs": told if logprobs else None,
    }


async def _serve(tokens: int, logprobs: int) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    choice = _choice(tokens, logprobs)
    server = await loop.create_server(lambda: _Answering(choice, tokens), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
