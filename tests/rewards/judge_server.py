"""A real HTTP server on loopback that speaks the chat-completions protocol, and misbehaves."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from routing_gym.rewards.judge import LLMJudge
from routing_gym.rewards.judge_settings import JudgeSettings
from routing_gym.rewards.metric import Answer

Brain = Callable[[dict[str, Any]], str]
Make = Callable[..., LLMJudge]
KEY = "sk-very-secret-0123456789"
QUERY = "What is the capital of France?"
PARIS, LYON, LONG = Answer(QUERY, "Paris."), Answer(QUERY, "Lyon."), Answer(QUERY, "Lyon, surely.")
SECTION = re.compile(r"<<(question|answer(?: [AB])?) (\w+)>>\n(.*?)\n<<end \2>>", re.DOTALL)


@dataclass
class Step:
    """What the server does with one request, instead of answering it properly.

    ``content`` replaces the model's words, ``body`` the whole HTTP body.
    """

    status: int = 200
    content: str | None = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    usage: bool = True
    finish_reason: str = "stop"
    refusal: str | None = None


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    seconds: float


def sections(body: dict[str, Any]) -> dict[str, str]:
    """Question and answers out of a request's first user message."""
    text = body["messages"][1]["content"]
    return {name: content for name, _, content in SECTION.findall(text)}


def rate(rating: object, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "rating": rating})


def choose(winner: object, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "winner": winner})


def knows_paris(body: dict[str, Any]) -> str:
    """A judge that knows the capital, and between equals prefers what it sees first."""
    shown = sections(body)
    if "answer" in shown:
        return rate(5 if "Paris" in shown["answer"] else 1 + len(shown["answer"].split()))
    right = {name: "Paris" in shown[f"answer {name}"] for name in "AB"}
    return choose("A" if right["A"] or not right["B"] else "B")


def numbered(count: int) -> list[Answer]:
    """Different right answers."""
    return [Answer(QUERY, f"Paris {i}") for i in range(count)]


def make_judge(server: JudgeServer, **settings: Any) -> LLMJudge:
    """A judge at the server that never sleeps."""
    made = JudgeSettings(**{"model": "m", "base_url": server.url, **settings})
    return LLMJudge(made, sleep=lambda seconds: None)


class JudgeServer:
    """Answers by ``brain``; each of ``steps`` is done to one request first, in their order."""

    def __init__(
        self,
        brain: Brain,
        *,
        key: str = "",
        steps: Sequence[Step] = (),
        formats: Sequence[str] = ("json_schema", "json_object"),
    ) -> None:
        self.brain, self.key, self.formats = brain, key, formats
        self.steps = deque(steps)
        self.seen: list[Seen] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> JudgeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, seen: Seen) -> Step | None:
        with self._lock:
            self.seen.append(seen)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.steps.popleft() if self.steps else None

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def refusal(self, seen: Seen) -> tuple[int, bytes] | None:
        """Refuse what a real server refuses, quoting the key as careless ones do."""
        given = seen.headers.get("authorization", "")
        if self.key and given != f"Bearer {self.key}":
            return 401, error(f"Incorrect API key provided: {given}", "invalid_api_key")
        if seen.path != "/v1/chat/completions":
            return 404, error(f"no such path {seen.path}")
        if not isinstance(seen.body.get("model"), str) or not seen.body.get("messages"):
            return 400, error("model and messages are required")
        kind = seen.body.get("response_format", {}).get("type")
        if kind and kind not in self.formats:
            return 400, error(f"This model does not support response format `{kind}`.")
        if kind == "json_schema" and not seen.body["response_format"]["json_schema"].get("schema"):
            return 400, error("response_format.json_schema.schema is required")
        return None


def error(message: str, code: str | None = None) -> bytes:
    content = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return json.dumps({"error": content}).encode()


def completion(model: str, text: str | None, step: Step) -> bytes:
    message = {"role": "assistant", "content": text, "refusal": step.refusal}
    content: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": step.finish_reason}],
    }
    if step.usage:
        content["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return json.dumps(content).encode()


def _handler(server: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.path, headers, json.loads(raw), time.monotonic())
            step = server.take(seen) or Step()
            try:
                if step.delay:
                    time.sleep(step.delay)
                reply = None if step.drop else self.status_and_body(seen, step)
            finally:
                server.leave()
            if reply is None:
                self.close_connection = True
                return
            try:
                self.answer(*reply, step.headers)
            except (BrokenPipeError, ConnectionResetError):  # the client did not wait
                self.close_connection = True

        def status_and_body(self, seen: Seen, step: Step) -> tuple[int, bytes]:
            if step.body is not None:
                return step.status, step.body
            if step.status != 200:
                return step.status, error(f"status {step.status}")
            refused = server.refusal(seen)
            if refused:
                return refused
            text = step.content
            if text is None and step.refusal is None:
                text = server.brain(seen.body)
            return 200, completion(seen.body["model"], text, step)

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    return Handler
