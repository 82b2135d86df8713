"""Generated code may do nothing but compute."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from routing_gym.queries.sandbox import SandboxLimits, passes

QUICK = SandboxLimits(seconds=1, megabytes=256)
CASES = [([2], 4), ([0], 2)]


def run(body: str, *, cases: list = CASES) -> bool:
    return passes(body, function="solve", cases=cases, limits=QUICK)


@pytest.mark.parametrize(
    "source",
    [
        "def solve(x):\n    return x + 2",
        "solve = lambda x: x + 2",
        "def answer(x):\n    return x + 2",
        "def helper(x):\n    return x + 1\n\ndef solve(x):\n    return helper(x) + 1",
        "def solve(x: int) -> int:\n    '''Add two.'''\n    return x + 2",
        "def solve(x):\n    try:\n        return x + 2\n    except ValueError:\n        return 0",
        "def solve(x):\n    return float(x + 2)",
        "def solve(x):\n    return x + 2\n\nassert solve(2) == 4",
    ],
)
def test_right_functions_pass(source: str) -> None:
    assert run(source)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            "def solve(x):\n    return x + 2\n\nprint(solve(3))", id="print of an example"
        ),
        pytest.param(
            "def solve(x):\n    return x + 2\n\nx = 1\nwhile x:\n    pass", id="loop below"
        ),
        pytest.param("def solve(x):\n    print(x)\n    return x + 2", id="print inside"),
        pytest.param(
            "def solve(x):\n    return x + 2\n\nif __name__ == '__main__':\n    solve(1)", id="main"
        ),
        pytest.param(
            "def solve(x):\n    for _ in range(2):\n        x += 1\n    return x", id="underscore"
        ),
        pytest.param("def solve(x: Optional[int]) -> List[int]:\n    return x + 2", id="typing"),
    ],
)
def test_harmless_habits_do_not_make_a_right_function_wrong(source: str) -> None:
    assert run(source)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def solve(x):\n    return x + 3", id="wrong value"),
        pytest.param("def solve(x):\n    return 4", id="right once"),
        pytest.param("def solve(x):\n    return str(x + 2)", id="wrong type"),
        pytest.param("def solve(x):\n    return None", id="nothing"),
        pytest.param("def solve(x):\n    print(x + 2)", id="prints the answer"),
        pytest.param("def solve():\n    return 4", id="wrong arguments"),
        pytest.param("def solve(x):\n    raise ValueError", id="raises"),
        pytest.param("def solve(x):\n    return unknown", id="unknown name"),
        pytest.param("x = 4", id="no function"),
        pytest.param("", id="empty"),
        pytest.param("def solve(x", id="no code"),
        pytest.param("def solve(x):\n    return solve(x)", id="deep recursion"),
        pytest.param("solve = 4", id="no callable"),
    ],
)
def test_wrong_functions_fail(source: str) -> None:
    assert not run(source)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def solve(x):\n    import os\n    return x + 2", id="import"),
        pytest.param("from os import system\ndef solve(x):\n    return x + 2", id="from import"),
        pytest.param("def solve(x):\n    __import__('os')\n    return x + 2", id="__import__"),
        pytest.param("def solve(x):\n    open('/etc/passwd')\n    return x + 2", id="open"),
        pytest.param("def solve(x):\n    eval('1')\n    return x + 2", id="eval"),
        pytest.param("def solve(x):\n    exec('1')\n    return x + 2", id="exec"),
        pytest.param("def solve(x):\n    getattr(x, 'real')\n    return x + 2", id="getattr"),
        pytest.param("def solve(x):\n    globals()\n    return x + 2", id="globals"),
        pytest.param("def solve(x):\n    x.__class__\n    return x + 2", id="dunder"),
        pytest.param("def solve(x):\n    '{0.__class__}'.format(x)\n    return x + 2", id="format"),
        pytest.param(
            "class A:\n    def __eq__(s, o):\n        return True\n\ndef solve(x):\n    return A()",
            id="equal to all",
        ),
        pytest.param("def solve(x):\n    type(x)\n    return x + 2", id="type"),
        pytest.param("def solve(x):\n    input()\n    return x + 2", id="input"),
        pytest.param("def solve(x):\n    exit()\n    return x + 2", id="exit"),
    ],
)
def test_forbidden_things_fail_although_the_value_is_right(source: str) -> None:
    assert not run(source)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def solve(x):\n    while True:\n        pass", id="endless loop"),
        pytest.param("y = 9 ** 9 ** 9\ndef solve(x):\n    return x + 2", id="at the top"),
        pytest.param("def solve(x):\n    return 9 ** 9 ** 9 + x", id="huge power"),
        pytest.param("def solve(x):\n    y = [0] * 10 ** 9\n    return x + 2", id="memory bomb"),
        pytest.param("def solve(x):\n    y = 'a' * 10 ** 9\n    return x + 2", id="long string"),
    ],
)
def test_limits_stop_it(source: str) -> None:
    started = time.perf_counter()
    assert not run(source)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("body", "cases", "right"),
    [
        ("x > 0", [([1], True)], True),
        ("1 if x > 0 else 0", [([1], True)], False),
        ("x > 0", [([1], 1)], False),
        ("tuple(x)", [([[1, 2]], [1, 2])], True),
        ("set(x)", [([[1, 2]], [1, 2])], False),
        ("map(abs, x)", [([[1, 2]], [1, 2])], False),
        ("x.upper()", [(["aé"], "AÉ")], True),
        ("[(a, b) for a, b in zip(x, x)]", [([[1]], [[1, 1]])], True),
    ],
)
def test_values_are_compared_with_their_types(body: str, cases: list, right: bool) -> None:
    assert run(f"def solve(x):\n    return {body}", cases=cases) is right


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("def solve(x):\n    open('file', 'w').write('x')\n    return x + 2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "megabytes"), [(0, 512), (1, 63), (-1, 512)])
def test_limits_must_be_possible(seconds: int, megabytes: int) -> None:
    with pytest.raises(ValueError, match=f"seconds={seconds}, megabytes={megabytes}"):
        SandboxLimits(seconds, megabytes)
