"""The local back end on the embedded pool: real answers, real memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.serving.backend import ChatRequest, Message
from routing_gym.serving.local_backend import LocalBackend
from routing_gym.serving.memory import memory_report
from tests.serving.local_pool import answer_of, text_of, with_backend

QUERIES = 20
BUDGETS = {"word": 32, "number": 32, "date": 32, "record": 32}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (Path(__file__).resolve().parents[2] / "adapters" / "weights").is_dir(),
        reason="the trained adapters are not here",
    ),
    pytest.mark.skipif(not DEFAULT_TABLE.is_dir(), reason="the outcome table is not here"),
]


@pytest.fixture(scope="module")
def spec() -> PoolSpec:
    return load_pool("default")


def test_answers_are_the_tables(spec: PoolSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """The table's answers are `AdapterPool.generate`'s: merged, and in batches of one adapter."""
    table = OutcomeTable.load(DEFAULT_TABLE)
    short = np.flatnonzero(np.isin(table.form, list(BUDGETS)))
    rows = np.random.default_rng(0).choice(short, size=QUERIES, replace=False)
    cells = [(int(row), place % len(spec.names)) for place, row in enumerate(rows)]

    async def use(backend: LocalBackend) -> list[str]:
        asks = [
            ChatRequest((Message("user", table.text[row]),), max_tokens=BUDGETS[table.form[row]])
            for row, _ in cells
        ]
        answers = await asyncio.gather(
            *(
                answer_of(backend, spec.names[arm], ask)
                for (_, arm), ask in zip(cells, asks, strict=True)
            )
        )
        return [text_of(pieces) for pieces in answers]

    texts = with_backend(spec, use)
    differ = [
        (spec.names[arm], table.responses[row, arm], text)
        for (row, arm), text in zip(cells, texts, strict=True)
        if text != table.responses[row, arm]
    ]
    with capsys.disabled():
        print(f"\n{len(differ)} of {len(cells)} served answers differ from the table's")
        for cell in differ:
            print(*map(repr, cell))
    assert len(differ) <= 1


def test_the_pool_needs_little_more_than_its_base(
    spec: PoolSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    report = memory_report(spec, rows=2, ways=("base", "pool"))
    with capsys.disabled():
        print(f"\nresident MB: { {name: round(value) for name, value in report.items()} }")
    assert report["base"] > 500
    assert report["pool"] < 1.5 * report["base"]
