from __future__ import annotations

import ast

import pytest

from routing_gym.rewards.source import (
    MAX_CHARACTERS,
    asked_name,
    find_code,
    functions,
    gives_result,
    parse,
    undefined_names,
)

DOUBLE = "def f(x):\n    return 2 * x"


@pytest.mark.parametrize(
    "text",
    [
        DOUBLE,
        f"```python\n{DOUBLE}\n```",
        f"Here is the function:\n\n{DOUBLE}\n\nIt doubles x.",
        f"```\n{DOUBLE}",
        "import math\ndef f(x):\n    return math.sqrt(x)",
        "f = lambda x: 2 * x",
    ],
)
def test_code_is_found_in_what_surrounds_it(text: str) -> None:
    tree = find_code(text)
    assert tree is not None
    assert list(functions(tree)) == ["f"]
    assert gives_result(functions(tree)["f"])
    assert undefined_names(tree) == set()


@pytest.mark.parametrize(
    "text",
    ["", "Paris", "The answer is 7.", "def f(x:\n  return", DOUBLE + " * (", "x" * MAX_CHARACTERS],
)
def test_no_code(text: str) -> None:
    assert find_code(text) is None


def test_parse_survives_hostile_text() -> None:
    assert parse("(" * 10_000) is None
    assert parse("\x00") is None
    assert parse("1" * (MAX_CHARACTERS + 1)) is None


def test_undefined_names() -> None:
    tree = ast.parse("def f(x):\n    return [helper(y) for y in x if y > limit]")
    assert undefined_names(tree) == {"helper", "limit"}


def test_gives_result() -> None:
    tree = ast.parse("def f(x):\n    print(x)\n    return\ndef g():\n    yield 1")
    found = functions(tree)
    assert not gives_result(found["f"])
    assert gives_result(found["g"])


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Write a Python function f(x) that doubles x.", "f"),
        ("Write a Python function f that doubles x.", "f"),
        ("Write a function called double_it.", "double_it"),
        ("Implement `total(a, b)` in Python.", "total"),
        ("Define a function named 'g' that adds.", "g"),
        ("Write a function that takes a list.", None),
        ("Write a Python function to add two numbers.", None),
    ],
)
def test_asked_name(query: str, name: str | None) -> None:
    assert asked_name(query) == name
