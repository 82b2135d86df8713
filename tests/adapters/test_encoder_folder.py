from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.adapters.embedding import PretrainedEncoder, make_encoder
from routing_gym.adapters.encoder_folder import (
    ENCODER_FILE,
    encoder_parts,
    load_encoder,
    named_encoder,
    save_encoder,
)
from routing_gym.adapters.tfidf import TfidfEncoder

TEXTS = [f"The number {i} is {'even' if i % 2 == 0 else 'odd'}, is it not?" for i in range(20)]


@pytest.mark.parametrize("name", ["surface", "tfidf", "tfidf+surface+position", "surface_kernel"])
def test_reads_what_it_wrote(tmp_path: Path, name: str) -> None:
    encoder = make_encoder(name)
    encoder.fit(TEXTS)
    save_encoder(encoder, tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.name == encoder.name
    np.testing.assert_array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


def test_sentence_encoders_are_named_not_copied(tmp_path: Path) -> None:
    encoder = make_encoder("minilm+tfidf", cache=tmp_path / "cache")
    encoder.parts[1].fit(TEXTS)  # type: ignore[attr-defined]
    save_encoder(encoder, tmp_path / "encoder")
    kinds = [kind for kind, _ in encoder_parts(load_encoder(tmp_path / "encoder"))]
    assert kinds == ["transformer", "tfidf"]


def test_a_table_s_encoder_is_found_by_its_name(tmp_path: Path) -> None:
    fitted = TfidfEncoder()
    fitted.fit(TEXTS)
    fitted.save(tmp_path)
    found = named_encoder(f"a/b+{fitted.name}+surface-v1", fitted=tmp_path)
    assert [kind for kind, _ in encoder_parts(found)] == ["transformer", "tfidf", "surface"]
    assert isinstance(named_encoder("a/b"), PretrainedEncoder)


@pytest.mark.parametrize("name", ["", "identity", "tfidf-8@0123456789ab", "a/b+surface-v9"])
def test_an_encoder_that_is_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    fitted = TfidfEncoder()
    fitted.fit(TEXTS)
    fitted.save(tmp_path)
    with pytest.raises(ValueError, match="is not to be found"):
        named_encoder(name, fitted=tmp_path)


def test_outside_code_is_refused() -> None:
    class Outside:
        name = "outside"

    with pytest.raises(ValueError, match="Outside is an encoder of outside code"):
        encoder_parts(Outside())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not readable"),
        ("{}", "is not readable"),
        (json.dumps({"parts": [{"kind": "gpt", "name": "x"}]}), "unknown kind 'gpt'"),
        (json.dumps({"parts": [{"kind": "surface", "name": "surface-v0"}]}), "train again"),
    ],
)
def test_refuses_bad_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / ENCODER_FILE).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_encoder(tmp_path)
