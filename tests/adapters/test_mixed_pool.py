"""Each row of a mixed batch gets its own adapter, whoever is beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from routing_gym.adapters.mixed_pool import MixedPool
from routing_gym.adapters.open_batch import OpenBatch, Row
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from tests.adapters.tiny import (
    ARCHITECTURES,
    TARGETS,
    TEXTS,
    save_tiny_adapter,
    save_tiny_model,
)

NAMES = ("base", "one", "two")


def spec_of(base: Path, adapters: dict[str, Path]) -> PoolSpec:
    arms = [AdapterSpec("base"), *(AdapterSpec(name, path) for name, path in adapters.items())]
    return PoolSpec(str(base), tuple(arms))


@pytest.fixture(scope="module")
def spec(tiny_base: Path, tiny_adapters: dict[str, Path]) -> PoolSpec:
    return spec_of(tiny_base, tiny_adapters)


@pytest.fixture(scope="module")
def mixed(spec: PoolSpec) -> MixedPool:
    return MixedPool(spec)


@pytest.fixture(scope="module")
def merged(spec: PoolSpec) -> AdapterPool:
    return AdapterPool(spec)


def prompt_of(pool: MixedPool, text: str) -> list[int]:
    ids = pool.tokenizer(render_prompt(pool.tokenizer, text), add_special_tokens=False)
    return list(ids["input_ids"])


def written(pool: MixedPool, rows: list[Row], *, steps: int, late: int = 0) -> dict[int, list[int]]:
    """Decode rows; the last ``late`` of them join one by one after two steps each."""
    batch, answers = OpenBatch(pool), {row.key: [] for row in rows}  # type: ignore[var-annotated]
    waiting = rows[len(rows) - late :]
    batch.join(rows[: len(rows) - late])
    for step in range(steps + 3 * late):
        if waiting and step % 2:
            batch.join([waiting.pop(0)])
        for row, token in zip(batch.rows, batch.choose(), strict=True):
            answers[row.key].append(token)
        batch.leave({key for key, tokens in answers.items() if len(tokens) == steps})
        batch.advance()
    assert not batch.rows
    assert batch.width == 0
    return answers


def test_rows_get_their_own_adapters_logits(mixed: MixedPool, merged: AdapterPool) -> None:
    ids = torch.tensor([prompt_of(mixed, TEXTS[0])] * 5)
    names = ("two", "base", "one", "base", "two")
    with torch.inference_mode():
        found = mixed.forward(names, input_ids=ids).numpy()
    for name, row in zip(names, found, strict=True):
        merged.activate(name)
        np.testing.assert_allclose(row, merged.logits([TEXTS[0]])[0], atol=1e-4)


def test_no_adapter_is_merged_and_the_base_is_held_once(mixed: MixedPool) -> None:
    from peft.tuners.lora import LoraLayer

    layers = [layer for layer in mixed.model.modules() if isinstance(layer, LoraLayer)]
    assert layers
    assert not any(layer.merged for layer in layers)


@pytest.mark.parametrize("late", [0, 1, 7])
def test_rows_are_decoded_as_if_alone(mixed: MixedPool, merged: AdapterPool, late: int) -> None:
    asked = [(name, text) for text in TEXTS for name in NAMES]
    rows = [
        Row(key, name, prompt_of(mixed, text)) for key, (name, text) in enumerate(asked, start=5)
    ]
    answers = written(mixed, rows, steps=32, late=late)
    for key, (name, text) in enumerate(asked, start=5):
        (expected,) = merged.generate(name, [text], forms=["word"])
        tokens = answers[key][: expected.completion_tokens]
        found = mixed.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert found == expected.text, (name, text)


@pytest.mark.parametrize("late", [0, 7])
def test_signals_are_those_of_the_pools_answers(
    mixed: MixedPool, merged: AdapterPool, late: int
) -> None:
    asked = [(name, text) for text in TEXTS for name in NAMES]
    rows = [Row(key, name, prompt_of(mixed, text)) for key, (name, text) in enumerate(asked)]
    batch, measured = OpenBatch(mixed, signals=True), {row.key: [] for row in rows}  # type: ignore[var-annotated]
    batch.join(rows[late:])
    waiting = rows[:late]
    while batch.rows or waiting:
        if waiting:
            batch.join([waiting.pop()])
        batch.choose()
        for row, signal in zip(batch.rows, batch.signals, strict=True):
            measured[row.key].append(signal)
        batch.leave({key for key, signals in measured.items() if len(signals) == 32})
        batch.advance()
    for key, (name, text) in enumerate(asked):
        (expected,) = merged.generate(name, [text], forms=["word"])
        found = np.array(measured[key][: expected.completion_tokens])
        np.testing.assert_allclose(found[:, 0], expected.token_log_probs, atol=1e-4)
        np.testing.assert_allclose(found[:, 1], expected.token_entropies, atol=1e-4)


def test_signals_change_no_token_and_do_not_depend_on_temperature(mixed: MixedPool) -> None:
    def batch_of(*, signals: bool) -> tuple[list[int], list[tuple[float, float]]]:
        batch = OpenBatch(mixed, signals=signals)
        prompt = prompt_of(mixed, TEXTS[1])
        temperatures = (0.0, 1e-4, 3.0)
        batch.join(
            [Row(k, "one", prompt, t, np.random.default_rng(1)) for k, t in enumerate(temperatures)]
        )
        return batch.choose(), batch.signals

    plain, nothing = batch_of(signals=False)
    tokens, signals = batch_of(signals=True)
    assert tokens == plain
    assert not nothing
    assert signals[0] == pytest.approx(signals[1], abs=1e-5)
    assert signals[0][1] == pytest.approx(signals[2][1], abs=1e-5)
    assert signals[2][0] < signals[0][0]


def test_sampled_rows_do_not_depend_on_their_company(mixed: MixedPool) -> None:
    def row(key: int, seed: int, temperature: float = 1.0) -> Row:
        prompt = prompt_of(mixed, TEXTS[seed % len(TEXTS)])
        return Row(key, NAMES[key % 3], prompt, temperature, np.random.default_rng(seed))

    alone = [written(mixed, [row(key, key)], steps=12)[key] for key in range(6)]
    together = written(mixed, [row(key, key) for key in range(6)], steps=12, late=3)
    assert [together[key] for key in range(6)] == alone
    again = written(mixed, [row(0, 17)], steps=12)[0]
    assert again != alone[0]


def test_greedy_and_sampled_rows_share_a_batch(mixed: MixedPool) -> None:
    prompt = prompt_of(mixed, TEXTS[1])
    greedy = Row(0, "one", prompt)
    cold = Row(1, "one", prompt, 1e-4, np.random.default_rng(0))
    warm = Row(2, "one", prompt, 5.0, np.random.default_rng(0))
    answers = written(mixed, [greedy, cold, warm], steps=10)
    assert answers[0] == answers[1] != answers[2]


def test_the_cache_narrows_when_the_longest_leaves(mixed: MixedPool) -> None:
    long, short = prompt_of(mixed, TEXTS[2] * 3), prompt_of(mixed, TEXTS[3])
    batch = OpenBatch(mixed)
    batch.join([Row(0, "one", long), Row(1, "two", short)])
    assert batch.width == len(long)
    batch.choose()
    batch.leave({0, 99})
    assert batch.width == len(short)
    batch.advance()
    assert batch.width == len(short) + 1
    assert {layer.keys.shape[-2] for layer in batch._cache.layers} == {len(short) + 1}


def test_long_prompts_are_read_in_parts(mixed: MixedPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> list[Row]:
        return [Row(0, "one", prompt_of(mixed, TEXTS[2])), Row(1, "two", prompt_of(mixed, "Who?"))]

    expected = written(mixed, rows(), steps=12)
    monkeypatch.setattr("routing_gym.adapters.open_batch.READ_COLUMNS", 7)
    assert written(mixed, rows(), steps=12) == expected
    batch = OpenBatch(mixed)
    batch.join(rows()[1:])
    batch.begin(rows()[:1])
    parts = 0
    while not batch.read_on():  # the other is written meanwhile
        assert [row.key for row in batch.rows] == [1]
        assert batch.choose() == [expected[1][parts]]
        batch.advance()
        parts += 1
    assert parts == (len(rows()[0].prompt) - 1) // 7
    assert [row.key for row in batch.rows] == [1, 0]
    assert batch.choose() == [expected[1][parts], expected[0][0]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture: str, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", architecture)
    targets = TARGETS[architecture]
    adapters = {"one": save_tiny_adapter(tmp_path / "one", base, seed=1, targets=targets)}
    spec = spec_of(base, adapters)
    mixed, merged = MixedPool(spec), AdapterPool(spec)
    rows = [Row(key, name, prompt_of(mixed, TEXTS[key])) for key, name in enumerate(NAMES[:2])]
    answers = written(mixed, rows, steps=20, late=1)
    for key, name in enumerate(NAMES[:2]):
        (expected,) = merged.generate(name, [TEXTS[key]], forms=["word"])
        text = mixed.tokenizer.decode(answers[key], skip_special_tokens=True).strip()
        shorter, longer = sorted((text, expected.text), key=len)
        assert longer.startswith(shorter)
        assert shorter


def test_a_pool_of_nothing_but_bases(tiny_base: Path) -> None:
    pool = MixedPool(PoolSpec(str(tiny_base), (AdapterSpec("a"), AdapterSpec("b"))))
    prompt = prompt_of(pool, TEXTS[0])
    answers = written(pool, [Row(0, "a", prompt), Row(1, "b", prompt)], steps=5)
    assert answers[0] == answers[1]


def test_an_inert_adapter_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    inert = save_tiny_adapter(tmp_path / "inert", tiny_base, seed=1, scale=0.0)
    with pytest.raises(ValueError, match="adapter 'inert' changes no logit of the base"):
        MixedPool(spec_of(tiny_base, {"inert": inert}))


def test_rows_that_get_another_adapter_are_refused(
    spec: PoolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MixedPool.forward

    def silent(self: MixedPool, adapters: list[str], **inputs: Any) -> Any:
        return plain(self, ["base"] * len(adapters), **inputs)

    monkeypatch.setattr(MixedPool, "forward", silent)
    with pytest.raises(ValueError, match=r"adapter 'one' is not active in a mixed batch: .*'base'"):
        MixedPool(spec)
