"""The records of a back end, its patience, and what the probe of texts refuses."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import AsyncGenerator

import pytest

from routing_gym.serving.activation import check_activation
from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendRefused,
    BackendTimeout,
    ChatRequest,
    Message,
    Piece,
)
from routing_gym.serving.timeouts import Timeouts, bounded

ASKED = (Message("user", "Who?"),)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"messages": ()}, r"messages=\(\) asks nothing: give at least one"),
        ({"max_tokens": 0}, "max_tokens=0: give at least 1"),
        ({"temperature": -0.1}, r"temperature=-0.1: give 0 \(greedy\) or more"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"temperature": math.inf}, "temperature=inf"),
        ({"stop": ("a", "")}, "an empty stop ends every answer at once; omit it"),
    ],
)
def test_bad_requests(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ChatRequest(**{"messages": ASKED, **settings})  # type: ignore[arg-type]


def test_errors_carry_a_status() -> None:
    errors = [BackendError("a"), BackendTimeout("b"), BackendBusy("c", retry_after=7)]
    assert [error.status for error in errors] == [502, 504, 429]
    assert BackendRefused("d", status=413).status == 413
    assert len({error.kind for error in (*errors, BackendRefused("d"))}) == 4
    assert BackendBusy("c", retry_after=7).retry_after == 7


@pytest.mark.parametrize("name", ["connect", "first", "between", "total"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_bad_timeouts(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"timeouts.{name}=.*: give seconds above 0"):
        Timeouts(**{name: value})


class Source:
    """Pieces with waits before them."""

    def __init__(self, *waits: float) -> None:
        self.waits = waits
        self.closed = False

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        try:
            for wait in self.waits:
                await asyncio.sleep(wait)
                yield Piece(str(wait))
        finally:
            self.closed = True


@pytest.mark.parametrize(
    ("waits", "count", "match"),
    [
        ((9,), 0, r"It did not begin its answer within 0.1 s"),
        ((0, 9), 1, r"It fell silent for 0.05 s in the middle of its answer"),
        ((0, *[0.03] * 20), None, r"It did not finish its answer within 0.3 s"),
    ],
)
def test_patience_ends(waits: tuple[float, ...], count: int | None, match: str) -> None:
    source, read = Source(*waits), []

    async def run() -> None:
        patience = Timeouts(first=0.1, between=0.05, total=0.3)
        async for piece in bounded(source.pieces(), patience, source="It"):
            read.append(piece)

    with pytest.raises(BackendTimeout, match=match):
        asyncio.run(run())
    assert source.closed
    assert count is None or len(read) == count


def test_patience_lets_through_and_closes() -> None:
    async def run() -> tuple[int, bool]:
        whole, part = Source(0, 0, 0), Source(0, 0, 0)
        pieces = [p async for p in bounded(whole.pieces(), Timeouts(), source="It")]
        begun = bounded(part.pieces(), Timeouts(), source="It")
        await anext(begun)
        await begun.aclose()
        return len(pieces), part.closed

    assert asyncio.run(run()) == (3, True)


def test_an_error_of_the_source_is_raised_as_it_is() -> None:
    async def broken() -> AsyncGenerator[Piece, None]:
        yield Piece("a")
        raise BackendBusy("full", retry_after=3)

    async def run() -> None:
        async for _ in bounded(broken(), Timeouts(), source="It"):
            pass

    with pytest.raises(BackendBusy, match="full"):
        asyncio.run(run())


def test_the_probe_of_texts() -> None:
    answers = {"base": ["a", "b"], "code": ["a", "c"], "prose": ["a", "b"]}
    with pytest.raises(BackendError, match=r"adapter 'prose' answers all 2 probes of it as 'base'"):
        check_activation(answers, base="base", source="it")
    check_activation({"base": ["a", "b"], "code": ["a", "c"]}, base="base", source="it")
    check_activation({"base": ["a", "b"]}, base="base", source="it")


def test_the_probe_knows_that_the_base_may_round_either_way() -> None:
    answers = {"base": ["a", "b", "c"], "code": ["a", "B", "c"]}
    check_activation(answers, base="base", control=["a", "b", "c"], source="it")
    with pytest.raises(BackendError, match=r"adapter 'code' answers all 3 probes of it as 'base'"):
        check_activation(answers, base="base", control=["A", "B", "c"], source="it")


def test_the_probe_tells_adapters_apart() -> None:
    answers = {"base": ["a", "b"], "code": ["a", "c"], "prose": ["b", "b"], "more": ["a", "c"]}
    with pytest.raises(BackendError, match=r"adapters 'code' and 'more' answer all 2 probes of it"):
        check_activation(answers, base="base", source="it")


def test_back_ends_are_imported_without_torch() -> None:
    code = (
        "import sys, routing_gym.serving.openai_backend, routing_gym.serving.local_backend;"
        "sys.exit(str({'torch', 'transformers', 'peft'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == ""
