from __future__ import annotations

import pytest

from routing_gym.rewards.judge_cost import Purse, Spending, Tokens, estimate_tokens, price
from routing_gym.rewards.judge_settings import JudgeSettings

PRICED = JudgeSettings(model="m", prompt_price=2.0, completion_price=10.0)


def test_price_by_hand() -> None:
    assert price(Tokens(1_000_000, 0), PRICED) == 2.0
    assert price(Tokens(500, 100), PRICED) == pytest.approx(0.002)


def test_estimate_by_hand() -> None:
    messages = [{"role": "system", "content": "x" * 30}, {"role": "user", "content": "é" * 15}]
    assert estimate_tokens(messages, PRICED) == Tokens(20 + 16, 512)


def test_spending_adds_up() -> None:
    one = Spending(verdicts=1, requests=2, prompt_tokens=30, cost=0.5)
    assert one + one + Spending(cached=1) == Spending(
        verdicts=2, cached=1, requests=4, prompt_tokens=60, cost=1.0
    )


def test_a_purse_keeps_its_promises() -> None:
    purse = Purse(JudgeSettings(model="m", prompt_price=1.0, budget=10e-6))
    assert purse.promise(Tokens(6))
    assert not purse.promise(Tokens(6))
    assert purse.settle(Tokens(6), Tokens(3)) == pytest.approx(3e-6)
    assert purse.promise(Tokens(6))
    purse.settle(Tokens(6), Tokens(6))
    assert not purse.promise(Tokens(2))
    message = str(purse.exhausted(missing=3))
    assert "budget of 1e-05" in message
    assert "9e-06 is spent and 3 verdicts are missing" in message


def test_what_was_spent_before_counts() -> None:
    settings = JudgeSettings(model="m", prompt_price=1e6, budget=5.0)
    assert Purse(settings, spent=3.0).promise(Tokens(2))
    assert not Purse(settings, spent=3.5).promise(Tokens(2))


def test_no_budget_is_no_limit() -> None:
    assert Purse(PRICED, spent=1e9).promise(Tokens(10**9))
