"""Arithmetic that a text states: expressions evaluated, equalities checked, nothing executed."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

from routing_gym.rewards.source import parse

RUN = re.compile(r"[-+*/^().=\d \t]+")
PART_END = re.compile(r"\n|[.,;:](?=\s|$)")
SYMBOLS = str.maketrans({"×": "*", "÷": "/", "−": "-", "·": "*"})
DATE_OR_RANGE = re.compile(r"\d[-/]\d")
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
MAX_POWER = 64
MAX_VALUE = 1e15


def evaluate(expression: str) -> tuple[float, int] | None:
    """Evaluate ``+ - * / // % ^ ( )`` over numbers.

    Returns
    -------
    tuple[float, int] or None
        The value and the number of operations; None if the text is no such expression.
    """
    tree = parse(expression.strip().replace("^", "**"))
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return None
    try:
        value = _value(tree.body[0].value)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value, sum(isinstance(node, ast.BinOp) for node in ast.walk(tree))


def equalities(text: str) -> list[bool]:
    """Truth of each equality between numbers that a text states, such as "12 * 3 = 36".

    At least one side must hold an operation; "x = 5" and "f(2) = 4" state nothing to check.
    A rounded right side is true to its printed digits.
    """
    truths: list[bool] = []
    for run in _runs(text):
        if "=" not in run.group():
            continue
        sides = [side.strip() for side in run.group().split("=")]
        if _continues_something(run):
            sides = sides[1:]
        values = [evaluate(side) for side in sides]
        for left, right, printed in zip(values, values[1:], sides[1:], strict=False):
            if left is not None and right is not None and left[1] + right[1] > 0:
                truths.append(_equal(left[0], right[0], printed))
    return truths


def asked_value(query: str) -> float | None:
    """Value of the one arithmetic expression that a query holds.

    None if it holds none or several, or further numbers (then it is a word problem, and the
    expression may be only a part of it). "5-3" and "3/4" count as ranges and dates, "5 - 3" does
    not.
    """
    values: list[float] = []
    for run in _runs(query):
        text = run.group().strip(" \t=")
        result = None if DATE_OR_RANGE.search(text) else evaluate(text)
        if result is None or result[1] == 0 or _continues_something(run):
            return None
        values.append(result[0])
    return values[0] if len(values) == 1 else None


def _runs(text: str) -> list[re.Match[str]]:
    """Stretches of digits and signs, with signs in ASCII and thousands' commas taken out."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.translate(SYMBOLS))
    plain = re.sub(r"(?<=\d)(\s*)[xX](\s*)(?=\d)", r"\1*\2", plain)
    runs = (run for part in PART_END.split(plain) for run in RUN.finditer(part))
    return [run for run in runs if any(character.isdigit() for character in run.group())]


def _continues_something(run: re.Match[str]) -> bool:
    """Tell whether a run is the tail of something else, as in "f(2) = 4" or "2y + 3 = 7"."""
    before = run.string[: run.start()]
    if not before or not (before[-1].isalnum() or before[-1] in "_)]"):
        return False
    text = run.group()
    return not text[0].isspace() or bool(re.match(r"\s*[-+*/^]\s", text))


def _equal(left: float, right: float, printed: str) -> bool:
    """Compare to the digits that the right side prints."""
    digits = len(printed.split(".")[1]) if re.fullmatch(r"-?\d+\.\d+", printed) else 9
    tolerance = 0.5000001 * 10.0**-digits
    return abs(left - right) <= max(tolerance, 1e-9 * abs(right))


def _value(node: ast.expr) -> float:
    """Evaluate one node; ValueError if it is no arithmetic or grows too large."""
    result: float
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        result = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        result = _value(node.operand) * (-1 if isinstance(node.op, ast.USub) else 1)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > MAX_POWER:
            raise ValueError(f"power {right} exceeds {MAX_POWER}.")
        result = OPERATORS[type(node.op)](left, right)
    else:
        raise ValueError(f"{type(node).__name__} is no arithmetic.")
    if isinstance(result, complex) or not math.isfinite(result) or abs(result) > MAX_VALUE:
        raise ValueError(f"{result} is out of range.")
    return result
