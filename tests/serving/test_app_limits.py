from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from routing_gym.serving import connections
from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendRefused,
    BackendTimeout,
    ChatRequest,
    Piece,
)
from tests.serving.stand_ins import (
    StandInBackend,
    StandInBundle,
    chat,
    client_of,
    make_app,
    wait_for,
)


def in_threads(call: Callable[[int], httpx.Response], count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def test_more_than_work_and_wait_are_refused_at_once(tmp_path: Path) -> None:
    backend = StandInBackend(words=1, seconds=0.3)
    app = make_app(tmp_path, backend=backend, concurrency=2, queue_size=1)
    with client_of(app) as client:
        start = time.perf_counter()
        seconds: list[float] = []

        def ask(number: int) -> httpx.Response:
            response = client.post("/v1/chat/completions", json=chat())
            if response.status_code == 429:
                seconds.append(time.perf_counter() - start)
            return response

        answers = in_threads(ask, 8)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 3 + [429] * 5
        assert max(seconds) < 0.25
        for answer in answers:
            if answer.status_code == 429:
                assert code_of(answer) == "queue_full"
                assert int(answer.headers["retry-after"]) >= 1
        assert backend.most_running == 2
        metrics = client.get("/metrics").text
        assert 'router_rejected_total{reason="queue_full"} 5.0' in metrics
        assert "router_queue_length 0.0" in metrics
        assert client.post("/v1/chat/completions", json=chat()).status_code == 200


def test_decisions_have_a_bound_of_their_own(tmp_path: Path) -> None:
    bundles = {"ppo": StandInBundle(seconds=0.2)}
    app = make_app(tmp_path, bundles=bundles, max_batch=2, decision_queue=4)
    with client_of(app) as client:
        answers = in_threads(lambda _: client.post("/route", json={"input": ["a", "b"]}), 5)
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 3
        assert {code_of(answer) for answer in refused} == {"decision_queue_full"}


def test_open_requests_have_a_bound(tmp_path: Path) -> None:
    app = make_app(tmp_path, backend=StandInBackend(seconds=0.2), max_requests=1)
    with client_of(app) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        answers = in_threads(lambda _: client.post("/v1/chat/completions", json=chat()), 3)
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
        assert "too_many_requests" in {code_of(a) for a in answers if a.status_code == 429}


@pytest.mark.parametrize(
    ("settings", "seconds", "stream", "code"),
    [
        ({"first_token_timeout": 0.1}, 0.5, True, "first_token_timeout"),
        ({"request_timeout": 0.2}, 0.5, False, "request_timeout"),
        ({"request_timeout": 0.2}, 0.5, True, "request_timeout"),
    ],
)
def test_late_answers_are_given_up(
    tmp_path: Path, settings: dict[str, float], seconds: float, stream: bool, code: str
) -> None:
    backend = StandInBackend(seconds=seconds)
    with client_of(make_app(tmp_path, backend=backend, **settings)) as client:
        response = client.post("/v1/chat/completions", json=chat(stream=stream))
        assert (response.status_code, code_of(response)) == (504, code)
        assert "x-decision-id" in response.headers
        assert backend.cancelled == 1
        assert f'router_errors_total{{kind="{code}"}} 1.0' in client.get("/metrics").text


def test_a_request_that_waits_too_long_for_its_turn_is_given_up(tmp_path: Path) -> None:
    backend = StandInBackend(words=1, seconds=0.25)
    app = make_app(tmp_path, backend=backend, concurrency=1, queue_size=5, request_timeout=0.4)
    with client_of(app) as client:
        answers = in_threads(lambda _: client.post("/v1/chat/completions", json=chat()), 3)
        assert sorted(answer.status_code for answer in answers) == [200, 504, 504]


def test_a_late_decision_is_given_up(tmp_path: Path) -> None:
    app = make_app(tmp_path, bundles={"ppo": StandInBundle()}, decision_timeout=0.1)
    with client_of(app) as client:
        client.server.services.bundles["ppo"]._seconds = 0.4
        response = client.post("/route", json={"input": "x"})
        assert (response.status_code, code_of(response)) == (504, "decision_timeout")


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (BackendError("it broke."), 502, "backend_backend"),
        (BackendTimeout("it hangs."), 504, "backend_timeout"),
        (BackendBusy("it is busy.", retry_after=7), 429, "busy"),
        (BackendRefused("too long a prompt.", status=413), 413, "refused"),
        (BackendRefused("I am a teapot.", status=418), 400, "refused"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_failures_of_the_back_end_have_a_status(
    tmp_path: Path, failure: BackendError, status: int, code: str, stream: bool
) -> None:
    app = make_app(tmp_path, backend=StandInBackend(failure=failure))
    with client_of(app) as client:
        response = client.post("/v1/chat/completions", json=chat(stream=stream))
        assert (response.status_code, code_of(response)) == (status, code)
        assert response.json()["error"]["message"] == str(failure)
        if status == 429:
            assert response.headers["retry-after"] == "7"


def test_a_failure_within_a_stream_ends_it_with_an_error(tmp_path: Path) -> None:
    backend = StandInBackend(failure=BackendError("it broke."), fails_after=2)
    with client_of(make_app(tmp_path, backend=backend)) as client:
        response = client.post("/v1/chat/completions", json=chat(stream=True))
        assert response.status_code == 200
        last = response.text.rstrip().rpartition("data: ")[2]
        assert json.loads(last)["error"]["message"] == "it broke."
        assert "[DONE]" not in response.text
        assert 'router_errors_total{kind="backend_backend"} 1.0' in client.get("/metrics").text


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_work(tmp_path: Path, stream: bool) -> None:
    backend = StandInBackend(words=1000, seconds=0.02)
    with client_of(make_app(tmp_path, backend=backend)) as client:
        body = json.dumps(chat(stream=stream)).encode()
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                b"content-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(body), body)
            )
            wait_for(lambda: backend.running == 1)
        wait_for(lambda: backend.running == 0)
        assert backend.cancelled == 1
        wait_for(lambda: client.server.services.gate.in_flight == 0)
        count = 'router_request_seconds_count{route="/v1/chat/completions",status="499"} 1.0'
        assert count in client.get("/metrics").text


def test_who_leaves_the_queue_is_never_answered(tmp_path: Path) -> None:
    backend = StandInBackend(words=1, seconds=0.4)
    app = make_app(tmp_path, backend=backend, concurrency=1, queue_size=1)
    with client_of(app) as client:
        first = threading.Thread(target=lambda: client.post("/v1/chat/completions", json=chat()))
        first.start()
        wait_for(lambda: backend.running == 1)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=chat(), timeout=0.1)
        wait_for(lambda: client.server.services.gate.waiting == 0)
        first.join()
        assert len(backend.requests) == 1


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path, body_timeout=0.1)) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(
                b"POST /route HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: 100\r\n\r\n{"
            )
            connection.settimeout(5)
            answer = b""
            while part := connection.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 408")


def large_bodies() -> list[Any]:
    return [
        pytest.param(b"x" * 5000, id="announced"),
        pytest.param([b"x" * 1000] * 10, id="chunked"),
        pytest.param(b"x" * 100_000, id="far too long"),
    ]


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize("content", large_bodies())
def test_long_bodies_are_refused(tmp_path: Path, content: Any) -> None:
    with client_of(make_app(tmp_path, max_body_bytes=2000)) as client:
        kind = {"content-type": "application/json"}
        response = client.post("/route", content=content, headers=kind)
        assert (response.status_code, code_of(response)) == (413, "body_too_large")
        assert client.get("/healthz").status_code == 200


@pytest.fixture(params=["h11", "httptools"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uvicorn parse with one or the other."""
    if request.param == "h11":
        monkeypatch.setattr(connections.importlib.util, "find_spec", lambda name: None)
    else:
        pytest.importorskip("httptools")


@pytest.mark.usefixtures("_parser")
def test_long_headers_are_refused(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path, max_header_bytes=4096)) as client:
        response = client.get("/healthz", headers={"x-long": "x" * 20_000})
        assert (response.status_code, code_of(response)) == (431, "headers_too_large")
        assert client.get("/healthz", params={"long": "x" * 5000}).status_code == 431
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.settimeout(5)
            for part in (b"GET / HTTP/1.1\r\nx-a: ", *[b"x" * 1000] * 5):  # without an end
                connection.sendall(part)
                time.sleep(0.01)
            answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 431")


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: "])
@pytest.mark.parametrize("after_a_request", [False, True])
def test_connections_without_a_request_are_closed(
    tmp_path: Path, sent: bytes, after_a_request: bool
) -> None:
    settings = {"header_timeout": 0.2, "keep_alive_seconds": 0.2}
    with client_of(make_app(tmp_path, **settings)) as client:
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.settimeout(5)
            if after_a_request:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                while b'{"status":"ok"}' not in connection.recv(4096):
                    pass
            connection.sendall(sent)
            start = time.perf_counter()
            assert connection.recv(4096) == b""
            assert time.perf_counter() - start < 2


@pytest.mark.usefixtures("_parser")
def test_a_slow_answer_keeps_its_connection(tmp_path: Path) -> None:
    backend = StandInBackend(words=1, seconds=0.5)
    with client_of(make_app(tmp_path, backend=backend, header_timeout=0.1)) as client:
        for _ in range(2):
            assert client.post("/v1/chat/completions", json=chat()).status_code == 200


class Talkative(StandInBackend):
    """Writes until it is stopped, as fast as it is let."""

    async def stream(
        self, adapter: str, request: ChatRequest, *, request_id: str
    ) -> AsyncIterator[Piece]:
        self.running += 1
        try:
            while True:
                await asyncio.sleep(0)
                yield Piece("x" * 2**17)
        finally:
            self.running -= 1


def test_a_client_that_does_not_read_loses_its_place(tmp_path: Path) -> None:
    backend = Talkative()
    app = make_app(tmp_path, backend=backend, concurrency=1, request_timeout=1.0)
    body = json.dumps(chat(stream=True)).encode()
    with client_of(app) as client, socket.socket() as connection:
        gate = client.server.services.gate
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", client.base_url.port))
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        wait_for(lambda: backend.running == 1)
        assert gate.in_flight == 1
        wait_for(lambda: gate.in_flight == 0, seconds=2.5)
        assert backend.running == 0
        metrics = client.get("/metrics").text
        assert 'router_errors_total{kind="client_stuck"} 1.0' in metrics
        connections = client.server._server.server_state.connections
        assert len(connections) == 2
        wait_for(lambda: len(connections) == 1)  # without anything having been read


def test_the_parts_of_a_message_are_limited_together(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "a" * 60}, {"type": "text", "text": "b" * 60}]
    with client_of(make_app(tmp_path, max_prompt_chars=100)) as client:
        body = chat() | {"messages": [{"role": "user", "content": parts}]}
        response = client.post("/v1/chat/completions", json=body)
        assert response.status_code == 422
        assert "121 characters, more than 100" in response.json()["error"]["message"]
        body["messages"][0]["content"] = parts[:1]
        assert client.post("/v1/chat/completions", json=body).status_code == 200
