from __future__ import annotations

import math

import pytest

from routing_gym.rewards.consistency import UNMEASURED, Consistency, agreement, read_out
from routing_gym.rewards.metric import Answer

FAMILY = "Ann is the mother of Bob. Bob is the father of Cara. Who is Cara's grandmother?"
CODE = "def f(x):\n    return 2 * x"


@pytest.mark.parametrize(
    ("form", "one", "other", "same"),
    [
        ("number", "7", "She has 3 and 4, so the answer is 7.", True),
        ("number", "1,200", "1200.0", True),
        ("number", "7", "8", False),
        ("number", "Seven", "seven.", True),
        ("word", "Ann", "Cara's grandmother is Ann.", True),
        ("word", "Ann", "The answer is Bob.", False),
        ("word", "the mother", "Mother.", True),
        ("word", "grandmother", "mother", False),
        ("list", "1, 3, 5", "The sorted numbers are: 1, 3, and 5.0", True),
        ("list", "Fig, pear", "- fig\n- pear", True),
        ("list", "fig, pear", "pear, fig", False),
        ("date", "1987-03-05", "It was March 5, 1987.", True),
        ("date", "1987-03-05", "5th of March 1987", True),
        ("date", "1987-03-05", "1987-05-03", False),
        ("date", "unknown", "Unknown!", True),
        ("record", "Mia | 31 | Rome", "Here it is:\n| mia | 31 | Rome. |", True),
        ("record", "Mia | 31 | Rome", "Mia | 32 | Rome", False),
        ("sentence", "The old man sleeps.", '"The old man sleeps." It is short.', True),
        ("sentence", "The old man sleeps.", "An old man sleeps.", False),
        ("code", CODE, f"```python\n{CODE}  # doubled\n```\nIt doubles x.", True),
        ("code", CODE, "def f(x):\n    return x * 2", False),
        ("code", "no code", "No code.", True),
        ("", "Blue!", "blue", True),
        ("song", "Blue", "Green", False),
    ],
)
def test_read_out(form: str, one: str, other: str, same: bool) -> None:
    asked = Answer(FAMILY, one, form=form)
    assert (read_out(one, asked) == read_out(other, asked)) is same


def test_share_of_samples_that_agree() -> None:
    samples = ("7", "The answer is 7.", "8", "no idea")
    answer = Answer("How many?", "7", form="number", samples=samples, token_log_probs=(-5.0,))
    assert Consistency().score([answer])[0] == 0.5


def test_without_samples_the_probability_of_saying_it_again() -> None:
    answer = Answer("How many?", "7", form="number", token_log_probs=(math.log(0.5),) * 3)
    assert Consistency().score([answer])[0] == pytest.approx(1 / 8)


def test_unmeasured_and_empty() -> None:
    assert agreement(Answer("How many?", "7", token_log_probs=(), samples=())) is None
    answers = [Answer("How many?", "7"), Answer("How many?", " ", samples=("", ""))]
    assert Consistency().score(answers).tolist() == [UNMEASURED, 0.0]
