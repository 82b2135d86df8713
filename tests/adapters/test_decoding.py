"""Reading prompts in parts, and one batch's decoding from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.adapters import decoding
from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.decoding import Written, decode, greedy, read_in_parts
from routing_gym.adapters.prompt_reader import read_prompts
from tests.adapters.tiny import ARCHITECTURES, save_tiny_model

PROMPTS = (
    "numbers numbers numbers",
    "a",
    "Write a sentence with the words river and lantern, please. It may be long.\n",
    "Who?\n",
    "What is the capital?\n",
    "zebra",
    "1 + 1 =",
)
BUDGETS = np.array([6, 12, 9, 1, 12, 3, 8])


@pytest.fixture(scope="module", params=ARCHITECTURES)
def parts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    folder = save_tiny_model(tmp_path_factory.mktemp("m") / request.param, request.param, seed=3)
    return load_base_model(str(folder), dtype=torch.float32), load_tokenizer(str(folder))


def counted(monkeypatch: pytest.MonkeyPatch, *, limit: int) -> list[tuple[int, int]]:
    """Read at most so many tokens at once; return the shapes of what is read."""
    shapes: list[tuple[int, int]] = []

    def reading(*arguments: Any) -> Any:
        read = read_prompts(*arguments)
        shapes.append(tuple(read.mask.shape))
        return read

    monkeypatch.setitem(decoding._READ_TOKENS, "cpu", limit)
    monkeypatch.setattr(decoding, "_READ_TOKENS_ELSEWHERE", limit)
    monkeypatch.setattr(decoding, "read_prompts", reading)
    return shapes


@pytest.mark.parametrize("limit", [1, 40, 100_000])
def test_parts_hold_what_one_reading_holds(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    shapes = counted(monkeypatch, limit=limit)
    with torch.inference_mode():
        read, order = read_in_parts(*parts, PROMPTS)
        whole = read_prompts(*parts, [PROMPTS[row] for row in order])
    assert sum(rows for rows, _ in shapes) == len(PROMPTS)
    assert all(rows == 1 or rows * width <= limit for rows, width in shapes)
    assert sorted(order.tolist()) == list(range(len(PROMPTS)))
    lengths = read.mask.sum(dim=1).tolist()
    assert lengths == sorted(lengths)
    torch.testing.assert_close(read.mask, whole.mask)
    torch.testing.assert_close(read.first, whole.first, atol=1e-5, rtol=1e-4)
    for own, other in zip(read.cache.layers, whole.cache.layers, strict=True):
        assert own.get_seq_length() == other.get_seq_length()
        for row, length in enumerate(lengths):  # left of them is padding
            for name in ("keys", "values"):
                ours, theirs = (getattr(layer, name)[row, :, -length:] for layer in (own, other))
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("repeats", [1, 3])
def test_parts_change_no_answer(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, repeats: int
) -> None:
    model, tokenizer = parts

    def answers(limit: int) -> tuple[list[Written], list[int]]:
        counted(monkeypatch, limit=limit)
        with torch.inference_mode():
            written, lengths = decode(
                model, tokenizer, PROMPTS, BUDGETS, choose=greedy, repeats=repeats
            )
        return written, lengths.tolist()

    (many, read_by_many), (one, read_by_one) = answers(1), answers(100_000)
    assert read_by_many == read_by_one
    assert read_by_one == [
        len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in PROMPTS
    ]
    assert len(many) == repeats * len(PROMPTS)
    for row, (first, second) in enumerate(zip(many, one, strict=True)):
        assert first.tokens == second.tokens
        assert first.log_probs == pytest.approx(second.log_probs, abs=1e-4)
        assert len(first.tokens) <= BUDGETS[row // repeats]
        assert first.tokens == many[row // repeats * repeats].tokens


def test_a_sliding_window_survives_the_joining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "m", "mistral", seed=3)
    model, tokenizer = (
        load_base_model(str(folder), dtype=torch.float32),
        load_tokenizer(str(folder)),
    )
    model.config.sliding_window = 8  # shorter than some prompts
    expected, found = [], []
    for limit, answers in ((100_000, expected), (1, found)):
        counted(monkeypatch, limit=limit)
        with torch.inference_mode():
            answers += decode(model, tokenizer, PROMPTS, BUDGETS, choose=greedy)[0]
    assert [row.tokens for row in found] == [row.tokens for row in expected]
