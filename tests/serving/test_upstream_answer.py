"""Reading what an upstream server sends, byte by byte if need be."""

from __future__ import annotations

import email.utils
import json
import time

import pytest

from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendEvicted,
    BackendRefused,
    Piece,
    Usage,
)
from routing_gym.serving.upstream_answer import (
    EventSplitter,
    Speaker,
    event_data,
    listed_models,
    piece_of_body,
    piece_of_event,
    refusal,
)

STREAM = (
    b'data: {"a": "caf\xc3\xa9"}\n\n'
    b": ping\r\n\r\n"
    b"event: x\r\ndata: one\r\ndata: two\r\n\r\n"
    b"data: [DONE]\r\r"
)
EVENTS = [
    b'data: {"a": "caf\xc3\xa9"}\n\n',
    b": ping\r\n\r\n",
    b"event: x\r\ndata: one\r\ndata: two\r\n\r\n",
    b"data: [DONE]\r\r",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_cut_wherever_the_bytes_are(size: int) -> None:
    splitter = EventSplitter()
    parts = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert [event for part in parts for event in splitter.feed(part)] == EVENTS
    assert not splitter.unfinished
    splitter.feed(b"data: 1")
    assert splitter.unfinished


def test_data_of_events() -> None:
    expected = [b'{"a": "caf\xc3\xa9"}', None, b"one\ntwo", b"[DONE]"]
    assert [event_data(event) for event in EVENTS] == expected
    assert event_data(b"data:no blank\n\n") == b"no blank"


def event_of(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("content", "text", "reason", "usage"),
    [
        ({"choices": [{"index": 0, "delta": {"content": "a"}}]}, "a", None, None),
        ({"choices": [{"index": 0, "delta": {"content": None}}]}, "", None, None),
        ({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}, "", "length", None),
        ({"choices": [{"index": 1, "delta": {"content": "b"}}]}, "", None, None),
        ({"choices": [{"delta": {"tool_calls": [{"id": "x"}]}}]}, "", None, None),
        (
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
            "",
            None,
            Usage(3, 4),
        ),
        ({"choices": [], "usage": {"prompt_tokens": "x"}}, "", None, Usage(0, 0)),
    ],
)
def test_chunks(content: object, text: str, reason: str | None, usage: Usage | None) -> None:
    event = event_of(content)
    assert piece_of_event(event) == Piece(text, reason, usage, event)


@pytest.mark.parametrize(
    ("event", "match"),
    [
        (b"data: {\n\n", "sent an event of broken JSON"),
        (b"data: \xff\xfe\n\n", "sent an event of broken JSON"),
        (b"data: [1]\n\n", "sent an event that is no JSON object"),
        (event_of({"choices": 3}), "sent an answer without choices"),
        (event_of({"error": {"message": "no  memory."}}), r"reported an error: no memory\."),
        (event_of({"error": True}), r"reported an error\."),
    ],
)
def test_bad_events(event: bytes, match: str) -> None:
    with pytest.raises(BackendError, match=match):
        piece_of_event(event)


@pytest.mark.parametrize("model", ["lora-1", "/models/base", "", None, 3, ["tiny/base"]])
def test_names_of_no_other_model_are_accepted(model: object) -> None:
    speaker = Speaker("one", frozenset({"tiny/base", "lora-2"}))
    content = {"model": model, "choices": [{"message": {"content": "a"}, "delta": {}}]}
    assert piece_of_event(event_of(content), speaker).text == ""
    assert piece_of_body(json.dumps(content).encode(), speaker).text == "a"


@pytest.mark.parametrize("model", ["tiny/base", "lora-2"])
def test_names_of_other_models_are_refused(model: str) -> None:
    speaker = Speaker("one", frozenset({"tiny/base", "lora-2"}))
    content = {"model": model, "choices": [{"message": {"content": "a"}, "delta": {}}]}
    match = rf"the upstream server answered as '{model}' for adapter 'one', .* load the adapter"
    with pytest.raises(BackendEvicted, match=match) as caught:
        piece_of_event(event_of(content), speaker)
    assert (caught.value.status, caught.value.kind) == (502, "evicted")
    with pytest.raises(BackendEvicted, match=match):
        piece_of_body(json.dumps(content).encode(), speaker)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"<html>", "sent an answer of broken JSON"),
        (b'{"choices": []}', "sent an answer without choices"),
        (b'{"choices": [{"text": "a"}]}', "sent an answer without a message"),
    ],
)
def test_bad_bodies(body: bytes, match: str) -> None:
    with pytest.raises(BackendError, match=match):
        piece_of_body(body)


def test_a_whole_answer_always_has_a_finish_reason() -> None:
    body = b'{"choices": [{"message": {"content": "a"}}]}'
    assert piece_of_body(body) == Piece("a", "stop", None, body)


@pytest.mark.parametrize("body", [b"{}", b'{"data": 3}', b"[]", b"x"])
def test_bad_lists_of_models(body: bytes) -> None:
    with pytest.raises(BackendError, match="list of models"):
        listed_models(body)


@pytest.mark.parametrize(
    ("status", "kind", "ours"),
    [
        (400, BackendRefused, 400),
        (401, BackendError, 502),
        (403, BackendError, 502),
        (404, BackendError, 502),
        (408, BackendError, 502),
        (413, BackendRefused, 413),
        (422, BackendRefused, 422),
        (429, BackendBusy, 429),
        (307, BackendError, 502),
        (500, BackendError, 502),
        (503, BackendError, 502),
    ],
)
def test_statuses(status: int, kind: type[BackendError], ours: int) -> None:
    error = refusal(status, {}, b'{"detail": "why  not, sk-12345678"}', hidden="sk-12345678")
    assert type(error) is kind
    assert error.status == ours
    assert "sk-" not in str(error)
    assert str(error).endswith(".")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("", 1.0),
        ("soon", 1.0),
        ("nan", 1.0),
        ("inf", 3600.0),
        ("in a minute", 60.0),
        (email.utils.formatdate(0, usegmt=True), 0.0),
    ],
)
def test_retry_after(value: str, seconds: float) -> None:
    if value == "in a minute":
        value = email.utils.formatdate(time.time() + 60, usegmt=True)
    error = refusal(429, {"retry-after": value}, b"", hidden="")
    assert isinstance(error, BackendBusy)
    assert error.retry_after == pytest.approx(seconds, abs=2.5)
