"""Code: small Python functions that are run on cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from routing_gym.queries.extract import python_code
from routing_gym.queries.sandbox import passes
from routing_gym.queries.task import Draw, Task, pick, pick_distinct
from routing_gym.queries.words import ENTRY_POINTS


class _Function(Task):
    """Write a function of one argument that does what a phrase says."""

    domain = "code"
    form = "code"
    argument: ClassVar[str]
    phrasings = (
        "Write a Python function {name}({argument}) that {does}.",
        "Define {name}({argument}) in Python so that it {does}.",
        "I need a function {name}({argument}) which {does}.",
        "Implement {name}({argument}): it {does}.",
        "In Python, code a function called {name} with the parameter {argument} that {does}.",
        "Create a Python function. It is called {name}, takes {argument}, and {does}.",
        "Please program {name}({argument}); it {does}.",
        "How would you write {name}({argument}) so that it {does}?",
        "Task: def {name}({argument}) such that it {does}.",
    )

    def function(self, does: str, expression: str, inputs: list[Any], name: str) -> Draw:
        """Make a draw from a phrase, the expression it means, and inputs to test it on."""
        compute: Callable[[Any], Any] = eval(f"lambda {self.argument}: {expression}")
        cases = [([value], compute(value)) for value in inputs]
        target = f"def {name}({self.argument}):\n    return {expression}"
        slots = {"name": name, "argument": self.argument, "does": does}
        return Draw(slots, {"function": name, "cases": cases}, target)

    def is_right(self, reference: Any, response: str) -> bool:
        """Run the response's function on every case."""
        source = python_code(response)
        return bool(source) and passes(source, **reference)

    def is_bare(self, reference: Any, response: str) -> bool:
        """Accept code that needs no digging out."""
        return response.strip() == python_code(response).strip()


class Arithmetic(_Function):
    """Apply one to three arithmetic steps to a number."""

    name = "arithmetic"
    argument = "x"

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw one, two or three steps."""
        does: list[str] = []
        expression = "x"
        for step in range(complexity):
            k = int(rng.integers(2, 10))
            kind = int(rng.integers(4 if step == 0 else 3))
            simple = expression if expression.isidentifier() else f"({expression})"
            phrase, expression = (
                ("multiplies {} by " + str(k), f"{simple} * {k}"),
                ("adds " + str(k) + " to {}", f"{expression} + {k}"),
                ("subtracts " + str(k) + " from {}", f"{expression} - {k}"),
                ("squares {}", f"{simple} ** 2"),
            )[kind]
            does.append(phrase.format("x" if step == 0 else "that"))
        phrase = ", then ".join(does) + " and returns the result"
        return self.function(phrase, expression, [0, 1, 2, 5, -3, 10], pick(rng, ENTRY_POINTS))


class Strings(_Function):
    """Apply one to three steps to a string."""

    name = "strings"
    argument = "s"
    steps = (
        ("converts {} to upper case", "{}.upper()"),
        ("converts {} to lower case", "{}.lower()"),
        ("reverses {}", "{}[::-1]"),
        ("takes the first {k} characters of {}", "{}[:{k}]"),
        ("takes the last {k} characters of {}", "{}[-{k}:]"),
        ("replaces {a!r} with {b!r} in {}", "{}.replace({a!r}, {b!r})"),
        ("strips the spaces around {}", "{}.strip()"),
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw one, two or three different steps."""
        does: list[str] = []
        expression = "s"
        for phrase, code in pick_distinct(rng, self.steps, complexity):
            a, b = pick_distinct(rng, "aeiourst", 2)
            fill = {"k": int(rng.integers(2, 5)), "a": a, "b": b}
            does.append(phrase.format("it" if does else "s", **fill))
            expression = code.format(expression, **fill)
        inputs = ["", "a", " Hello World ", "tAstE of rust ", "ousia", "  Routers and stars"]
        return self.function(
            ", then ".join(does) + " and returns it", expression, inputs, pick(rng, ENTRY_POINTS)
        )


class Lists(_Function):
    """Filter, map and reduce a list of numbers."""

    name = "lists"
    argument = "xs"
    filters = (
        ("even numbers", "x % 2 == 0"),
        ("odd numbers", "x % 2 == 1"),
        ("positive numbers", "x > 0"),
        ("negative numbers", "x < 0"),
        ("numbers greater than {k}", "x > {k}"),
        ("numbers less than {k}", "x < {k}"),
    )
    maps = (("squares", "x ** 2"), ("doubles", "x * 2"), ("absolute values", "abs(x)"))

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw a reduction; with a filter; with a filter and a map."""
        k = int(rng.integers(2, 9))
        which, condition = pick(rng, self.filters)
        which, condition = which.format(k=k), condition.format(k=k)
        total = rng.random() < 0.5
        if complexity == 1:
            noun, code = pick(rng, (("sum", "sum(xs)"), ("length", "len(xs)"), *self._single(k)))
            does, expression = f"returns the {noun} of the list xs", code
        elif complexity == 2:
            does = f"returns {'the sum' if total else 'a list'} of the {which} in xs"
            expression = (
                f"sum(x for x in xs if {condition})" if total else f"[x for x in xs if {condition}]"
            )
        else:
            what, code = pick(rng, self.maps)
            does = f"returns {'the sum' if total else 'a list'} of the {what} of the {which} in xs"
            inner = f"{code} for x in xs if {condition}"
            expression = f"sum({inner})" if total else f"[{inner}]"
        inputs = [
            [3, -4, 8, 1, 10, -7],
            [5, 5, 2],
            [9, -2, 6, 4, 7, 0, 3],
            [1, 2, 3, 4, 5, 6, 7, 8],
        ]
        return self.function(does, expression, inputs, pick(rng, ENTRY_POINTS))

    def _single(self, k: int) -> tuple[tuple[str, str], ...]:
        """Name the simple reductions beside sum and length."""
        return (
            ("largest number", "max(xs)"),
            ("smallest number", "min(xs)"),
            ("last element", "xs[-1]"),
            (f"first {k} elements", f"xs[:{k}]"),
            ("reverse", "xs[::-1]"),
        )


class Predicates(_Function):
    """Test a number for one to three conditions."""

    name = "predicates"
    argument = "n"
    clauses = (
        ("n is even", "n % 2 == 0"),
        ("n is odd", "n % 2 == 1"),
        ("n is divisible by {k}", "n % {k} == 0"),
        ("n is greater than {m}", "n > {m}"),
        ("n is less than {m}", "n < {m}"),
        ("n is not equal to {m}", "n != {m}"),
    )

    def draw(self, complexity: int, rng: np.random.Generator) -> Draw:
        """Draw one, two or three conditions joined by one of "and", "or"."""
        fill = {"k": int(rng.integers(3, 10)), "m": int(rng.integers(5, 60))}
        chosen = pick_distinct(rng, self.clauses, complexity)
        joint = f" {pick(rng, ('and', 'or'))} "
        condition = joint.join(phrase.format(**fill) for phrase, _ in chosen)
        expression = joint.join(code.format(**fill) for _, code in chosen)
        k, m = fill["k"], fill["m"]
        inputs = [0, 1, k, 2 * k, 3 * k, m - 1, m, m + 1, 2 * m, 97, 100, -4, k * m, k * m + 1]
        return self.function(
            f"returns True if {condition}", expression, inputs, pick(rng, ENTRY_POINTS)
        )
