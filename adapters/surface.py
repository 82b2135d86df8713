"""What a query looks like, without a word of what it means: the cheapest encoder there is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_SENTENCE_END = re.compile(r"[.?!](?:\s|$)")
_NEGATION = re.compile(r"\b(?:not|no|never|none|nor|except|without|least|false|incorrect)\b", re.I)
_WAVES = 512
_KERNEL_WIDTH = 1.7  # of rows of length about 1
_SYMBOLS = frozenset("=+*/^<>|\\{}[]_$%")
# name, what is typical of English questions, and by how much they differ; only scales, so rough
FEATURES = (
    ("log characters", 5.3, 0.7),
    ("log words", 3.6, 0.7),
    ("log sentences", 1.6, 0.4),
    ("log lines", 1.1, 0.6),
    ("log numbers", 0.9, 0.7),
    ("log different numbers", 0.8, 0.6),
    ("mean log size of the numbers", 1.9, 1.8),
    ("log largest number", 2.6, 2.5),
    ("decimal and large numbers", 0.15, 0.4),
    ("mean word length", 4.4, 0.5),
    ("share of different words", 0.75, 0.13),
    ("share of long words", 0.11, 0.08),
    ("share of capitals", 0.04, 0.03),
    ("share of digits", 0.02, 0.03),
    ("share of symbols", 0.005, 0.015),
    ("negations", 0.2, 0.4),
    ("question marks", 0.45, 0.3),
    ("log longest line", 5.0, 0.6),
    ("log shortest line", 4.0, 1.5),
    ("log words of the last sentence", 1.9, 0.5),
)


class SurfaceEncoder:
    """Length, numbers, punctuation and variety of words, on fixed scales.

    Difficulty shows in them: on grade-school mathematics they tell more about which model is
    needed than a sentence embedding does.
    """

    name = "surface-v1"

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: the scales are fixed."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Describe N texts as float32 (N, D), rows of length about 1, features cut at 5 spreads."""
        typical, spread = (np.array([row[i] for row in FEATURES]) for i in (1, 2))
        scaled = (surface_features(texts) - typical) / spread
        return (scaled.clip(-5, 5) / np.sqrt(len(FEATURES))).astype(np.float32)


class SurfaceKernelEncoder:
    r"""Curves and interactions of the surface features, for agents that are linear.

    Random Fourier features (Rahimi & Recht 2007, *Random features for large-scale kernel
    machines*): :math:`\phi(u) = \sqrt{2/D}\,\cos(W u + b)`, with W normal and b uniform, has
    :math:`\phi(u)^\top \phi(v) \approx \exp(-\lVert u - v \rVert^2 / 2 \sigma^2)`; u are the
    scaled features of `SurfaceEncoder`. The draw is part of the encoder, the same for every table.
    """

    name = "surface-kernel-v1"

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: scales and frequencies are fixed."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Describe N texts as float32 (N, 512), rows of length about 1."""
        rng = np.random.default_rng(0)
        frequencies = rng.normal(size=(len(FEATURES), _WAVES)) / _KERNEL_WIDTH
        phases = rng.uniform(0, 2 * np.pi, size=_WAVES)
        scaled = SurfaceEncoder().encode(texts).astype(np.float64)
        return (np.sqrt(2 / _WAVES) * np.cos(scaled @ frequencies + phases)).astype(np.float32)


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """Return float64 (N, D), the raw features in the order of ``FEATURES``."""
    return np.array([_features(text) for text in texts]).reshape(len(texts), len(FEATURES))


def _features(text: str) -> list[float]:
    """Describe one text."""
    words, numbers = _WORD.findall(text), _NUMBER.findall(text)
    sizes = np.log1p([float(number.replace(",", "")) for number in numbers] or [0.0])
    lines = [len(line) for line in text.splitlines() if line.strip()] or [0]
    sentences = [part for part in _SENTENCE_END.split(text) if part.strip()]
    characters, count = max(len(text), 1), max(len(words), 1)
    return [
        np.log1p(len(text)),
        np.log1p(len(words)),
        np.log1p(len(sentences)),
        np.log1p(len(lines)),
        np.log1p(len(numbers)),
        np.log1p(len(set(numbers))),
        float(sizes.mean()),
        float(sizes.max()),
        np.log1p(sum("." in n or "," in n or len(n) > 3 for n in numbers)),
        sum(map(len, words)) / count,
        len({word.casefold() for word in words}) / count,
        sum(len(word) > 7 for word in words) / count,
        sum(letter.isupper() for letter in text) / characters,
        sum(letter.isdigit() for letter in text) / characters,
        sum(letter in _SYMBOLS for letter in text) / characters,
        np.log1p(len(_NEGATION.findall(text))),
        np.log1p(text.count("?")),
        np.log1p(max(lines)),
        np.log1p(min(lines)),
        np.log1p(len(_WORD.findall(sentences[-1]))) if sentences else 0.0,
    ]
