"""The relay to an upstream server, against a real one that misbehaves."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

pytest.importorskip("httpx")

from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendEvicted,
    BackendRefused,
    BackendTimeout,
    Message,
    Piece,
    Usage,
)
from routing_gym.serving.openai_backend import OpenAIBackend
from routing_gym.serving.timeouts import Timeouts
from tests.serving.relay import QUICK, answer_of, asked, read_into, text_of, with_backend
from tests.serving.upstream import BASE_MODEL, PROMPT_TOKENS, WORDS, Upstream
from tests.serving.waiting import until


@pytest.mark.parametrize(("adapter", "model"), [("base", BASE_MODEL), ("one", "one")])
def test_events_are_relayed_verbatim(adapter: str, model: str) -> None:
    extra = {"stream_options": {"include_usage": True}, "top_p": 0.5, "tools": [{"a": 1}]}
    with Upstream() as upstream:
        request = asked(extra=extra, stop=("\n",), seed=3, temperature=0.5)
        pieces = with_backend(upstream, lambda b: answer_of(b, adapter, request))
        seen = upstream.seen[-1]
        assert b"".join(piece.raw or b"" for piece in pieces) == upstream.sent["r-1"]
    assert text_of(pieces) == model + "".join(WORDS)
    assert [p.finish_reason for p in pieces if p.finish_reason] == ["stop"]
    assert [p.usage for p in pieces if p.usage] == [Usage(PROMPT_TOKENS, len(WORDS) + 1)]
    assert seen.body == {
        **extra,
        "model": model,
        "messages": [{"role": "user", "content": "Who?"}],
        "max_tokens": 32,
        "temperature": 0.5,
        "stop": ["\n"],
        "seed": 3,
        "stream": True,
    }
    assert seen.headers["x-request-id"] == "r-1"
    assert "authorization" not in seen.headers


def test_usage_is_known_but_not_relayed_unasked() -> None:
    with Upstream() as upstream:
        pieces = with_backend(upstream, lambda b: answer_of(b, "one", asked()))
    usage = [piece for piece in pieces if piece.usage]
    assert len(usage) == 1
    assert usage[0] == Piece(usage=Usage(PROMPT_TOKENS, len(WORDS) + 1))
    assert pieces[-1].raw == b"data: [DONE]\n\n"


def test_a_server_need_not_be_asked_for_usage() -> None:
    with Upstream() as upstream:
        pieces = with_backend(upstream, lambda b: answer_of(b, "one", asked()), ask_usage=False)
        assert "stream_options" not in upstream.seen[-1].body
    assert not any(piece.usage for piece in pieces)


def test_a_whole_answer_is_relayed_verbatim() -> None:
    with Upstream() as upstream:
        (piece,) = with_backend(upstream, lambda b: answer_of(b, "two", asked(streaming=False)))
        assert upstream.seen[-1].body["stream"] is False
    assert piece.text == "two" + "".join(WORDS)
    assert piece.finish_reason == "stop"
    assert piece.usage == Usage(PROMPT_TOKENS, len(WORDS) + 1)
    assert json.loads(piece.raw or b"")["choices"][0]["message"]["own_field"] == [1, 2]


def test_budgets_reach_the_server() -> None:
    with Upstream() as upstream:
        pieces = with_backend(upstream, lambda b: answer_of(b, "one", asked(max_tokens=2)))
    assert text_of(pieces) == "one says"
    assert [p.finish_reason for p in pieces if p.finish_reason] == ["length"]


def test_messages_are_relayed_as_the_client_sent_them() -> None:
    payload = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    request = asked(messages=(Message("system", "Be brief."), Message("user", "", payload)))
    with Upstream() as upstream:
        with_backend(upstream, lambda b: answer_of(b, "one", request))
        assert upstream.seen[-1].body["messages"] == [
            {"role": "system", "content": "Be brief."},
            payload,
        ]


FAULTS = [
    ("hang", BackendTimeout, r"the upstream server did not begin its answer within 0.5 s", 0),
    ("hang_later", BackendTimeout, r"fell silent for 0.4 s in the middle", 4),
    ("reset", BackendError, r"broke off its answer \(ReadError\)", None),
    ("cut", BackendError, r"broke off its answer", 4),
    ("busy", BackendBusy, r"is busy: Model is overloaded\.", 0),
    ("error", BackendError, r"answered with status 500: Internal Server Error\.", 0),
    ("unavailable", BackendError, r"answered with status 503\.", 0),
    ("bad_request", BackendRefused, r"refused the request: .* maximum context length is 12", 0),
    ("broken_json", BackendError, r"sent an event of broken JSON", 0),
    ("broken_later", BackendError, r"sent an event of broken JSON", 3),
    ("evicted", BackendEvicted, r"answered as 'tiny/base' for adapter 'one', which it seems", 0),
    ("error_event", BackendError, r"reported an error: CUDA out of memory", 3),
    ("no_finish", BackendError, r"ended its answer without a finish reason", None),
    ("not_a_stream", BackendError, r"answered with application/json, not a stream", 0),
    ("empty", BackendError, r"sent an answer without choices", 0),
    ("endless", BackendError, r"sent an event of over \d+ bytes", 0),
]


@pytest.mark.parametrize(("mode", "kind", "match", "count"), FAULTS, ids=[f[0] for f in FAULTS])
def test_faults_of_streams(
    mode: str, kind: type[BackendError], match: str, count: int | None
) -> None:
    read: list[Piece] = []

    async def use(backend: OpenAIBackend) -> str:
        with pytest.raises(kind, match=match) as caught:
            await read_into(read, backend)
        assert type(caught.value) is kind
        upstream.mode = "fine"
        return text_of(await answer_of(backend, "two", asked()))

    patience = QUICK if mode.startswith("hang") else Timeouts()
    with Upstream() as upstream:
        text = with_backend(upstream, use, mode=mode, timeouts=patience)
        assert text == "two" + "".join(WORDS)
        assert upstream.at_once == 0
    assert count is None or len(read) == count


WHOLE_FAULTS = [
    ("hang", BackendTimeout, "did not begin its answer within 0.5 s"),
    ("busy", BackendBusy, "Model is overloaded"),
    ("error", BackendError, "status 500"),
    ("broken_json", BackendError, "sent an answer of broken JSON"),
    ("empty", BackendError, "sent an answer without choices"),
    ("evicted", BackendEvicted, "answered as 'tiny/base' for adapter 'one'"),
]


@pytest.mark.parametrize(("mode", "kind", "match"), WHOLE_FAULTS, ids=[f[0] for f in WHOLE_FAULTS])
def test_faults_of_whole_answers(mode: str, kind: type[BackendError], match: str) -> None:
    async def use(backend: OpenAIBackend) -> None:
        with pytest.raises(kind, match=match):
            await answer_of(backend, "one", asked(streaming=False))

    with Upstream() as upstream:
        with_backend(upstream, use, mode=mode)


@pytest.mark.parametrize("streaming", [True, False])
def test_the_base_may_sign_its_own_answers(streaming: bool) -> None:
    with Upstream() as upstream:
        request = asked(streaming=streaming)
        pieces = with_backend(upstream, lambda b: answer_of(b, "base", request), mode="evicted")
    assert text_of(pieces).startswith(BASE_MODEL)


def test_busy_servers_say_for_how_long() -> None:
    async def use(backend: OpenAIBackend) -> float:
        with pytest.raises(BackendBusy) as caught:
            await answer_of(backend, "one", asked())
        return caught.value.retry_after

    with Upstream() as upstream:
        assert with_backend(upstream, use, mode="busy") == 7


def test_a_missing_done_is_added() -> None:
    with Upstream() as upstream:
        pieces = with_backend(upstream, lambda b: answer_of(b, "one", asked()), mode="no_done")
    assert text_of(pieces) == "one" + "".join(WORDS)
    assert pieces[-1].raw == b"data: [DONE]\n\n"


def test_slow_tokens_come_one_by_one_within_their_patience() -> None:
    times: list[float] = []

    async def use(backend: OpenAIBackend) -> None:
        async for piece in backend.stream("one", asked(), request_id="r-1"):
            if piece.text:
                times.append(time.monotonic())

    with Upstream() as upstream:
        with_backend(upstream, use, mode="slow")
    assert len(times) == len(WORDS) + 1
    assert times[-1] - times[0] > 0.2


def test_a_slow_answer_has_an_end() -> None:
    async def use(backend: OpenAIBackend) -> None:
        with pytest.raises(BackendTimeout, match=r"did not finish its answer within 0.3 s"):
            await answer_of(backend, "one", asked())

    with Upstream() as upstream:
        patience = Timeouts(connect=1, first=5, between=5, total=0.3)
        with_backend(upstream, use, mode="slow", timeouts=patience, probe=False)
        assert until(lambda: upstream.cancelled == ["r-1"])


def arrived(upstream: Upstream) -> list[str]:
    """Request ids of what has arrived, the probes' among them."""
    return [one.headers.get("x-request-id", "") for one in upstream.seen]


@pytest.mark.parametrize("mode", ["slow", "hang_later"])
def test_closing_the_iterator_cancels_upstream(mode: str) -> None:
    async def use(backend: OpenAIBackend) -> None:
        pieces = backend.stream("one", asked(), request_id="left")
        await anext(pieces)
        await pieces.aclose()
        assert await asyncio.to_thread(until, lambda: upstream.cancelled == ["left"])

    with Upstream() as upstream:
        with_backend(upstream, use, mode=mode)
        assert upstream.at_once == 0


@pytest.mark.parametrize("streaming", [True, False])
def test_cancelling_the_task_cancels_upstream(streaming: bool) -> None:
    async def use(backend: OpenAIBackend) -> None:
        request = asked(streaming=streaming)
        task = asyncio.ensure_future(answer_of(backend, "one", request, request_id="left"))
        await asyncio.to_thread(until, lambda: "left" in arrived(upstream))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(until, lambda: upstream.cancelled == ["left"])

    with Upstream() as upstream:
        with_backend(upstream, use, mode="hang")


def test_requests_at_once_are_limited() -> None:
    async def use(backend: OpenAIBackend) -> None:
        asks = [answer_of(backend, "one", asked(), request_id=str(i)) for i in range(4)]
        await asyncio.gather(*asks)

    with Upstream() as upstream:
        with_backend(upstream, use, mode="slow", concurrency=2, timeouts=Timeouts())
        assert upstream.most_at_once == 2
        assert set(upstream.sent) == set("0123")


def test_who_leaves_as_a_slot_comes_neither_runs_on_nor_keeps_it() -> None:
    async def use(backend: OpenAIBackend) -> None:
        first = backend.stream("one", asked(), request_id="1")
        await anext(first)
        second = asyncio.ensure_future(answer_of(backend, "one", asked(), request_id="2"))
        await asyncio.sleep(0.05)
        await first.aclose()  # gives the slot to the second,
        second.cancel()  # who has not run since
        with pytest.raises(asyncio.CancelledError):
            await second
        upstream.mode = "fine"
        assert text_of(await answer_of(backend, "one", asked())).startswith("one")
        assert "2" not in [seen.headers["x-request-id"] for seen in upstream.seen]

    with Upstream() as upstream:
        with_backend(upstream, use, mode="hang_later", concurrency=1)


def test_waiting_for_a_slot_ends_as_busy() -> None:
    async def use(backend: OpenAIBackend) -> None:
        first = backend.stream("one", asked(), request_id="1")
        await anext(first)
        with pytest.raises(BackendBusy, match="1 requests are at the upstream server already"):
            await answer_of(backend, "one", asked())
        await first.aclose()
        upstream.mode = "fine"
        assert text_of(await answer_of(backend, "one", asked())).startswith("one")

    with Upstream() as upstream:
        patience = Timeouts(connect=0.2, first=5, between=5, total=5)
        with_backend(upstream, use, mode="hang_later", concurrency=1, timeouts=patience)
