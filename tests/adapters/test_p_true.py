"""P(True) through shared questions against one forward pass for each pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.p_true import CONTENT_FREE, MARK, NO, QUESTION, YES, PTrue
from routing_gym.adapters.prompt import render_prompt
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

PAIRS = (
    ("What is the capital of France?", "Paris"),
    ("Who?", "Ann is the tallest of them all."),
    ("What is the capital of France?", "The answer is Paris."),
    ("What is the capital of France?", "Paris"),
    (f"What does {MARK} mean?", "A unit separator"),
    ("Who?", "B"),
)


def margin(model: Any, tokenizer: Any, query: str, response: str) -> float:
    """Log-odds of yes against no from one forward pass over the whole question."""
    before, _, after = render_prompt(tokenizer, QUESTION.format(query=query)).rpartition(MARK)
    parts = [before, response + after]
    ids = [i for text in parts for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double()
    yes, no = (
        {tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words}
        for words in (YES, NO)
    )
    odds = [logits[sorted(side - (yes & no))].exp().sum() for side in (yes, no)]
    return float(torch.log(odds[0] / odds[1]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_it_equals_the_direct_computation(
    architecture: str, batch_size: int, tmp_path: Path
) -> None:
    base = str(save_tiny_model(tmp_path / architecture, architecture))
    queries, responses = zip(*PAIRS, strict=True)
    ticks: list[int] = []
    found = PTrue(base, batch_size=batch_size)(queries, responses, on_batch=ticks.append)
    assert (found.shape, found.dtype) == ((len(PAIRS),), np.float64)
    model, tokenizer = load_base_model(base), load_tokenizer(base)
    gains = [
        margin(model, tokenizer, q, r) - margin(model, tokenizer, q, CONTENT_FREE) for q, r in PAIRS
    ]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(gains))), atol=1e-4)
    assert found.std() > 1e-3
    assert sum(ticks) == len(set(PAIRS))


def test_the_content_free_answer_is_a_coin(tiny_base: Path) -> None:
    assert PTrue(str(tiny_base))(["Who?"], [CONTENT_FREE]).tolist() == [0.5]


def test_an_empty_answer_is_not_true(tiny_base: Path) -> None:
    found = PTrue(str(tiny_base))(["Who?", "Who?", "What?"], ["", "Ann", " \n"])
    assert found[[0, 2]].tolist() == [0.0, 0.0]
    assert 0 < found[1] < 1


def test_a_loaded_model_is_used(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    judge = PTrue("no/such/model", model=model, tokenizer=tokenizer)
    np.testing.assert_array_equal(
        judge(*zip(*PAIRS, strict=True)), PTrue(str(tiny_base))(*zip(*PAIRS, strict=True))
    )


def test_no_pairs(tiny_base: Path) -> None:
    assert PTrue(str(tiny_base))([], []).shape == (0,)


def test_lengths_must_agree(tiny_base: Path) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        PTrue(str(tiny_base))(["Who?"], [])
