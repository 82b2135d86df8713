from __future__ import annotations

import pytest

from routing_gym.rewards.arithmetic import asked_value, equalities, evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3 + 4 * 2", 11),
        ("-5 * (3 - 1)", -10),
        ("2^3", 8),
        ("7 // 2 + 7 % 2", 4),
        ("1 / 0", None),
        ("9 ** 9 ** 9", None),
        ("(-8) ** 0.5", None),
        ("__import__('os')", None),
        ("1 2", None),
        ("", None),
        ("(" * 5000 + "1" + ")" * 5000, None),
    ],
)
def test_evaluate(expression: str, value: float | None) -> None:
    result = evaluate(expression)
    assert (None if result is None else result[0]) == value


@pytest.mark.parametrize(
    ("text", "truths"),
    [
        ("3 + 4 = 7", [True]),
        ("3 + 4 = 8", [False]),
        ("First 3 + 4 = 7, then 7 * 2 = 15.", [True, False]),
        ("3 + 4 = 7\n8 - 1 = 7", [True, True]),
        ("3 + 4 = 7 = 14 / 2", [True, True]),
        ("12 x 3 = 36 and 12 × 3 = 35", [True, False]),
        ("1,000 + 500 = 1,500", [True]),
        ("10 / 3 = 3.33", [True]),
        ("10 / 3 = 3.34", [False]),
        ("x = 3 + 4 = 7", [True]),
        ("f(2) = 4", []),
        ("2y + 3 = 7", []),
        ("x = 5", []),
        ("5 = 5", []),
        ("no numbers", []),
    ],
)
def test_equalities(text: str, truths: list[bool]) -> None:
    assert equalities(text) == truths


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("What is 3 + 4 * 2?", 11),
        ("Calculate -5 * (3 - 1). Answer with a number.", -10),
        ("20 - 33 =", -13),
        ("A box has 3 + 4 apples, 2 are eaten. How many are left?", None),
        ("Days from 2024-11-15?", None),
        ("Pick a number from 1-10", None),
        ("How many siblings has Ann?", None),
        ("Solve 2y + 3", None),
        ("What are 1 + 1 and 2 + 2?", None),
    ],
)
def test_asked_value(query: str, value: float | None) -> None:
    assert asked_value(query) == value
