"""Likelihoods through shared prompts against one forward pass for each pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.likelihood import BaseLikelihood
from routing_gym.adapters.prompt import render_prompt
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

PAIRS = (
    ("What is the capital of France?", "Paris"),
    ("Who?", "Ann is the tallest of them all."),
    ("What is the capital of France?", "The answer is Paris."),
    ("Sort 3, 1, 2", "1, 2, 3"),
    ("What is the capital of France?", "Paris"),
    ("Who?", "B"),
    ("Who?", "Paris"),
    ("Write a sentence with the words river and lantern.", "x"),
)


def direct(base: str, query: str, response: str) -> float:
    """Compute one mean log-likelihood from the full logits."""
    model, tokenizer = load_base_model(base), load_tokenizer(base)
    prompt = tokenizer(render_prompt(tokenizer, query), add_special_tokens=False)["input_ids"]
    answer = tokenizer(response, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
    chances = logits.log_softmax(dim=-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return float(np.mean([float(chances[p, t]) for p, t in zip(places, answer, strict=True)]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_it_equals_the_direct_computation(
    architecture: str, batch_size: int, tmp_path: Path
) -> None:
    base = str(save_tiny_model(tmp_path / architecture, architecture))
    queries, responses = zip(*PAIRS, strict=True)
    scores = BaseLikelihood(base, batch_size=batch_size)(queries, responses)
    assert (scores.shape, scores.dtype) == ((len(PAIRS),), np.float64)
    expected = [direct(base, query, response) for query, response in PAIRS]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert (scores < 0).all()


def test_a_loaded_model_is_used(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    likelihood = BaseLikelihood("no/such/model", model=model, tokenizer=tokenizer)
    query, response = PAIRS[0]
    assert likelihood([query], [response])[0] == pytest.approx(
        direct(str(tiny_base), query, response), rel=1e-4
    )


def test_empty_responses_are_impossible(tiny_base: Path) -> None:
    scores = BaseLikelihood(str(tiny_base))(["Who?", "Who?", "What?"], ["", "Ann", " \n"])
    assert np.isneginf(scores).tolist() == [True, False, True]


def test_no_pairs(tiny_base: Path) -> None:
    assert BaseLikelihood(str(tiny_base))([], []).shape == (0,)


def test_lengths_must_agree(tiny_base: Path) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        BaseLikelihood(str(tiny_base))(["Who?"], [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_runs_on_a_gpu(tiny_base: Path) -> None:
    scores = BaseLikelihood(str(tiny_base))(["Who?"], ["Ann is."])
    assert np.isfinite(scores).all()
