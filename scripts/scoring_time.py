"""Timing the self-evaluator by its parts, beside the generation of what it scores."""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.queries.query import Query
from routing_gym.queries.registry import resolve
from routing_gym.rewards.encoding import RememberingEncoder, TextEncoder
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.registry import METRICS

ENCODER = "encoder"


class Clock:
    """Seconds by name; what runs inside something else is taken off it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def time(self, name: str, function: Any, *arguments: Any, **options: Any) -> Any:
        """Call a function and add its own seconds to a name."""
        self._inner.append(0.0)
        started = time.perf_counter()
        result = function(*arguments, **options)
        elapsed = time.perf_counter() - started
        self.seconds[name] += elapsed - self._inner.pop()
        self._inner[-1] += elapsed
        return result


class TimedEncoder:
    """An encoder whose seconds are counted."""

    def __init__(self, encoder: TextEncoder, clock: Clock) -> None:
        self._encoder = encoder
        self._clock = clock

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 (N, D)."""
        return np.asarray(self._clock.time(ENCODER, self._encoder.encode, texts))


class TimedMetric:
    """A metric whose own seconds are counted, without those of the encoder."""

    def __init__(self, metric: Any, clock: Clock) -> None:
        self.name = metric.name
        self.direction = metric.direction
        if hasattr(metric, "needs"):
            self.needs = metric.needs
        self._metric = metric
        self._clock = clock

    def score(self, answers: Sequence[Answer], **scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Score a batch: float64 (N,) in [0, 1]."""
        return np.asarray(self._clock.time(self.name, self._metric.score, answers, **scores))


@dataclass(frozen=True)
class Batch:
    """What one arm's batch took: seconds of generation, of scoring, and by part of the scoring."""

    adapter: str
    answers: int
    generation: float
    scoring: float
    parts: dict[str, float]


class Scorer:
    """The self-evaluator with a clock on the encoder and on every metric."""

    def __init__(self, metrics: Sequence[str], encoder: TextEncoder) -> None:
        self.clock = Clock()
        self._encoder = RememberingEncoder(TimedEncoder(encoder, self.clock))
        self._evaluator = SelfEvaluator(
            [TimedMetric(self._build(name), self.clock) for name in metrics]
        )

    def score(self, answers: Sequence[Answer]) -> tuple[float, dict[str, float]]:
        """Score a batch with fresh encodings; return the seconds in all and by part."""
        self._encoder.forget()
        self.clock.seconds.clear()
        started = time.perf_counter()
        self._evaluator.evaluate_batch(answers)
        return time.perf_counter() - started, dict(self.clock.seconds)

    def _build(self, name: str) -> Any:
        """Make a metric, with the shared encoder if it takes one."""
        factory = resolve(METRICS, name, kind="metric")
        takes = "encoder" in inspect.signature(factory).parameters
        return factory(encoder=self._encoder) if takes else factory()


def measure_batch(pool: Any, scorer: Scorer, name: str, queries: Sequence[Query]) -> Batch:
    """Let one arm answer queries in one batch, and score its answers."""
    pool.activate(name)  # switching adapters is no part of generating
    started = time.perf_counter()
    completions = pool.generate(
        name,
        [q.text for q in queries],
        forms=[q.form for q in queries],
        batch_size=len(queries),
    )
    generation = time.perf_counter() - started
    answers = [
        Answer(
            query=q.text,
            response=c.text,
            form=q.form,
            form_size=q.form_size,
            finished=c.finished,
            prompt_tokens=c.prompt_tokens,
            completion_tokens=c.completion_tokens,
            seconds=c.seconds,
            token_log_probs=c.token_log_probs,
            token_entropies=c.token_entropies,
        )
        for q, c in zip(queries, completions, strict=True)
    ]
    scoring, parts = scorer.score(answers)
    return Batch(name, len(answers), generation, scoring, parts)


def figures(batches: Sequence[Batch], *, rng: np.random.Generator) -> dict[str, Any]:
    """Put what was measured into named figures.

    Parameters
    ----------
    batches
        At least one; batches of one arm are resampled among themselves.
    rng
        Source of the bootstrap.

    Returns
    -------
    dict
        ``scoring_over_generation`` (total seconds of scoring over total seconds of generating)
        for all arms and each, with 95 % bootstrap intervals over batches; seconds per answer of
        generation, of scoring, and of each part of the scoring.
    """
    arms = np.array([batch.adapter for batch in batches])
    scoring = np.array([batch.scoring for batch in batches])
    generation = np.array([batch.generation for batch in batches])
    answers = sum(batch.answers for batch in batches)

    def ratio(rows: np.ndarray) -> dict[str, float]:
        bootstrap = PairedBootstrap(int(rows.sum()), rng=rng, strata=arms[rows])
        interval: Interval = bootstrap.ratio(scoring[rows], generation[rows])
        return interval.as_dict()

    content: dict[str, Any] = {
        "scoring_over_generation": ratio(np.ones(len(batches), dtype=bool)),
        **{f"scoring_over_generation_{name}": ratio(arms == name) for name in dict.fromkeys(arms)},
        "generation_seconds_per_answer": float(generation.sum() / answers),
        "scoring_seconds_per_answer": float(scoring.sum() / answers),
    }
    for part in sorted({part for batch in batches for part in batch.parts}):
        total = sum(batch.parts.get(part, 0.0) for batch in batches)
        content[f"scoring_seconds_per_answer_{part}"] = total / answers
    return content | {"answers": answers, "batches": len(batches)}
