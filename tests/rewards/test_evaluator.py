from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from routing_gym.rewards import DEFAULT_METRICS, METRICS
from routing_gym.rewards.base_likelihood import Likelihood
from routing_gym.rewards.encoding import TextEncoder
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer, Direction, Metric
from routing_gym.rewards.registry import EXPENSIVE
from routing_gym.rewards.safety import Safety

QUERY = "What is the capital of France?"


SINGLE = [name for name in METRICS if name != "quality"]


class Encoder:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.extend(texts)
        return np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (len(texts), 1))


def likelihood(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    return np.full(len(queries), -0.25)


def p_true(queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    return np.full(len(queries), 0.4)


class Constant:
    name = "constant"
    direction: Direction = "lower"

    def __init__(self, value: float | np.ndarray = 0.25) -> None:
        self.value = value

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        return np.resize(self.value, len(answers))


@pytest.fixture
def evaluator() -> SelfEvaluator:
    return SelfEvaluator(SINGLE, encoder=Encoder(), likelihood=likelihood, p_true=p_true)


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
            "consistency": 0.5,
            "certainty": 0.5,
            "weakest_token": 0.5,
            "p_true": 0.4,
            "base_likelihood": np.exp(-0.25),
            "tokens": 2 / 128,
            "seconds": 0.1,
        }
    )
    assert all(isinstance(score, float) for score in scores.values())
    assert list(scores) == SINGLE == list(evaluator.names)


def test_defaults_are_all_but_the_expensive() -> None:
    assert set(METRICS) - set(DEFAULT_METRICS) == set(EXPENSIVE)
    assert SelfEvaluator().names == DEFAULT_METRICS


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
    metrics: list[str | Metric] = [Constant(), f"{__name__}:BuiltBySignature", Safety()]
    evaluator = SelfEvaluator(metrics, likelihood=likelihood)
    scores = evaluator.evaluate(query=QUERY, response="x")
    assert scores == {"constant": 0.25, "built": 1.0, "safety": 1.0}


class BuiltBySignature(Constant):
    name = "built"

    def __init__(self, likelihood: Likelihood | None) -> None:
        super().__init__(0.0 if likelihood is None else 1.0)


class Encodes(Constant):
    def __init__(self, encoder: TextEncoder, name: str = "encodes") -> None:
        self.encoder, self.name = encoder, name

    def score(self, answers: Sequence[Answer]) -> np.ndarray:
        self.encoder.encode([answer.response for answer in answers])
        return np.zeros(len(answers))


class EncodesToo(Encodes):
    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(encoder, "encodes_too")


def test_each_text_of_a_batch_is_encoded_once_whoever_asks() -> None:
    encoder = Encoder()
    metrics = ["relevance", f"{__name__}:Encodes", f"{__name__}:EncodesToo"]
    evaluator = SelfEvaluator(metrics, encoder=encoder)
    evaluator.evaluate_batch([Answer(QUERY, "Paris."), Answer(QUERY, "Rome.")])
    assert sorted(encoder.asked) == sorted(["Paris.", "Rome.", QUERY])
    evaluator.evaluate(query=QUERY, response="Paris.")  # another batch: nothing was kept
    assert len(encoder.asked) == 5


class Product:
    """Product of the scores that it needs."""

    direction: Direction = "higher"

    def __init__(self, name: str, needs: tuple[str, ...]) -> None:
        self.name, self.needs = name, needs

    def score(self, answers: Sequence[Answer], *, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        assert set(scores) == set(self.needs)
        return np.prod([scores[name] for name in self.needs], axis=0)


def test_combined_metrics_are_scored_after_what_they_need() -> None:
    evaluator = SelfEvaluator(
        [Product("outer", ("inner", "tokens")), Product("inner", ("constant",)), Constant(0.5)]
    )
    scores = evaluator.evaluate(query=QUERY, response="x", completion_tokens=32)
    assert scores == {"outer": 0.125, "inner": 0.5, "constant": 0.5}  # tokens: taken, not told
    assert list(scores) == list(evaluator.names) == ["outer", "inner", "constant"]
    assert set(evaluator.directions) == set(scores)


def test_what_is_needed_is_scored_once() -> None:
    class Counting(Constant):
        calls = 0

        def score(self, answers: Sequence[Answer]) -> np.ndarray:
            self.calls += 1
            return super().score(answers)

    metric = Counting(0.5)
    needing = [Product(name, ("constant",)) for name in ("one", "two")]
    SelfEvaluator([*needing, metric]).evaluate(query=QUERY, response="x")
    assert metric.calls == 1


def test_needed_metrics_are_held_to_their_range() -> None:
    evaluator = SelfEvaluator([Product("outer", ("constant",)), Constant(2.0)])
    with pytest.raises(ValueError, match=r"'constant' scored 2\.0"):
        evaluator.evaluate(query=QUERY, response="x")


@pytest.mark.parametrize(
    ("needs", "match"),
    [(("inner",), "circle .outer -> inner -> outer"), (("unheard_of",), "unknown metric")],
)
def test_wrong_needs(needs: tuple[str, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SelfEvaluator([Product("outer", needs), Product("inner", ("outer",))])


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
