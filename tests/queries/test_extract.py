"""What the lenient readers read, case by case."""

from __future__ import annotations

import pytest

from routing_gym.queries.extract import (
    ends_with_numbers,
    final_choice,
    final_number,
    numbers,
    python_code,
    sentence,
    strip_fences,
    words,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("none here", []),
        ("7", [7]),
        ("-7", [-7]),
        ("7.", [7]),
        ("3.5 and -0.25", [3.5, -0.25]),
        ("1,200 of 2,000,000", [1200, 2_000_000]),
        ("1, 2,3", [1, 2, 3]),
        ("12-5", [12, 5]),
        ("12 - 5 = 7", [12, 5, 7]),
        ("the 3rd of x2 or 5x", []),
        ("**42**", [42]),
        ("$5 or 5%", [5, 5]),
        ("[1, 2]", [1, 2]),
        ("a 5-year plan", [5]),
    ],
)
def test_numbers(text: str, found: list[float]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("no number", None),
        ("", None),
        ("12", 12),
        ("The answer is 12.", 12),
        ("The answer is: 12", 12),
        ("2 + 3 = 5", 5),
        ("3 brothers and 4 sisters make 7", 7),
        ("The answer is 5 because 3 and 2 were added", 5),
        ("Result: 8", 8),
        ("It equals -3.", -3),
        ("12 is what I found", 12),
        ('"12"', 12),
        ("The answer is 1,200", 1200),
        ("2 + 2 = 4. The answer is 4.", 4),
        ("x = 3\ny = 9", 9),
        ("The answer is:", None),
        ("5 =", 5),
    ],
)
def test_final_number(text: str, number: float | None) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("", None),
        ("someone else", None),
        ("Ann", "ann"),
        ("ANN!", "ann"),
        ("It is Ann.", "ann"),
        ("Ann is taller than Ben, so the answer is Ann.", "ann"),
        ("Ann or Ben: Ben", "ben"),
        ("between Ann and Ben I take Ben", "ben"),
        ("Annabel", None),
        ("Ann-Marie", None),
        ("Ann's", "ann"),
        ("Ben, Ann, Ben", "ben"),
        ("The answer is Ann, not Ben", "ann"),
    ],
)
def test_final_choice(text: str, choice: str | None) -> None:
    assert final_choice(text, ["Ann", "Ben"]) == choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("mother", "mother"),
        ("mother-in-law", "mother-in-law"),
        ("She is his Mother-In-Law.", "mother-in-law"),
        ("stepmother", None),
    ],
)
def test_the_longer_choice_wins(text: str, choice: str | None) -> None:
    assert final_choice(text, ["mother", "mother-in-law"]) == choice


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("3, 7, 12", True),
        ("3,7,12", True),
        ("3 7 12", True),
        ("[3, 7, 12]", True),
        ("3 < 7 < 12.", True),
        ("Sorting 12, 3, 7 gives 3, 7, 12.", True),
        ("3\n7\n12", True),
        ("3, 7", False),
        ("12, 7, 3", False),
        ("3, 7, 12, 14", False),
        ("", False),
    ],
)
def test_ends_with_numbers(text: str, right: bool) -> None:
    assert ends_with_numbers(text, [3, 7, 12]) is right


def test_thousands_are_not_glued_in_lists() -> None:
    assert ends_with_numbers("3,100,250", [3, 100, 250])


def test_no_numbers_wanted_is_never_right() -> None:
    assert not ends_with_numbers("3", [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The Cat's well-known hat.", ["the", "cat's", "well-known", "hat"]),
        ("3 cats", ["cats"]),
        ("", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", ""),
        ("The cat sat.", "The cat sat."),
        ("  The cat sat.  The dog ran.", "The cat sat."),
        ('"The cat sat."', "The cat sat."),
        ("“The cat sat.”", "The cat sat."),
        ('Here is one: "The cat sat."', "The cat sat."),
        ("Here is one:\nThe cat sat.", "The cat sat."),
        ("Here is one:\n\n- a list:\nThe cat sat.", "The cat sat."),
        ("```\nThe cat sat.\n```", "The cat sat."),
        ("**The cat sat.**", "The cat sat."),
        ("The cat sat! It purred.", "The cat sat!"),
        ("The cat sat", "The cat sat"),
        ("The cat sat.\nThe dog ran.", "The cat sat."),
        ('"The cat sat." I hope it helps.', "The cat sat."),
        ("Only:", "Only:"),
    ],
)
def test_sentence(text: str, first: str) -> None:
    assert sentence(text) == first


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("plain", "plain"),
        ("```\na\n```", "a\n"),
        ("```python\na\n```", "a\n"),
        ("before ```a``` after", ""),
        ("```python\nopen", "open"),
        ("```\na\n```\n```\nb\n```", "a\n"),
    ],
)
def test_strip_fences(text: str, inside: str) -> None:
    assert strip_fences(text) == inside


FUNCTION = "def f(x):\n    return x"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (FUNCTION, FUNCTION),
        (f"```python\n{FUNCTION}\n```", FUNCTION),
        (f"```py\n{FUNCTION}", FUNCTION),
        (f"Here it is:\n{FUNCTION}", FUNCTION),
        (f"Here it is:\n{FUNCTION}\nThis returns x.", FUNCTION),
        (f"{FUNCTION}\n\nf(3)", f"{FUNCTION}\n\nf(3)"),
        ("f = lambda x: x", "f = lambda x: x"),
        ("def f(x):\n    return (x", ""),
        ("def f(x)", ""),
        ("no code", ""),
        ("", ""),
        ("define it", ""),
    ],
)
def test_python_code(text: str, source: str) -> None:
    assert python_code(text) == source


def test_absurd_nesting_is_no_code() -> None:
    assert python_code("def f(x):\n    return " + "(" * 5000) == ""
