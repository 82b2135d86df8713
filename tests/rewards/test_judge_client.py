from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from routing_gym.rewards.judge_client import ChatClient, parse_retry_after
from routing_gym.rewards.judge_cost import Tokens
from routing_gym.rewards.judge_errors import CallError, JudgeError, KeyRefusedError
from routing_gym.rewards.judge_settings import JudgeSettings
from tests.rewards.judge_server import JudgeServer, Step, error

MESSAGES = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Well?"}]
SCHEMA = {"type": "object", "properties": {}}
KEY = "sk-very-secret-0123456789"


class Naps:
    """A sleep that only remembers how long it should have slept."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with JudgeServer(lambda body: "fine", key=KEY) as running:
        yield running


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def ask(server: JudgeServer, naps: Naps) -> Callable[..., Any]:
    def send(**settings: Any) -> Any:
        made = JudgeSettings(model="m", base_url=server.url, **settings)
        with ChatClient(made, sleep=naps) as client:
            return client.ask(MESSAGES, schema=SCHEMA, name="verdict")

    return send


def test_one_request_in_the_official_protocol(server: JudgeServer, ask: Any) -> None:
    reply = ask(request={"temperature": 0.0, "seed": 7})
    assert (reply.text, reply.tokens, reply.complaint) == ("fine", Tokens(100, 10), "")
    (seen,) = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body["model"] == "m"
    assert seen.body["messages"] == MESSAGES
    assert (seen.body["temperature"], seen.body["seed"]) == (0.0, 7)
    assert seen.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
    }


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_passing_trouble_is_tried_again(
    status: int, server: JudgeServer, ask: Any, naps: Naps
) -> None:
    server.steps.extend([Step(status=status)] * 3)
    assert ask().text == "fine"
    assert len(server.seen) == 4
    # 1, 2 and 4 seconds, each with up to one second of jitter
    for power, seconds in enumerate(naps.seconds):
        assert 2**power <= seconds <= 2**power + 1
    assert len(set(naps.seconds)) == 3


def test_tries_are_bounded(server: JudgeServer, ask: Any, naps: Naps) -> None:
    server.steps.extend([Step(status=503)] * 10)
    with pytest.raises(CallError, match="HTTP 503"):
        ask(attempts=4)
    assert len(server.seen) == 4
    assert len(naps.seconds) == 3


def test_back_off_is_bounded(server: JudgeServer, ask: Any, naps: Naps) -> None:
    server.steps.extend([Step(status=503)] * 9)
    assert ask(attempts=10, longest_wait=5.0).text == "fine"
    assert max(naps.seconds) == 5.0


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "2500", "Retry-After": "9"}, 2.5),
    ],
)
def test_retry_after_is_kept(
    headers: dict[str, str], least: float, server: JudgeServer, ask: Any, naps: Naps
) -> None:
    server.steps.extend([Step(status=429, headers=headers), Step(status=503, headers=headers)])
    assert ask().text == "fine"
    assert len(naps.seconds) == 2
    assert all(least <= seconds <= least + 0.25 for seconds in naps.seconds)


def test_retry_after_as_a_date(server: JudgeServer, ask: Any, naps: Naps) -> None:
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    server.steps.append(Step(status=429, headers={"Retry-After": date}))
    assert ask().text == "fine"
    assert 20 <= naps.seconds[0] <= 30.25


def test_retry_after_is_really_waited_for(server: JudgeServer) -> None:
    server.steps.append(Step(status=429, headers={"Retry-After": "0.3"}))
    with ChatClient(JudgeSettings(model="m", base_url=server.url)) as client:
        client.ask(MESSAGES, schema=SCHEMA, name="verdict")
    first, second = server.seen
    assert second.seconds - first.seconds >= 0.3


def test_a_wait_too_long_is_not_waited(server: JudgeServer, ask: Any, naps: Naps) -> None:
    server.steps.append(Step(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(CallError, match=r"wait 3600 s, longer than longest_wait=120"):
        ask()
    assert len(server.seen) == 1
    assert not naps.seconds


def test_a_slow_server(server: JudgeServer, ask: Any, naps: Naps) -> None:
    server.steps.append(Step(delay=0.6))
    assert ask(timeout=0.2).text == "fine"
    assert len(naps.seconds) == 1
    server.steps.extend([Step(delay=0.6)] * 2)
    with pytest.raises(CallError, match=r"did not answer within 0\.2 s"):
        ask(timeout=0.2, attempts=2)


def test_a_lost_connection(server: JudgeServer, ask: Any, naps: Naps) -> None:
    server.steps.extend([Step(drop=True)] * 2)
    assert ask().text == "fine"
    assert len(naps.seconds) == 2


def test_nobody_listens(naps: Naps) -> None:
    with socket.socket() as bound:  # bound and not listening: the port stays free of others
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        settings = JudgeSettings(model="m", base_url=url, attempts=3)
        with ChatClient(settings, sleep=naps) as client, pytest.raises(CallError) as raised:
            client.ask(MESSAGES, schema=SCHEMA, name="verdict")
    assert str(raised.value) == f"no connection to {url} (ConnectError)"
    assert len(naps.seconds) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_fails_at_once(status: int, server: JudgeServer, ask: Any) -> None:
    said = error(f"Incorrect API key provided: {KEY}", "invalid_api_key")
    server.steps.append(Step(status=status, body=said))
    with pytest.raises(KeyRefusedError) as raised:
        ask()
    assert str(raised.value) == (
        f"{server.url} refused the key of the environment variable OPENAI_API_KEY (HTTP {status}): "
        "check that it is valid, and allowed to use 'm'."
    )
    assert len(server.seen) == 1


def test_a_missing_key(server: JudgeServer, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(KeyRefusedError, match=r"wants a key \(HTTP 401\): export it"):
        ask()


def test_a_local_server_without_a_key(monkeypatch: pytest.MonkeyPatch, naps: Naps) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with JudgeServer(lambda body: "fine") as server:
        settings = JudgeSettings(model="m", base_url=server.url)
        with ChatClient(settings, sleep=naps) as client:
            assert client.ask(MESSAGES, schema=SCHEMA, name="verdict").text == "fine"


def test_another_variable(server: JudgeServer, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    assert ask(key_variable="GROQ_API_KEY").text == "fine"


def test_the_client_s_own_exception_does_not_follow(server: JudgeServer, ask: Any) -> None:
    server.steps.append(Step(status=400, body=error(f"what is {KEY}?")))
    with pytest.raises(CallError) as raised:
        ask()
    assert str(raised.value) == "HTTP 400: what is [key]?"
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("formats", "sent"),
    [
        (["json_schema", "json_object"], ["json_schema"]),
        (["json_object"], ["json_schema", "json_object"]),
        ([], ["json_schema", "json_object", None]),
    ],
)
def test_structured_output_where_the_server_has_it(
    formats: list[str], sent: list[str | None], server: JudgeServer, naps: Naps
) -> None:
    server.formats = formats
    with ChatClient(JudgeSettings(model="m", base_url=server.url), sleep=naps) as client:
        for _ in range(2):
            assert client.ask(MESSAGES, schema=SCHEMA, name="verdict").text == "fine"
    kinds = [seen.body.get("response_format", {}).get("type") for seen in server.seen]
    assert kinds == [*sent, sent[-1]]  # what was refused is not tried again
    assert not naps.seconds


def test_a_fixed_format_is_not_exchanged(server: JudgeServer, ask: Any) -> None:
    server.formats = []
    with pytest.raises(CallError, match="does not support response format"):
        ask(structured="json_schema")
    assert ask(structured="none").text == "fine"


@pytest.mark.parametrize(
    ("step", "kind", "match"),
    [
        (Step(status=404, body=error("no model m")), JudgeError, "does not know the model 'm'"),
        (Step(status=429, body=error("x", "insufficient_quota")), JudgeError, "no money left"),
        (Step(status=400, body=error("too long")), CallError, "HTTP 400: .*too long"),
        (Step(status=422, body=error("bad")), CallError, "HTTP 422"),
    ],
)
def test_lasting_trouble_is_not_tried_again(
    step: Step, kind: type[Exception], match: str, server: JudgeServer, ask: Any
) -> None:
    server.steps.append(step)
    with pytest.raises(kind, match=match):
        ask()
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "step",
    [
        Step(body=b"<html>busy</html>", headers={"Content-Type": "text/html"}),
        Step(body=b'{"choices": [{"mess'),
        Step(body=b'{"choices": []}'),
        Step(body=b'{"choices": null, "usage": 3}'),
        Step(body=b"[]"),
        Step(body=b"null"),
        Step(body=b""),
        Step(status=400, body=error("Failed to generate JSON", "json_validate_failed")),
    ],
)
def test_a_body_that_is_no_completion_is_asked_again(
    step: Step, server: JudgeServer, ask: Any
) -> None:
    server.steps.append(step)
    assert ask().text == "fine"
    assert len(server.seen) == 2


def test_a_server_that_never_completes(server: JudgeServer, ask: Any) -> None:
    server.steps.extend([Step(body=b"[]")] * 3)
    with pytest.raises(CallError, match="no chat completion"):
        ask(attempts=3)
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("step", "text", "complaint"),
    [
        (Step(content="", finish_reason="length"), "", "limit of tokens"),
        (Step(content='{"rea', finish_reason="length"), '{"rea', "limit of tokens"),
        (Step(refusal="I can't."), "", "declined"),
        (Step(body=b'{"choices": [{"message": {"content": 7}}]}'), "", "no text"),
    ],
)
def test_answers_that_are_of_no_use(
    step: Step, text: str, complaint: str, server: JudgeServer, ask: Any
) -> None:
    server.steps.append(step)
    reply = ask()
    assert reply.text == text
    assert complaint in reply.complaint


@pytest.mark.parametrize(
    "usage",
    ["null", "{}", '{"prompt_tokens": "9", "completion_tokens": 1}', '{"prompt_tokens": -1}'],
)
def test_unknown_tokens_are_not_made_up(usage: str, server: JudgeServer, ask: Any) -> None:
    body = f'{{"choices": [{{"message": {{"content": "fine"}}}}], "usage": {usage}}}'
    server.steps.append(Step(body=body.encode()))
    assert ask().tokens is None


def test_an_echoed_key_is_hidden(server: JudgeServer, ask: Any) -> None:
    server.steps.append(Step(content=f"your key is {KEY}!"))
    assert ask().text == "your key is [key]!"


def test_stop_ends_the_waiting(server: JudgeServer) -> None:
    server.steps.append(Step(status=429, headers={"Retry-After": "100"}))
    with ChatClient(JudgeSettings(model="m", base_url=server.url)) as client:
        threading.Timer(0.2, client.stop).start()
        start = time.monotonic()
        with pytest.raises(CallError, match="stopped"):
            client.ask(MESSAGES, schema=SCHEMA, name="verdict")
    assert time.monotonic() - start < 5
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_by_hand(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers) == seconds
