"""The cheap metrics on the project's own tasks: right answers against wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.queries import TASKS
from routing_gym.queries.query import Example, Query
from routing_gym.queries.registry import resolve
from routing_gym.rewards.completeness import Completeness
from routing_gym.rewards.factuality import UNKNOWN, Factuality
from routing_gym.rewards.metric import Answer, Metric

pytest.importorskip("reasoning_gym")

CHECKABLE = {"ordering", "sorting", "dates", "repeated", "extraction", "sums", "needle"}
METRICS: tuple[Metric, ...] = (Completeness(), Factuality())


def samples(task: str, count: int = 12) -> list[Example]:
    rng = np.random.default_rng(7)
    built = resolve(TASKS, task, kind="task")()
    return [built.sample(1 + i % 3, rng) for i in range(count)]


def means(pairs: list[tuple[Query, str]]) -> tuple[float, float]:
    """Mean completeness and factuality of responses to queries."""
    answers = [Answer(q.text, text, form=q.form, form_size=q.form_size) for q, text in pairs]
    complete, factual = (float(metric.score(answers).mean()) for metric in METRICS)
    return complete, factual


@pytest.mark.parametrize("task", TASKS)
def test_right_answers_score_high(task: str) -> None:
    complete, factual = means([(e.query, e.target) for e in samples(task)])
    assert complete >= 0.95
    assert factual >= (0.95 if task in CHECKABLE else UNKNOWN)


@pytest.mark.parametrize("task", TASKS)
def test_answers_to_another_form_score_low(task: str) -> None:
    examples = samples(task)
    other = samples("keywords" if examples[0].query.form != "sentence" else "lists")
    pairs = [(e.query, o.target) for e, o in zip(examples, other, strict=True)]
    complete, factual = means(pairs)
    right_complete, right_factual = means([(e.query, e.target) for e in examples])
    assert complete <= right_complete - 0.15
    assert factual <= right_factual


@pytest.mark.parametrize("task", sorted(CHECKABLE))
def test_wrong_answers_of_the_right_form_are_seen_where_the_query_shows_it(task: str) -> None:
    examples = samples(task)
    pairs = [
        (e.query, o.target)
        for e, o in zip(examples, examples[3:] + examples[:3], strict=True)
        if e.target != o.target
    ]
    assert means(pairs)[1] <= 0.35


@pytest.mark.parametrize("task", TASKS)
def test_echoes_score_nothing(task: str) -> None:
    pairs = [(e.query, e.query.text) for e in samples(task, 4)]
    assert means(pairs) == (0.0, 0.0)
