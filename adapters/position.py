"""Where in a text its question is answered, and which numbers it holds: features for trees.

What a small model gets right depends on the position of the answer (Liu et al., *Lost in the
middle*, TACL 2024) and on the size of the operands, neither of which a sentence embedding keeps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+")
_SENTENCE = re.compile(r"(?<=[.?!:])\s+|\n+")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_OPERATOR = re.compile(r"\d\s*([-+*/])\s*\d")
_COMMON = frozenset(
    "the a an of is are was were to in on and or for with then what which who whom where how give "
    "answer one only just reply name word number please tell me from this it its that".split()
)
# name, what is typical, and by how much texts differ; only scales, so rough
FEATURES = (
    ("relative position of the answering sentence", 0.1, 0.6),
    ("its position from the start", 0.8, 1.5),
    ("its position from the end", 0.8, 1.4),
    ("share of the question's words in it", 0.3, 0.3),
    ("relative position of the question", 0.5, 0.4),
    ("sentences", 3.4, 1.8),
    ("it follows the question", 0.2, 0.4),
    ("sentences between the two", 0.7, 1.3),
    ("first number", 1.0, 1.8),
    ("second number", 1.0, 1.8),
    ("last number", 1.1, 1.8),
    ("least number", 0.7, 1.8),
    ("largest number", 1.3, 2.0),
    ("numbers", 1.7, 2.3),
    ("last digit of the last number", 1.6, 2.6),
    ("digits", 3.0, 4.5),
    ("negative numbers", 0.1, 0.7),
    ("last number less the first", 0.0, 1.5),
    ("additions", 0.05, 0.25),
    ("subtractions", 0.05, 0.25),
    ("multiplications", 0.03, 0.2),
    ("operators", 0.1, 0.4),
)


class PositionEncoder:
    """Positions and numbers on fixed scales, rows of length about 1, cut at 5 spreads."""

    name = "position-v1"

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: the scales are fixed."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Describe N texts as float32 (N, 22)."""
        typical, spread = (np.array([row[i] for row in FEATURES]) for i in (1, 2))
        scaled = (position_features(texts) - typical) / spread
        return (scaled.clip(-5, 5) / np.sqrt(len(FEATURES))).astype(np.float32)


def position_features(texts: Sequence[str]) -> np.ndarray:
    """Return float64 (N, D), the raw features in the order of ``FEATURES``."""
    rows = [[*_positions(text), *_numbers(text)] for text in texts]
    return np.array(rows, dtype=np.float64).reshape(len(texts), len(FEATURES))


def _positions(text: str) -> list[float]:
    """Find the sentence that shares most words with the question."""
    sentences = [part for part in _SENTENCE.split(text.strip()) if _WORD.search(part)] or [text]
    words = [{word.casefold() for word in _WORD.findall(part)} - _COMMON for part in sentences]
    count = len(sentences)
    asked = [i for i, part in enumerate(sentences) if part.rstrip().endswith("?")]
    question = asked[0] if asked else count - 1
    shared = [len(words[question] & own) / max(len(words[question]), 1) for own in words]
    shared[question] = -1.0
    hit = int(np.argmax(shared))
    if shared[hit] <= 0:  # nothing to look up
        return [-1, -1, -1, 0, question / max(count - 1, 1), count, 0, -1]
    return [
        hit / (count - 1),
        min(hit, 8),
        min(count - 1 - hit, 8),
        shared[hit],
        question / (count - 1),
        count,
        float(hit > question),
        abs(hit - question),
    ]


def _numbers(text: str) -> list[float]:
    """Describe the numbers and what connects them."""
    operators = _OPERATOR.findall(text)
    counts = [operators.count(sign) for sign in "+-*"]
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if not numbers:
        return [0.0] * 10 + [*counts, len(operators)]
    first, last = numbers[0], numbers[-1]
    second = numbers[1] if len(numbers) > 1 else 0.0
    return [
        *(_log(n) for n in (first, second, last, min(numbers), max(numbers))),
        len(numbers),
        abs(last) % 10,
        sum(len(str(int(abs(number)))) for number in numbers),
        sum(number < 0 for number in numbers),
        _log(last - first),
        *counts,
        len(operators),
    ]


def _log(number: float) -> float:
    """Return a number's logarithm with its sign; 0 stays 0."""
    return float(np.sign(number) * np.log1p(abs(number)))
