"""The pool in the process: the pool's answers, in one batch that changes all the time."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

from routing_gym.adapters.mixed_pool import MixedPool
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.prompt import render_conversation
from routing_gym.adapters.spec import PoolSpec
from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendRefused,
    BackendTimeout,
    ChatRequest,
    Message,
    Piece,
)
from routing_gym.serving.local_backend import LocalBackend
from routing_gym.serving.local_engine import EngineLimits
from routing_gym.serving.timeouts import Timeouts
from tests.adapters.tiny import TEXTS
from tests.serving.local_pool import LONG, NAMES, answer_of, asked, save_pool, text_of, with_backend
from tests.serving.waiting import until


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PoolSpec:
    return save_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def pool(spec: PoolSpec) -> AdapterPool:
    return AdapterPool(spec)


def whole(text: str) -> str:
    """Leave out what a tiny pool begins and does not end: half a character."""
    return text.rstrip("\ufffd").rstrip()


def test_answers_are_the_pools(spec: PoolSpec, pool: AdapterPool) -> None:
    wanted = [(name, text) for text in TEXTS for name in NAMES]

    async def use(backend: LocalBackend) -> list[list[Piece]]:
        return await asyncio.gather(*(answer_of(backend, n, asked(t)) for n, t in wanted))

    answers = with_backend(spec, use, limits=EngineLimits(rows=5))
    for (name, text), pieces in zip(wanted, answers, strict=True):
        (expected,) = pool.generate(name, [text])
        last = pieces[-1]
        assert whole(text_of(pieces)) == whole(expected.text)
        assert [p.finish_reason for p in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert last.finish_reason == ("stop" if expected.finished else "length")
        assert last.usage is not None
        assert last.usage.prompt_tokens == expected.prompt_tokens
        assert last.usage.completion_tokens == expected.completion_tokens


def test_the_last_piece_carries_the_pools_signals(spec: PoolSpec, pool: AdapterPool) -> None:
    wanted = [(name, text) for text in TEXTS for name in NAMES]

    async def use(backend: LocalBackend) -> list[list[Piece]]:
        asks = [asked(t, streaming=bool(n % 2)) for n, (_, t) in enumerate(wanted)]
        pairs = zip(wanted, asks, strict=True)
        return await asyncio.gather(*(answer_of(backend, n, ask) for (n, _), ask in pairs))

    measured = with_backend(spec, use, limits=EngineLimits(rows=5), signals=True)
    plain = with_backend(spec, use, limits=EngineLimits(rows=5))
    for (name, text), pieces, same in zip(wanted, measured, plain, strict=True):
        (expected,) = pool.generate(name, [text])
        signals = pieces[-1].signals
        assert signals is not None
        assert signals.log_probs == pytest.approx(expected.token_log_probs, abs=1e-4)
        assert signals.entropies == pytest.approx(expected.token_entropies, abs=1e-4)
        assert [*pieces[:-1], replace(pieces[-1], signals=None)] == same


def test_sampled_answers_are_the_pools(spec: PoolSpec, pool: AdapterPool) -> None:
    async def use(backend: LocalBackend) -> list[str]:
        requests = [
            asked(TEXTS[0], temperature=0.7, seed=3),
            asked(TEXTS[0], temperature=0.7, seed=4),
            asked(TEXTS[0], temperature=0.7),
            asked(TEXTS[0], temperature=0.7),
            asked(TEXTS[0], temperature=0.7, seed=-1),
        ]
        answers = await asyncio.gather(*(answer_of(backend, "one", r) for r in requests))
        return [text_of(pieces) for pieces in answers]

    texts = with_backend(spec, use)
    ((expected,),) = pool.sample("one", TEXTS[:1], k=1, seed=3, temperature=0.7)
    assert texts[0] == expected.text
    assert len(set(texts)) == len(texts)


def test_a_whole_answer_is_one_piece(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> tuple[list[Piece], list[Piece]]:
        whole = await answer_of(backend, "two", asked(TEXTS[1], streaming=False))
        return whole, await answer_of(backend, "two", asked(TEXTS[1]))

    whole, pieces = with_backend(spec, use)
    assert len(whole) == 1
    assert len(pieces) > 3
    assert whole[0] == Piece(text_of(pieces), pieces[-1].finish_reason, pieces[-1].usage)


def test_stops_end_an_answer(spec: PoolSpec, pool: AdapterPool) -> None:
    (expected,) = pool.generate("one", TEXTS[:1])
    middle = expected.text[len(expected.text) // 2 :][:3]

    async def use(backend: LocalBackend) -> list[Piece]:
        return await answer_of(backend, "one", asked(TEXTS[0], stop=(middle, "never")))

    pieces = with_backend(spec, use)
    assert text_of(pieces) == expected.text[: expected.text.index(middle)].rstrip()
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens < expected.completion_tokens


def test_conversations_go_through_the_template(spec: PoolSpec, pool: AdapterPool) -> None:
    messages = (
        Message("developer", "Be brief."),
        Message("user", "Why?"),
        Message("assistant", "Because."),
        Message("user", "Really?"),
    )
    plain = [{"role": m.role, "content": m.content} for m in messages]
    plain[0]["role"] = "system"
    expected = pool.tokenizer(render_conversation(pool.tokenizer, plain), add_special_tokens=False)[
        "input_ids"
    ]

    async def use(backend: LocalBackend) -> list[Piece]:
        return await answer_of(backend, "one", ChatRequest(messages, max_tokens=3))

    usage = with_backend(spec, use)[-1].usage
    assert usage is not None
    assert usage.prompt_tokens == len(expected)


def test_a_client_that_left_frees_its_row(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> str:
        first = backend.stream("one", LONG, request_id="1")
        await anext(first)
        second = asyncio.ensure_future(answer_of(backend, "two", asked(TEXTS[0], max_tokens=3)))
        await asyncio.sleep(0.05)
        assert not second.done()
        await first.aclose()
        return text_of(await asyncio.wait_for(second, 5))

    assert with_backend(spec, use, limits=EngineLimits(rows=1))


def test_a_client_that_left_before_its_turn_is_never_read(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> None:
        engine = backend._engine
        assert engine is not None
        first = backend.stream("one", LONG, request_id="1")
        await anext(first)
        second = asyncio.ensure_future(answer_of(backend, "two", asked(TEXTS[0])))
        await asyncio.sleep(0.02)
        second.cancel()
        await first.aclose()
        assert await answer_of(backend, "base", asked(TEXTS[0], max_tokens=2))
        assert second.cancelled()
        assert until(lambda: not engine._writing and engine._next is None)

    with_backend(spec, use, limits=EngineLimits(rows=1))


def test_a_client_that_left_while_its_prompt_was_read(
    spec: PoolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing_gym.adapters.open_batch.READ_COLUMNS", 1)

    async def use(backend: LocalBackend) -> None:
        engine = backend._engine
        assert engine is not None
        first = asyncio.ensure_future(answer_of(backend, "one", asked("word " * 60)))
        while not engine._reading:
            await asyncio.sleep(0)
        first.cancel()
        assert text_of(await answer_of(backend, "two", asked(TEXTS[3], max_tokens=3)))
        assert until(lambda: not engine._begun)

    with_backend(spec, use)


def test_too_many_waiting_are_busy(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> None:
        first = backend.stream("one", LONG, request_id="1")
        await anext(first)
        others = [asyncio.ensure_future(answer_of(backend, "two", LONG)) for _ in range(4)]
        done, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(BackendBusy, match="the local pool writes 1 answers and 2 more are wai"):
            await done.pop()
        for other in others:
            other.cancel()
        await first.aclose()

    with_backend(spec, use, limits=EngineLimits(rows=1, waiting=2))


def test_what_does_not_fit_is_refused_alone(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> None:
        fine = asyncio.ensure_future(answer_of(backend, "one", asked(TEXTS[0])))
        for request in (asked("word " * 300), asked(TEXTS[0], max_tokens=490)):
            with pytest.raises(BackendRefused, match=r"together they must be at most 500"):
                await answer_of(backend, "one", request)
        assert text_of(await fine)

    with_backend(spec, use, limits=EngineLimits(cache_tokens=500))


def test_the_cache_bounds_the_rows(spec: PoolSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    most, forward = [0], MixedPool.forward

    def counted(self: MixedPool, adapters: list[str], **inputs: Any) -> Any:
        mask = inputs.get("attention_mask")
        most[0] = max(most[0], 0 if mask is None else mask.numel())
        return forward(self, adapters, **inputs)

    async def use(backend: LocalBackend) -> None:
        requests = [asked(text * 2, temperature=5.0, seed=1) for text in TEXTS * 6]
        answers = [answer_of(backend, NAMES[i % 3], r) for i, r in enumerate(requests)]
        assert all(map(text_of, await asyncio.gather(*answers)))

    monkeypatch.setattr(MixedPool, "forward", counted)
    with_backend(spec, use, limits=EngineLimits(cache_tokens=700))
    assert 300 < most[0] <= 700


def test_a_failing_step_ends_its_answers_and_no_others(
    spec: PoolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(backend: LocalBackend) -> str:
        forward = MixedPool.forward

        def fail(*_: Any, **__: Any) -> Any:
            monkeypatch.setattr(MixedPool, "forward", forward)
            raise RuntimeError("out of memory at address 0x1")

        first = backend.stream("one", LONG, request_id="1")
        await anext(first)
        monkeypatch.setattr(MixedPool, "forward", fail)
        with pytest.raises(BackendError, match=r"the local pool failed .*; its log says why\."):
            async for _ in first:
                pass
        assert await backend.healthy()
        return text_of(await answer_of(backend, "two", asked(TEXTS[0])))

    assert with_backend(spec, use)


def test_closing_ends_every_answer(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> None:
        first = backend.stream("one", LONG, request_id="1")
        await anext(first)
        waiting = asyncio.ensure_future(answer_of(backend, "two", LONG))
        await asyncio.sleep(0.02)
        await backend.close()
        with pytest.raises(BackendError, match="the local pool was stopped while it was writing"):
            async for _ in first:
                pass
        with pytest.raises(BackendError, match="stopped"):
            await waiting
        assert not await backend.healthy()
        with pytest.raises(BackendError, match="the local pool is not loaded"):
            await answer_of(backend, "one", LONG)

    with_backend(spec, use, limits=EngineLimits(rows=1))
    assert not any(thread.name == "local-engine" for thread in threading.enumerate())


def test_patience_with_the_worker_ends(spec: PoolSpec) -> None:
    async def use(backend: LocalBackend) -> None:
        first = backend.stream("one", LONG, request_id="1")
        await anext(first)
        with pytest.raises(BackendTimeout, match=r"adapter 'two' did not begin .* within 0.05 s"):
            await answer_of(backend, "two", asked(TEXTS[0]))
        await first.aclose()

    patience = Timeouts(first=0.05)
    with_backend(spec, use, limits=EngineLimits(rows=1), timeouts=patience)
