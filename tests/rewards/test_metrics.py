from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from routing_gym.queries.registry import resolve
from routing_gym.rewards import METRICS
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import DIRECTIONS, Answer, CombinedMetric, Metric
from routing_gym.rewards.registry import DEFAULT_METRICS, FROM_TOKENS

QUERY = "What does a large river carry to the sea?"


class SpellingEncoder:
    """Embeds a text as its normalised counts of characters, as wide as the embedded encoder."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.zeros((len(texts), 384), dtype=np.float32)
        for row, text in zip(counts, texts, strict=True):
            np.add.at(row, [ord(character) % 384 for character in text], 1)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture(params=list(METRICS))
def metric(request: pytest.FixtureRequest) -> Metric | CombinedMetric:
    factory = resolve(METRICS, request.param, kind="metric")
    resources = {
        "encoder": SpellingEncoder(),
        "likelihood": lambda queries, responses: np.full(len(queries), -1.0),
        "p_true": lambda queries, responses: np.full(len(queries), 0.3),
    }
    wanted = inspect.signature(factory).parameters
    return factory(**{key: value for key, value in resources.items() if key in wanted})


def test_metrics_that_read_tokens_are_listed() -> None:
    """Of the others only factuality reads signals, as one part of several that may be missing."""
    plain = Answer(QUERY, "It carries the fine sand.", form="word")
    sure = dataclasses.replace(plain, token_log_probs=(-0.1,), token_entropies=(0.2,))
    unsure = dataclasses.replace(plain, token_log_probs=(-3.0,), token_entropies=(2.0,))
    evaluator = SelfEvaluator(
        DEFAULT_METRICS,
        encoder=SpellingEncoder(),
        likelihood=lambda queries, responses: np.full(len(queries), -1.0),
    )
    scores = evaluator.evaluate_batch([plain, sure, unsure])
    reading = {name for name, values in scores.items() if len(set(values.tolist())) > 1}
    assert reading - {"factuality"} == set(FROM_TOKENS)


def score(metric: Metric | CombinedMetric, answers: Sequence[Answer]) -> np.ndarray:
    """Score answers, those of a combined metric with .5 for whatever it needs."""
    if isinstance(metric, CombinedMetric):
        given = {name: np.full(len(answers), 0.5) for name in metric.needs}
        return metric.score(answers, scores=given)
    return metric.score(answers)


AWKWARD = [
    "",
    " ",
    "\n",
    "7",
    "Paris.",
    "a" * 5000,
    "é ß 漢字 \x00",
    "((((",
    "|||",
    "```",
    ",,,",
    "=",
]


RECORDS: tuple[dict[str, Any], ...] = (
    {},
    {"token_log_probs": (-0.1, -2.0), "token_entropies": (0.2, 1.5), "finished": False},
    {"token_log_probs": (), "token_entropies": (), "samples": ("7", ""), "p_true": 0.9},
)


def test_contract(metric: Metric | CombinedMetric) -> None:
    answers = [
        Answer(QUERY, text, form=form, form_size=size, **record)
        for text in AWKWARD
        for form in ("", "number", "word", "list", "sentence", "code", "date", "record")
        for size in (0, 3)
        for record in RECORDS
    ]
    scores = score(metric, answers)
    assert scores.shape == (len(answers),)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(score(metric, answers[::-1]), scores[::-1], rtol=0, atol=1e-6)
    assert score(metric, []).shape == (0,)
    assert metric.direction in DIRECTIONS
    assert METRICS[metric.name].endswith(type(metric).__name__)


def test_docstring_says_what_it_sees_and_what_fools_it(metric: Metric | CombinedMetric) -> None:
    text = type(metric).__doc__ or ""
    assert re.search(r"\*\*Sees\*\*", text)
    assert re.search(r"\*\*Is fooled by\*\*", text)
