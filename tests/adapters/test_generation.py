"""Batched greedy decoding against transformers' own, one prompt at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.decoding import end_token_ids
from routing_gym.adapters.generation import Completion, generate
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

PROMPTS = (
    "What is the capital?\n",
    "Sort 3, 1, 2\n",
    "a",
    "Write a sentence with the words river and lantern, please. It may be long.\n",
    "Who?\n",
    "numbers numbers numbers",
    "zebra",
    "1 + 1 =",
)
BUDGETS = (6, 12, 1, 9, 12, 3, 12, 5)


def one_by_one(model: Any, tokenizer: Any) -> list[list[int]]:
    """Let transformers answer every prompt on its own; return the new tokens."""
    answers = []
    for prompt, budget in zip(PROMPTS, BUDGETS, strict=True):
        encoded = tokenizer([prompt], return_tensors="pt", add_special_tokens=False)
        output = model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=budget,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        answers.append(output[0, encoded["input_ids"].shape[1] :].tolist())
    return answers


def end_early(model: Any, tokenizer: Any) -> set[int]:
    """Make an end token of one that ends some answers early and others never."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    answers = one_by_one(model, tokenizer)
    candidates = {token for tokens in answers for token in tokens[1:-1]}
    best = max(
        sorted(candidates),
        key=lambda token: len({tokens.index(token) for tokens in answers if token in tokens}),
    )
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, best]
    return {tokenizer.eos_token_id, best}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model_and_tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    folder = save_tiny_model(tmp_path_factory.mktemp("m") / request.param, request.param, seed=3)
    return load_base_model(str(folder), dtype=torch.float32), load_tokenizer(str(folder))


def check(answers: Sequence[Completion], expected: list[list[int]], tokenizer: Any) -> None:
    for answer, tokens in zip(answers, expected, strict=True):
        assert answer.completion_tokens == len(tokens)
        assert answer.text == tokenizer.decode(tokens, skip_special_tokens=True).strip()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_answer_as_single_prompts_do(
    model_and_tokenizer: tuple[Any, Any], batch_size: int
) -> None:
    model, tokenizer = model_and_tokenizer
    ends = end_early(model, tokenizer)
    expected = one_by_one(model, tokenizer)
    early = [t for t, b in zip(expected, BUDGETS, strict=True) if len(t) < b]
    late = [t for t in expected if t[-1] not in ends]
    assert early, "the case needs rows that finish early"
    assert late, "and rows that reach their budget"
    answers = generate(model, tokenizer, PROMPTS, max_new_tokens=BUDGETS, batch_size=batch_size)
    check(answers, expected, tokenizer)
    assert [a.finished for a in answers] == [tokens[-1] in ends for tokens in expected]


def test_an_end_token_as_the_first_or_the_last_token(
    model_and_tokenizer: tuple[Any, Any],
) -> None:
    model, tokenizer = model_and_tokenizer
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    tokens = one_by_one(model, tokenizer)[0]
    for place in range(len(tokens)):
        end = tokens[place]
        model.generation_config.eos_token_id = [end]
        (answer,) = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=[place + 1])
        assert answer.finished
        assert answer.completion_tokens == tokens.index(end) + 1


def test_counts_times_and_ticks(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    ticks: list[int] = []
    answers = generate(
        model, tokenizer, PROMPTS, max_new_tokens=BUDGETS, batch_size=3, on_batch=ticks.append
    )
    assert ticks == [3, 3, 2]
    read = [len(tokenizer(p, add_special_tokens=False)["input_ids"]) for p in PROMPTS]
    assert [a.prompt_tokens for a in answers] == read
    assert all(a.seconds > 0 for a in answers)
    for answer, budget in zip(answers, BUDGETS, strict=True):
        assert answer.completion_tokens <= budget
        assert answer.finished or answer.completion_tokens == budget


def test_seconds_are_shares_of_the_batch(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 14.0])
    monkeypatch.setattr(
        "routing_gym.adapters.generation.time", SimpleNamespace(perf_counter=lambda: next(clock))
    )
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    answers = generate(model, tokenizer, PROMPTS, max_new_tokens=BUDGETS)
    tokens = [a.prompt_tokens + a.completion_tokens for a in answers]
    assert [a.seconds for a in answers] == pytest.approx([4 * t / sum(tokens) for t in tokens])


def test_nothing_to_do(tiny_base: Path) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    assert generate(model, tokenizer, [], max_new_tokens=[]) == []


@pytest.mark.parametrize(
    ("prompts", "budgets", "message"),
    [
        (["a"], [], "1 prompts, 0 budgets: give one each"),
        (["a", " \n"], [3, 3], "prompt 1 is empty"),
        (["a"], [0], "its budget 0 is below 1 token"),
    ],
)
def test_wrong_input(tiny_base: Path, prompts: list[str], budgets: list[int], message: str) -> None:
    model, tokenizer = load_base_model(str(tiny_base)), load_tokenizer(str(tiny_base))
    with pytest.raises(ValueError, match=message):
        generate(model, tokenizer, prompts, max_new_tokens=budgets)


@pytest.mark.parametrize(
    ("configured", "tokenizers", "ends"),
    [(3, 1, {1, 3}), ([3, 4], 1, {1, 3, 4}), (None, 1, {1}), (3, None, {3}), (None, None, set())],
)
def test_end_tokens(configured: Any, tokenizers: int | None, ends: set[int]) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=configured))
    assert end_token_ids(model, SimpleNamespace(eos_token_id=tokenizers)) == ends
