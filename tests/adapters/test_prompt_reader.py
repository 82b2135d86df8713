"""Texts that follow a prompt read once, against one forward pass for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.prompt_reader import base_of, follow, read_prompts
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

PROMPTS = ("Who?", "What is the capital of France?", "a")
CONTINUATIONS = ((2, [5, 9, 7]), (0, [11]), (1, [4, 4, 6, 8, 30]))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def reader(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    folder = save_tiny_model(tmp_path_factory.mktemp("m") / request.param, request.param, seed=2)
    return load_base_model(str(folder)), load_tokenizer(str(folder))


def ids_of(tokenizer: Any, prompt: str) -> list[int]:
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def test_the_first_logits_are_those_after_each_prompt(reader: tuple[Any, Any]) -> None:
    model, tokenizer = reader
    with torch.inference_mode():
        read = read_prompts(model, tokenizer, PROMPTS)
        for row, prompt in enumerate(PROMPTS):
            alone = model(input_ids=torch.tensor([ids_of(tokenizer, prompt)])).logits[0, -1]
            torch.testing.assert_close(read.first[row], alone, atol=1e-4, rtol=1e-4)
            assert read.mask[row].sum() == len(ids_of(tokenizer, prompt))


def test_continuations_leave_the_cache_as_it_is(reader: tuple[Any, Any]) -> None:
    model, tokenizer = reader
    rows, ids = zip(*CONTINUATIONS, strict=True)
    with torch.inference_mode():
        read = read_prompts(model, tokenizer, PROMPTS)
        follow(model, read, [1], [[3, 3, 3, 3, 3, 3, 3]])
        tokens, shown, hidden = follow(model, read, rows, ids)
        assert shown.sum(dim=1).tolist() == [3, 1, 5]
        for place, (row, own) in enumerate(CONTINUATIONS):
            assert tokens[place, : len(own)].tolist() == own
            whole = torch.tensor([ids_of(tokenizer, PROMPTS[row]) + own])
            states = model.base_model(input_ids=whole).last_hidden_state[0, -len(own) :]
            torch.testing.assert_close(hidden[place, : len(own)], states, atol=1e-4, rtol=1e-4)


def test_the_transformer_is_found_below_adapters(
    tiny_base: Path, tiny_adapters: dict[str, Path]
) -> None:
    from peft import PeftModel

    plain = load_base_model(str(tiny_base))
    assert base_of(plain) is plain.base_model
    wrapped = PeftModel.from_pretrained(plain, str(tiny_adapters["one"])).eval()
    assert base_of(wrapped) is plain.base_model
