"""Token signals through shared prompts against the full logits of one pair at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.adapters.token_signals import TokenSignals, token_signals
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

ANSWERS = (
    ("What is the capital of France?", "Paris", True),
    ("Who?", "Ann is the tallest of them all.", False),
    ("What is the capital of France?", "The answer is Paris.", True),
    ("What is the capital of France?", "Paris", False),
    ("Sort 3, 1, 2", "1, 2, 3", True),
    ("What is the capital of France?", "Paris", True),
    ("Who?", "", True),
    ("Write a sentence with the words river and lantern.", "x", False),
)
QUERIES, RESPONSES, FINISHED = (list(column) for column in zip(*ANSWERS, strict=True))


def direct(model: Any, tokenizer: Any, query: str, response: str, end: bool) -> np.ndarray:
    """Log-probabilities and entropies (2, T) from the full logits of one forward pass."""
    prompt = tokenizer(render_prompt(tokenizer, query), add_special_tokens=False)["input_ids"]
    answer = tokenizer(response, add_special_tokens=False)["input_ids"]
    answer = answer + [tokenizer.eos_token_id] * end
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    chances = logits.log_softmax(dim=-1)[len(prompt) - 1 : -1]
    entropies = -(chances.exp() * chances).sum(dim=-1)
    return np.array([chances[range(len(answer)), answer].tolist(), entropies.tolist()])


def check(found: list[TokenSignals], model: Any, tokenizer: Any) -> None:
    for signals, answer in zip(found, ANSWERS, strict=True):
        assert signals.log_probs.dtype == signals.entropies.dtype == np.float32
        log_probs, entropies = direct(model, tokenizer, *answer)
        np.testing.assert_allclose(signals.log_probs, log_probs, atol=1e-4)
        np.testing.assert_allclose(signals.entropies, entropies, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_they_equal_the_direct_computation(
    architecture: str, batch_size: int, tmp_path: Path
) -> None:
    base = str(save_tiny_model(tmp_path / architecture, architecture))
    model, tokenizer = load_base_model(base), load_tokenizer(base)
    ticks: list[int] = []
    found = token_signals(
        model,
        tokenizer,
        QUERIES,
        RESPONSES,
        FINISHED,
        batch_size=batch_size,
        on_batch=ticks.append,
    )
    check(found, model, tokenizer)
    assert sum(ticks) == len(set(ANSWERS))


def test_few_tokens_at_once_give_the_same(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing_gym.adapters.token_signals._TOKENS_AT_ONCE", 3)
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    check(token_signals(model, tokenizer, QUERIES, RESPONSES, FINISHED), model, tokenizer)


@pytest.mark.parametrize("name", ["base", "one", "two"])
def test_they_are_those_of_the_active_adapter(
    tiny_base: Path, tiny_adapters: dict[str, Path], name: str
) -> None:
    from peft import PeftModel

    arms = (AdapterSpec("base"), *(AdapterSpec(n, path) for n, path in tiny_adapters.items()))
    pool = AdapterPool(PoolSpec(str(tiny_base), arms))
    pool.activate(name)
    found = token_signals(pool.model, pool.tokenizer, QUERIES, RESPONSES, FINISHED)
    model = load_base_model(str(tiny_base))
    if name != "base":  # unmerged, so that merging is tested too
        model = PeftModel.from_pretrained(model, str(tiny_adapters[name])).eval()
    check(found, model, pool.tokenizer)


def test_the_end_token_is_optional(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    (without,) = token_signals(model, tokenizer, ["Who?"], ["Ann"])
    (with_end,) = token_signals(model, tokenizer, ["Who?"], ["Ann"], [True])
    np.testing.assert_allclose(with_end.log_probs[:-1], without.log_probs, atol=1e-5)
    (nothing,) = token_signals(model, tokenizer, ["Who?"], [" \n"])
    assert len(nothing.log_probs) == len(nothing.entropies) == 0


def test_a_model_without_an_end_token_cannot_have_finished(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    tokenizer.eos_token_id = None
    model.generation_config.eos_token_id = [7, 5]
    (own,) = token_signals(model, tokenizer, ["Who?"], ["Ann"], [True])
    tokenizer.eos_token_id = 5
    (expected,) = token_signals(model, tokenizer, ["Who?"], ["Ann"], [True])
    np.testing.assert_array_equal(own.log_probs, expected.log_probs)
    tokenizer.eos_token_id = None
    model.generation_config = SimpleNamespace(eos_token_id=None)
    assert len(token_signals(model, tokenizer, ["Who?"], ["Ann"])) == 1
    with pytest.raises(ValueError, match="have an end token: set eos_token_id"):
        token_signals(model, tokenizer, ["Who?"], ["Ann"], [True])


@pytest.mark.parametrize(("responses", "finished"), [([], None), (["Ann"], [True, False])])
def test_lengths_must_agree(
    tiny_base: Path, responses: list[str], finished: list[bool] | None
) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    with pytest.raises(ValueError, match=r"shorter|longer"):
        token_signals(model, tokenizer, ["Who?"], responses, finished)


def test_no_answers(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    assert token_signals(model, tokenizer, [], []) == []
