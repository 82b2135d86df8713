"""The self-evaluator: an answer's named scores, without a reference."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from routing_gym.queries.registry import resolve
from routing_gym.rewards.base_likelihood import Likelihood
from routing_gym.rewards.encoding import RememberingEncoder, TextEncoder
from routing_gym.rewards.metric import DIRECTIONS, Answer, CombinedMetric, Direction, Metric
from routing_gym.rewards.p_true import Judgement
from routing_gym.rewards.registry import DEFAULT_METRICS, METRICS

MEASUREMENTS = tuple(
    field.name for field in dataclasses.fields(Answer) if field.name not in ("query", "response")
)


class SelfEvaluator:
    """Scores answers on several metrics; no metric sees a reference or who answered.

    Parameters
    ----------
    metrics
        Names from the `METRICS` registry, ``"module:attribute"`` of outside code, or metrics.
    encoder
        For metrics that embed texts; None loads all-MiniLM-L6-v2 when one of them needs it.
    likelihood
        ``(queries, responses) -> (N,)`` mean token log-likelihoods under the base model; None
        lets a metric load that model when it meets an answer without one.
    p_true
        ``(queries, responses) -> (N,)`` the base model's probability that an answer is right;
        None lets a metric load that model when it meets an answer without one.

    Raises
    ------
    ValueError
        If there is no metric, a name is unknown, two metrics share a name, or metrics need each
        other in a circle.

    Notes
    -----
    A metric that needs others (`routing_gym.rewards.metric.CombinedMetric`) is scored after them;
    what it needs and was not asked for is scored too, and left out of the result. Each distinct
    text of a batch is encoded once.
    """

    def __init__(
        self,
        metrics: Sequence[str | Metric | CombinedMetric] = DEFAULT_METRICS,
        *,
        encoder: TextEncoder | None = None,
        likelihood: Likelihood | None = None,
        p_true: Judgement | None = None,
    ) -> None:
        if isinstance(metrics, str) or not metrics:
            raise ValueError(f"metrics={metrics!r} must be a sequence of at least one metric.")
        self._encoder = RememberingEncoder(encoder)
        self._resources = {
            "encoder": self._encoder,
            "likelihood": likelihood,
            "p_true": p_true,
        }
        built = [_build(m, self._resources) if isinstance(m, str) else m for m in metrics]
        self._metrics = {metric.name: metric for metric in built}
        if len(self._metrics) < len(built):
            raise ValueError(f"metrics={[m.name for m in built]} must have different names.")
        for metric in built:
            if metric.direction not in DIRECTIONS:
                raise ValueError(
                    f"metric {metric.name!r} has direction {metric.direction!r}: "
                    f"use one of {DIRECTIONS}."
                )
        self._order: dict[str, Metric | CombinedMetric] = {}
        for metric in built:
            self._plan(metric, above=())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics, in their order."""
        return tuple(self._metrics)

    @property
    def directions(self) -> dict[str, Direction]:
        """Whether higher or lower is better, by metric."""
        return {name: metric.direction for name, metric in self._metrics.items()}

    def evaluate(
        self, *, query: str, response: str, adapter_used: str = "", **measurements: Any
    ) -> dict[str, float]:
        """Score one answer.

        Parameters
        ----------
        query, response
            The texts.
        adapter_used
            Who answered, for the caller's records; no metric reads it.
        **measurements
            Any further field of `Answer` (form, finished, completion_tokens, ...).

        Returns
        -------
        dict[str, float]
            Score in [0, 1] by metric name.

        Raises
        ------
        ValueError
            If the query is empty or a measurement is unknown or out of range.
        """
        for name in measurements:
            if name not in MEASUREMENTS:
                near = difflib.get_close_matches(name, MEASUREMENTS, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"unknown measurement {name!r}: known are {', '.join(MEASUREMENTS)}; "
                    f"did you mean {near!r}?"
                )
        scores = self.evaluate_batch([Answer(query, response, **measurements)])
        return {name: float(values[0]) for name, values in scores.items()}

    def evaluate_batch(self, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        """Score many answers at once.

        Returns
        -------
        dict[str, ndarray]
            By metric name: float64 (N,) in [0, 1].

        Raises
        ------
        ValueError
            If a metric returns another shape or a score outside [0, 1].
        """
        if not answers:
            return {name: np.zeros(0) for name in self._metrics}
        scores: dict[str, np.ndarray] = {}
        try:
            for name, metric in self._order.items():
                if isinstance(metric, CombinedMetric):
                    known = {need: scores[need] for need in metric.needs}
                    values = metric.score(answers, scores=known)
                else:
                    values = metric.score(answers)
                scores[name] = _checked(values, name, len(answers))
        finally:
            self._encoder.forget()
        return {name: scores[name] for name in self._metrics}

    def _plan(self, metric: Metric | CombinedMetric, *, above: tuple[str, ...]) -> None:
        """Put a metric into the order of scoring, after those that it needs."""
        if metric.name in above:
            circle = " -> ".join((*above, metric.name))
            raise ValueError(f"metrics need each other in a circle ({circle}): break it.")
        for name in metric.needs if isinstance(metric, CombinedMetric) else ():
            if name not in self._order:
                needed = self._metrics.get(name) or _build(name, self._resources)
                self._plan(needed, above=(*above, metric.name))
        self._order.setdefault(metric.name, metric)


def _build(name: str, resources: dict[str, Any]) -> Metric | CombinedMetric:
    """Make a metric of the registry, giving it the resources that its signature names."""
    factory: Callable[..., Metric | CombinedMetric] = resolve(METRICS, name, kind="metric")
    wanted = inspect.signature(factory).parameters
    return factory(**{key: value for key, value in resources.items() if key in wanted})


def _checked(scores: np.ndarray, name: str, count: int) -> np.ndarray:
    """Hold a metric to its contract: (N,), finite, in [0, 1]."""
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"metric {name!r} returned shape {values.shape}, not ({count},).")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise ValueError(
            f"metric {name!r} scored {values[wrong[0]]} at index {wrong[0]}: scores are in [0, 1]."
        )
    return values
