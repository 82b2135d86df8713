"""The way to a pool's server and back: bounded, patient, and without ever showing the key."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from routing_gym.adapters.http_retry import CallError, parse_retry_after, patient
from routing_gym.adapters.http_server import ServerSpec

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
LONGEST_BODY = 16 * 2**20
"""Bytes of an answer beyond which a server is no longer believed."""
_LONGEST_MESSAGE = 200
_CONNECT_SECONDS = 10.0
_AGAIN = (408, 409, 425, 429)
_SHORTEST_SECRET = 8  # "EMPTY" and the like are no secrets, and may stand in any text


class ServerError(OSError):
    """The server cannot be used for this pool; no other request will fare better."""


class ServerConnection:
    """Kept connections to a pool's server, for many threads.

    Parameters
    ----------
    server
        Where, and the patience.
    sleep
        Waits for a number of seconds; None waits until then or until `stop`.

    Raises
    ------
    ModuleNotFoundError
        If httpx or tenacity is not installed.
    ValueError
        If the key's variable is named and not set.
    """

    def __init__(
        self, server: ServerSpec, *, sleep: Callable[[float], object] | None = None
    ) -> None:
        client = _httpx()
        self.server = server
        self._stopped = threading.Event()
        self._sleep = self._stopped.wait if sleep is None else sleep
        self._patience = patient(
            server.attempts, longest_wait=server.longest_wait, sleep=self._sleep
        )
        key = server.read_key()
        self._hidden = key if len(key) >= _SHORTEST_SECRET else ""
        self._turn = itertools.count()  # one step of it is atomic
        self._client: httpx.Client = client.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=client.Timeout(server.timeout, connect=min(server.timeout, _CONNECT_SECONDS)),
            limits=client.Limits(
                max_connections=server.concurrency,
                max_keepalive_connections=server.concurrency,
            ),
        )

    def stop(self) -> None:
        """Let no further request go out, and end the waiting of those that wait."""
        self._stopped.set()

    def close(self) -> None:
        """Close every connection."""
        self.stop()
        self._client.close()

    def get(self, root: str, path: str) -> Any:
        """Read JSON from one of the server's replicas; errors as in `read`."""
        return self._patience(lambda: _parsed(self._send("GET", root, path, None)[0]))

    def tell(self, root: str, path: str, body: Mapping[str, Any]) -> None:
        """Send one of the server's replicas a request whose answer is its status; as in `read`."""
        self._patience(lambda: self._send("POST", root, path, body))

    def read(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Any, float, str], T],
        *,
        root: str = "",
    ) -> T:
        """Send a request and read its answer, both again where that may help.

        Parameters
        ----------
        path
            Such as ``/completions``.
        body
            JSON.
        read
            Makes something of the answer's JSON, of the seconds from the request that it answers to
            its last byte, and of the replica that answered, or raises `CallError`.
        root
            Which replica to ask; "" asks the next in turn, and after a failure the one after it.

        Raises
        ------
        CallError
            If this request came to nothing.
        ServerError
            If no other will come to anything: a refused key, an unknown model.
        """
        roots = itertools.cycle((root,) if root else self._replicas())

        def ask() -> T:
            asked = next(roots)
            content, seconds = self._send("POST", asked, path, body)
            return read(_parsed(content), seconds, asked)

        return self._patience(ask)

    def _replicas(self) -> tuple[str, ...]:
        """Order the replicas for one request and its repetitions."""
        roots = self.server.roots
        first = next(self._turn) % len(roots)
        return roots[first:] + roots[:first]

    def _send(
        self, method: str, root: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[bytes, float]:
        """Send one request once."""
        if self._stopped.is_set():
            raise CallError("the run was stopped")
        httpx, started = _httpx(), time.perf_counter()
        try:
            with self._client.stream(method, root + path, json=body) as response:
                content = self._whole(response, started)
                status, headers = response.status_code, response.headers
        except httpx.TimeoutException:
            fault: Exception = self._late()
        except httpx.HTTPError as error:
            fault = CallError(f"the connection broke ({type(error).__name__})", again=True)
        else:
            if status == 200:
                return content, time.perf_counter() - started
            fault = self._status_fault(root, status, headers, content)
        # Outside of the handlers: the client's exception holds the request, and that the key.
        raise fault

    def _whole(self, response: httpx.Response, started: float) -> bytes:
        """Read a body within the time and the length that are allowed."""
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if time.perf_counter() - started > self.server.timeout:
                raise self._late()
            if size > LONGEST_BODY:
                raise CallError(f"the answer has over {LONGEST_BODY} bytes", again=True)
        return b"".join(parts)

    def _late(self) -> CallError:
        return CallError(f"no answer within {self.server.timeout:g} s", again=True)

    def _status_fault(
        self, root: str, status: int, headers: Mapping[str, str], content: bytes
    ) -> Exception:
        """Turn a replica's HTTP status into an error of ours."""
        said, server = self._said(content), self.server
        if status in (401, 403):
            variable = server.key_variable or "no variable is named"
            return ServerError(
                f"{root} refused the key (HTTP {status}): check server.key_variable ({variable})."
            )
        if status == 404:
            return ServerError(
                f"{root} does not know what it is asked for (HTTP 404: {said}): load "
                "the adapter there, or correct its model name or the URL."
            )
        if status not in _AGAIN and status < 500:
            return CallError(f"HTTP {status}: {said}")
        wait = parse_retry_after(headers)
        if wait is not None and wait > server.longest_wait:
            return CallError(
                f"HTTP {status}: the server asks to wait {wait:.0f} s, longer than "
                f"longest_wait={server.longest_wait:g}"
            )
        return CallError(f"HTTP {status}: {said}", again=True, retry_after=wait)

    def _said(self, content: bytes) -> str:
        """Find the sentence in an error's body, without the key, shortened and on one line."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = "no explanation"
        for name in ("error", "message", "detail"):
            if isinstance(found, Mapping):
                found = found.get(name, found)
        text = " ".join(str(found).split())
        text = text.replace(self._hidden, "[key]") if self._hidden else text
        return text[:_LONGEST_MESSAGE].rstrip(".")


def _parsed(content: bytes) -> Any:
    """Read JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise CallError("the answer is no JSON", again=True) from None


def _httpx() -> Any:
    """Import the HTTP client, which is an extra."""
    try:
        import httpx
    except ImportError as error:
        raise ModuleNotFoundError(
            "a pool on a server needs httpx: pip install 'routing-gym[judge]'"
        ) from error
    return httpx
