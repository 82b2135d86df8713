from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from routing_gym.rewards import METRICS
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer, Direction
from routing_gym.rewards.safety import Safety

QUERY = "What is the capital of France?"


class Encoder:
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (len(texts), 1))


def likelihood(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    return np.full(len(queries), -0.25)


class Constant:
    name = "constant"
    direction: Direction = "lower"

    def __init__(self, value: float | np.ndarray = 0.25) -> None:
        self.value = value

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        return np.resize(self.value, len(answers))


@pytest.fixture
def evaluator() -> SelfEvaluator:
    return SelfEvaluator(encoder=Encoder(), likelihood=likelihood)


def test_evaluate_returns_the_named_scores(evaluator: SelfEvaluator) -> None:
    scores = evaluator.evaluate(
        query=QUERY, response="Paris.", adapter_used="analysis", form="word", seconds=1.0
    )
    assert scores == pytest.approx(
        {
            "relevance": 1.0,
            "coherence": np.exp(-0.25),
            "completeness": 1.0,
            "factuality": 0.5,
            "safety": 1.0,
            "tokens": 2 / 128,
            "seconds": 0.1,
        }
    )
    assert all(isinstance(score, float) for score in scores.values())
    assert list(scores) == list(METRICS) == list(evaluator.names)


def test_the_adapter_changes_nothing(evaluator: SelfEvaluator) -> None:
    first, second = (
        evaluator.evaluate(query=QUERY, response="Paris.", adapter_used=name)
        for name in ("base", "code")
    )
    assert first == second


def test_directions(evaluator: SelfEvaluator) -> None:
    lower = [name for name, direction in evaluator.directions.items() if direction == "lower"]
    assert lower == ["tokens", "seconds"]


def test_batch_equals_singles(evaluator: SelfEvaluator) -> None:
    texts = ["Paris.", "", "The capital of France is Paris.", QUERY]
    batch = evaluator.evaluate_batch([Answer(QUERY, text, form="word") for text in texts])
    for i, text in enumerate(texts):
        single = evaluator.evaluate(query=QUERY, response=text, form="word")
        assert single == pytest.approx({name: values[i] for name, values in batch.items()})


def test_empty_batch(evaluator: SelfEvaluator) -> None:
    assert {values.shape for values in evaluator.evaluate_batch([]).values()} == {(0,)}


def test_outside_metrics_plug_in() -> None:
    evaluator = SelfEvaluator([Constant(), f"{__name__}:BuiltBySignature", Safety()])
    scores = evaluator.evaluate(query=QUERY, response="x")
    assert scores == {"constant": 0.25, "built": 0.0, "safety": 1.0}


class BuiltBySignature(Constant):
    name = "built"

    def __init__(self, encoder: Encoder | None) -> None:
        super().__init__(0.0 if encoder is None else 1.0)


@pytest.mark.parametrize(
    ("metrics", "match"),
    [
        ([], "at least one"),
        ("safety", "sequence"),
        (["safty"], "unknown metric 'safty'.*did you mean 'safety'"),
        (["nowhere:Metric"], "cannot be imported"),
        (["safety", Safety()], "different names"),
    ],
)
def test_wrong_metrics(metrics: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SelfEvaluator(metrics)


@pytest.mark.parametrize(
    ("value", "match"),
    [(float("nan"), "nan at index 0"), (1.5, "1.5 at index 0"), (-0.1, "-0.1 at index 0")],
)
def test_metrics_are_held_to_their_range(value: float, match: str) -> None:
    with pytest.raises(ValueError, match=f"'constant' scored {match}"):
        SelfEvaluator([Constant(value)]).evaluate(query=QUERY, response="x")


def test_metrics_are_held_to_their_shape() -> None:
    class Flat(Constant):
        def score(self, answers: Sequence[Answer]) -> np.ndarray:
            return np.zeros(7)

    with pytest.raises(ValueError, match=r"shape \(7,\), not \(1,\)"):
        SelfEvaluator([Flat()]).evaluate(query=QUERY, response="x")


def test_wrong_direction() -> None:
    metric = Constant()
    metric.direction = "up"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="direction 'up'"):
        SelfEvaluator([metric])


def test_wrong_measurement(evaluator: SelfEvaluator) -> None:
    with pytest.raises(ValueError, match=r"'second'.*did you mean 'seconds'"):
        evaluator.evaluate(query=QUERY, response="x", second=1.0)
    with pytest.raises(ValueError, match="query='' is empty"):
        evaluator.evaluate(query="", response="x")
    with pytest.raises(ValueError, match="'reference'"):
        evaluator.evaluate(query=QUERY, response="x", reference="Paris")
