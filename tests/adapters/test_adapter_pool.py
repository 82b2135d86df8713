"""The pool: exact switching, and adapters that may not join it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS, generate
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.queries.query import FORMS
from tests.adapters.tiny import save_tiny_adapter, save_tiny_model

TEXTS = ("Who?", "Sort 3, 1, 2.", "What is the capital of France? Tell me in one word, please.")


def spec_of(base: Path, adapters: dict[str, Path]) -> PoolSpec:
    arms = [AdapterSpec("base"), *(AdapterSpec(name, path) for name, path in adapters.items())]
    return PoolSpec(str(base), tuple(arms))


@pytest.fixture(scope="module")
def pool(tiny_base: Path, tiny_adapters: dict[str, Path]) -> AdapterPool:
    return AdapterPool(spec_of(tiny_base, tiny_adapters))


def logits_of(pool: AdapterPool, name: str) -> np.ndarray:
    pool.activate(name)
    return pool.logits(TEXTS)


def test_switching_back_is_exact_to_the_bit(pool: AdapterPool) -> None:
    first = {name: logits_of(pool, name) for name in pool.spec.names}
    for name in ("one", "two", "one", "base", "two", "base", "one", "one"):
        np.testing.assert_array_equal(logits_of(pool, name), first[name])
    assert np.abs(first["one"] - first["two"]).max() > 0.01
    assert np.abs(first["one"] - first["base"]).max() > 0.01


def test_the_base_is_the_base(pool: AdapterPool, tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    plain = AdapterPool(PoolSpec(str(tiny_base), (AdapterSpec("a"), AdapterSpec("b"))))
    np.testing.assert_allclose(logits_of(pool, "base"), logits_of(plain, "a"), atol=1e-5)
    model = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    tokens = pool.tokenizer(
        render_prompt(pool.tokenizer, TEXTS[0]), return_tensors="pt", add_special_tokens=False
    )
    expected = model(**tokens).logits[0, -1].detach().numpy()
    np.testing.assert_allclose(logits_of(pool, "base")[0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_merged_adapter_answers_as_the_unmerged(
    pool: AdapterPool, tiny_base: Path, tiny_adapters: dict[str, Path], name: str
) -> None:
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_base_model(str(tiny_base)), str(tiny_adapters[name]))
    tokenizer = load_tokenizer(str(tiny_base))
    prompts = [render_prompt(tokenizer, text) for text in TEXTS]
    expected = generate(model.eval(), tokenizer, prompts, max_new_tokens=[FREE_BUDGET] * 3)
    answers = pool.generate(name, TEXTS)
    assert [a.text for a in answers] == [a.text for a in expected]


def test_a_pool_does_not_depend_on_its_order(
    pool: AdapterPool, tiny_base: Path, tiny_adapters: dict[str, Path]
) -> None:
    turned = AdapterPool(spec_of(tiny_base, dict(reversed(tiny_adapters.items()))))
    for name in pool.spec.names:
        np.testing.assert_array_equal(logits_of(pool, name), logits_of(turned, name))


def test_an_nf4_pool_switches_exactly(tiny_base: Path, tiny_adapters: dict[str, Path]) -> None:
    pytest.importorskip("bitsandbytes")
    pool = AdapterPool(spec_of(tiny_base, tiny_adapters), nf4=True)
    first = {name: logits_of(pool, name) for name in pool.spec.names}
    for name in ("one", "two", "base", "one"):
        np.testing.assert_array_equal(logits_of(pool, name), first[name])
    assert np.abs(first["one"] - first["base"]).max() > 0.01


def test_forms_set_the_budgets(pool: AdapterPool) -> None:
    assert set(TOKEN_BUDGETS) == set(FORMS)
    answers = pool.generate("one", TEXTS, forms=["word", "code", ""], batch_size=2)
    budgets = [TOKEN_BUDGETS["word"], TOKEN_BUDGETS["code"], FREE_BUDGET]
    for answer, budget in zip(answers, budgets, strict=True):
        assert answer.completion_tokens == budget or answer.finished


def test_generation_activates_and_ticks(pool: AdapterPool) -> None:
    ticks: list[int] = []
    pool.generate("two", TEXTS, forms=["word"] * 3, batch_size=2, on_batch=ticks.append)
    assert pool.active == "two"
    assert ticks == [2, 1]


@pytest.mark.parametrize("action", ["activate", "generate"])
def test_unknown_names_list_the_known(pool: AdapterPool, action: str) -> None:
    before = pool.active
    with pytest.raises(ValueError, match="unknown adapter 'three': the pool has base, one, two"):
        pool.activate("three") if action == "activate" else pool.generate("three", TEXTS)
    assert pool.active == before


def test_empty_queries_are_refused(pool: AdapterPool) -> None:
    with pytest.raises(ValueError, match="query 1 is empty: give it words or leave it out"):
        pool.generate("one", ["Who?", " "])


def test_an_inert_adapter_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    inert = save_tiny_adapter(tmp_path / "inert", tiny_base, seed=1, scale=0.0)
    with pytest.raises(ValueError, match=r"adapter 'inert' changes no logit .*leave it"):
        AdapterPool(spec_of(tiny_base, {"inert": inert}))


def test_an_inert_adapter_is_refused_beside_others(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    inert = save_tiny_adapter(tmp_path / "inert", tiny_base, seed=1, scale=0.0)
    with pytest.raises(ValueError, match="adapter 'inert' changes no logit"):
        AdapterPool(spec_of(tiny_base, tiny_adapters | {"inert": inert}))


def test_a_refused_adapter_leaves_the_pool_as_it_was(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    pool = AdapterPool(spec_of(tiny_base, tiny_adapters))
    first = {name: logits_of(pool, name) for name in pool.spec.names}
    inert = save_tiny_adapter(tmp_path / "inert", tiny_base, seed=1, scale=0.0)
    with pytest.raises(ValueError, match="changes no logit"):
        pool.register(AdapterSpec("inert", inert))
    for name in ("two", "base", "one"):
        np.testing.assert_array_equal(logits_of(pool, name), first[name])


@pytest.mark.parametrize("first", [True, False])
def test_weights_of_another_width_are_refused(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path, first: bool
) -> None:
    wide = save_tiny_model(tmp_path / "wide", hidden=128)
    other = save_tiny_adapter(tmp_path / "other", wide, seed=1)
    adapters = {"other": other} if first else tiny_adapters | {"other": other}
    with pytest.raises(ValueError, match=r"adapter 'other' at .* does not fit the base model"):
        AdapterPool(spec_of(tiny_base, adapters))


def test_an_adapter_of_another_architecture_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    phi3 = save_tiny_model(tmp_path / "phi3", "phi3")
    other = save_tiny_adapter(tmp_path / "other", phi3, seed=1, targets=("qkv_proj",))
    with pytest.raises(ValueError, match=r"adapter 'other' at .* does not fit the base model"):
        AdapterPool(spec_of(tiny_base, {"other": other}))


def test_truncated_weights_are_refused(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(tiny_adapters["one"], cut)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="adapter 'cut'"):
        AdapterPool(spec_of(tiny_base, {"cut": cut}))


def test_an_adapter_without_its_description_is_refused(
    tiny_base: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_adapters["one"], bare)
    (bare / "adapter_config.json").unlink()
    with pytest.raises((ValueError, OSError), match=r"adapter_config\.json"):
        AdapterPool(spec_of(tiny_base, {"bare": bare}))
