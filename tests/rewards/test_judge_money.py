from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from routing_gym.rewards.judge_cost import Spending
from routing_gym.rewards.judge_errors import BudgetError
from routing_gym.rewards.metric import Answer
from tests.rewards.judge_server import (
    KEY,
    LYON,
    PARIS,
    QUERY,
    JudgeServer,
    Make,
    Step,
    knows_paris,
    make_judge,
    numbered,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with JudgeServer(knows_paris, key=KEY) as running:
        yield running


@pytest.fixture
def make(server: JudgeServer) -> Make:
    return partial(make_judge, server)


def test_the_cache_spares_requests_and_money(
    make: Make, server: JudgeServer, tmp_path: Path
) -> None:
    prices = {"prompt_price": 2.0, "completion_price": 10.0, "cache": tmp_path / "cache"}
    first = make(**prices)
    paid = first.rate([PARIS, LYON, PARIS])
    cost = 100 * 2e-6 + 10 * 10e-6
    assert [r.verdict.cost for r in paid] == pytest.approx([cost] * 3)
    assert first.spending == Spending(
        verdicts=2, requests=2, prompt_tokens=200, completion_tokens=20, cost=2 * cost
    )
    second = make(**prices)
    free = second.rate([PARIS, LYON])
    assert [r.rating for r in free] == [5, 2]
    assert all(r.verdict.cached and r.verdict.cost == 0 for r in free)
    assert free[0].verdict.prompt_tokens == 100
    assert second.spending == Spending(verdicts=2, cached=2)
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "n"},
        {"rubric": "5: true. 1: false."},
        {"request": {"temperature": 1.0}},
        {"structured": "none"},
        {"asks": 2},
    ],
)
def test_what_decides_a_verdict_is_in_the_key(
    changed: dict[str, Any], make: Make, server: JudgeServer, tmp_path: Path
) -> None:
    make(cache=tmp_path).rate([PARIS])
    make(cache=tmp_path, **changed).rate([PARIS])
    assert len(server.seen) == 2


def test_the_server_and_the_text_are_in_the_key(
    make: Make, server: JudgeServer, tmp_path: Path
) -> None:
    make(cache=tmp_path).rate([PARIS])
    with JudgeServer(knows_paris) as other:
        make(cache=tmp_path, base_url=other.url).rate([PARIS])
        assert len(other.seen) == 1
    make(cache=tmp_path).rate([Answer(QUERY, "Paris. "), Answer(f"{QUERY} ", "Paris.")])
    make(cache=tmp_path).rate([Answer(QUERY, "Paris.", finished=False)])
    assert len(server.seen) == 4


def test_patience_and_prices_are_not(make: Make, server: JudgeServer, tmp_path: Path) -> None:
    make(cache=tmp_path).rate([PARIS])
    make(cache=tmp_path, threads=9, attempts=1, timeout=5.0, prompt_price=3.0).rate([PARIS])
    assert len(server.seen) == 1


def test_a_damaged_entry_is_asked_again(make: Make, server: JudgeServer, tmp_path: Path) -> None:
    make(cache=tmp_path).rate([PARIS])
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(path.read_bytes()[:-9])
    assert make(cache=tmp_path).rate([PARIS])[0].rating == 5
    assert len(server.seen) == 2
    assert make(cache=tmp_path).rate([PARIS])[0].verdict.cached


def test_a_server_that_counts_no_tokens_is_charged_by_estimate(
    make: Make, server: JudgeServer
) -> None:
    server.steps.append(Step(usage=False))
    judge = make(prompt_price=1.0)
    expected = judge.estimate([PARIS])
    judge.rate([PARIS])
    assert judge.spending.unmetered == 1
    assert judge.spending.prompt_tokens == expected.prompt_tokens > 100
    assert judge.spending.cost == pytest.approx(expected.cost)


def test_the_budget_is_kept(make: Make, server: JudgeServer, tmp_path: Path) -> None:
    settings = {"prompt_price": 10_000.0, "threads": 8, "cache": tmp_path}
    budget = 1.05 * make(**settings).estimate(numbered(1)).cost + 5.0
    judge = make(**settings, budget=budget)  # a request costs 1, and is feared to cost more
    with pytest.raises(BudgetError, match=r"budget of .* 14 verdicts are missing") as raised:
        judge.rate(numbered(20))
    assert "6 is spent" in str(raised.value)
    assert judge.spending.cost <= budget
    assert len(server.seen) == 6
    with pytest.raises(BudgetError):
        judge.rate(numbered(20))  # goes on with the same budget
    assert len(server.seen) == 6
    assert len(make(**settings).rate(numbered(20))) == 20
    assert len(server.seen) == 20


def test_no_budget_no_request(make: Make, server: JudgeServer) -> None:
    with pytest.raises(BudgetError, match="0 is spent and 1 verdicts are missing"):
        make(prompt_price=1.0, budget=0).rate([PARIS])
    assert server.seen == []


def test_an_estimate_asks_nothing(make: Make, server: JudgeServer, tmp_path: Path) -> None:
    judge = make(prompt_price=1.0, completion_price=1.0, cache=tmp_path)
    judge.rate([PARIS])
    expected = judge.estimate([PARIS, LYON, LYON], pairs=[(PARIS, LYON)])
    assert (expected.verdicts, expected.cached, expected.requests) == (4, 1, 3)
    assert expected.completion_tokens == 3 * 512
    assert expected.cost == pytest.approx(
        (expected.prompt_tokens + expected.completion_tokens) / 1e6
    )
    assert len(server.seen) == 1


def test_an_estimate_needs_no_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    judge = make(base_url="https://api.openai.com/v1")
    assert judge.estimate([PARIS]).requests == 1
    with pytest.raises(ValueError, match="OPENAI_API_KEY is not set"):
        judge.rate([PARIS])
