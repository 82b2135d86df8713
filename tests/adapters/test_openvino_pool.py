"""The pool on OpenVINO: what it refuses, and that every weight of the graph is set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from routing_gym.adapters import openvino_pool
from routing_gym.adapters.base_model import EMBEDDED
from routing_gym.adapters.generation import Completion
from routing_gym.adapters.openvino_pool import OpenVINOPool, merged_weights, set_weights
from routing_gym.adapters.pool import PROBES, AdapterPool
from routing_gym.adapters.spec import AdapterSpec, PoolSpec

WEIGHTS = Path(__file__).resolve().parents[2] / "adapters" / "weights"


@pytest.fixture
def tiny(tiny_base: Path, tiny_adapters: dict[str, Path]) -> AdapterPool:
    arms = [AdapterSpec("base"), *(AdapterSpec(name, path) for name, path in tiny_adapters.items())]
    return AdapterPool(PoolSpec(str(tiny_base), tuple(arms)))


def test_the_remedy_of_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_pool, "PACKAGES", ("json", "no_such_engine"))
    with pytest.raises(ModuleNotFoundError, match=r"^no_such_engine .*routing-gym\[openvino\]"):
        OpenVINOPool(SimpleNamespace())  # type: ignore[arg-type]


def test_another_base_model_is_refused(tiny: AdapterPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_pool, "PACKAGES", ())
    with pytest.raises(ValueError, match=r"built from the GGUF of .* let AdapterPool answer"):
        OpenVINOPool(tiny)


def test_merged_weights_are_those_that_answer(tiny: AdapterPool) -> None:
    found = {}
    for name in ("base", "one"):
        tiny.activate(name)
        found[name] = merged_weights(tiny.model)
    assert not [name for name in found["one"] if "lora" in name or "base_layer" in name]
    query = "model.layers.0.self_attn.q_proj.weight"
    norm = "model.layers.0.input_layernorm.weight"
    assert np.abs(found["one"][query] - found["base"][query]).max() > 1e-3
    np.testing.assert_array_equal(found["one"][norm], found["base"][norm])
    assert {value.dtype for value in found["one"].values()} == {np.dtype(np.float32)}


def probed(*, said: str, score: float) -> OpenVINOPool:
    """Make a pipeline that says one thing to every probe."""
    pool = OpenVINOPool.__new__(OpenVINOPool)
    pool.tokenizer = SimpleNamespace(batch_decode=lambda rows, **_: [said for _ in rows])
    pool._answer = lambda name, texts, budgets: (  # type: ignore[method-assign]
        [[1]] * len(texts),
        [[2]] * len(texts),
        [score] * len(texts),
    )
    return pool


def transformers_says(text: str, log_prob: float) -> Any:
    answer = Completion(text, 1, 1, 0.1, True, token_log_probs=(log_prob,))
    return SimpleNamespace(generate=lambda name, texts, forms: [answer] * len(texts))


@pytest.mark.parametrize(("said", "score"), [("Paris", -0.6), ("paris", -0.5)])
def test_an_adapter_that_is_not_active_is_refused(said: str, score: float) -> None:
    expected = transformers_says("Paris", -0.5)
    probed(said="Paris ", score=-0.51)._probe("one", expected)
    with pytest.raises(ValueError, match=r"adapter 'one' is not active in OpenVINO: to .*'Paris'"):
        probed(said=said, score=score)._probe("one", expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.7.attn_output.weight", "model.layers.7.self_attn.o_proj.weight"),
        ("blk.12.ffn_norm.weight", "model.layers.12.post_attention_layernorm.weight"),
    ],
)
def test_names_in_transformers(name: str, expected: str) -> None:
    assert openvino_pool._in_transformers(name) == expected


def test_norms_are_in_the_order_of_the_models_weights(tiny: AdapterPool) -> None:
    norms = [name for name, value in merged_weights(tiny.model).items() if value.ndim == 1]
    assert len(norms) == 5
    assert sorted(norms, key=openvino_pool._place) == norms


def test_weights_without_a_place_are_named() -> None:
    ov = pytest.importorskip("openvino")
    from openvino import opset13

    weights = {"model.layers.0.mlp.up_proj.weight": np.full((8, 8), 0.5, dtype=np.float32)}
    tokens = opset13.parameter([1, 8], ov.Type.f32)
    held = opset13.constant(np.zeros((8, 8), dtype=np.float16))
    held.set_friendly_name("model.layers[0].mlp.up_proj.weight")
    wide = opset13.convert(held, ov.Type.f32)
    model = ov.Model([opset13.matmul(tokens, wide, False, True)], [tokens])
    set_weights(model, weights)
    (found,) = ov.Core().compile_model(model, "CPU")([np.ones((1, 8), dtype=np.float32)]).values()
    np.testing.assert_allclose(found, 4.0)
    with pytest.raises(ValueError, match=r"no place for 'lost'"):
        set_weights(model, {**weights, "lost": np.zeros((2, 2), dtype=np.float32)})


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the trained adapters are not here")
@pytest.mark.skipif(bool(openvino_pool.missing_packages()), reason="needs [openvino]")
def test_the_real_pool_answers_as_transformers() -> None:
    adapters = (AdapterSpec("base"), AdapterSpec("creative", WEIGHTS / "creative"))
    pool = AdapterPool(PoolSpec(EMBEDDED, adapters))
    compiled = OpenVINOPool(pool)
    for name in ("base", "creative"):
        ours = pool.generate(name, PROBES)
        theirs = compiled.generate(name, PROBES)
        for one, other in zip(ours, theirs, strict=True):
            assert one.text == other.text
            assert one.finished == other.finished
            assert one.prompt_tokens == other.prompt_tokens
            assert one.completion_tokens == other.completion_tokens
            assert other.seconds > 0
    assert compiled.generate("base", []) == []
    swapped = SimpleNamespace(
        generate=lambda name, *args, **kwargs: pool.generate("base", *args, **kwargs)
    )
    with pytest.raises(ValueError, match="'creative' is not active"):
        compiled._probe("creative", swapped)  # type: ignore[arg-type]
