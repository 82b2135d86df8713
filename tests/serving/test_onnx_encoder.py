from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("sentence_transformers")

from routing_gym.adapters.encoder_onnx import export_encoder
from routing_gym.adapters.surface import SurfaceEncoder
from routing_gym.serving import onnx_encoder
from routing_gym.serving.bundle_manifest import EncoderPart, EncoderRecord
from routing_gym.serving.encoder_export import embedding_agreement, export_parts
from routing_gym.serving.onnx_encoder import BundleEncoder, TransformerPart
from tests.adapters.tiny_encoder import TEXTS, tiny_encoder

ROOT = Path(__file__).resolve().parents[2]
SURFACE = EncoderPart("surface", "surface-v1", 20)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> TransformerPart:
    exported = export_encoder(tiny_encoder(tmp_path_factory.mktemp("encoder"), "bert"))
    return TransformerPart(exported.model, exported.tokenizer.encode())


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([3], [1]),
        ([1] * 40, [16, 16, 8]),
        ([1, 1, 1024, 1024], [2, 1, 1]),
        ([2000, 3000], [1, 1]),  # beyond the limit, and still read
        ([100] * 12, [10, 2]),
    ],
)
def test_batches_stay_within_their_limits(lengths: list[int], expected: list[int]) -> None:
    batches = onnx_encoder._batches(lengths)
    assert [batch.stop - batch.start for batch in batches] == expected
    assert (batches[0].start, batches[-1].stop) == (0, len(lengths))


def test_order_and_company_do_not_matter(
    part: TransformerPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [*TEXTS, *TEXTS[::-1], "who " * 9]
    alone = np.concatenate([part.encode([text]) for text in many])
    np.testing.assert_allclose(part.encode(many), alone, atol=1e-6)
    monkeypatch.setattr(onnx_encoder, "MOST_TEXTS", 2)
    np.testing.assert_allclose(part.encode(many), alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_share_the_texts(tmp_path: Path, threads: int) -> None:
    exported = export_encoder(tiny_encoder(tmp_path, "bert"))
    one, many = (
        TransformerPart(exported.model, exported.tokenizer.encode(), threads=count)
        for count in (1, threads)
    )
    for texts in (TEXTS[:1], TEXTS[:2], [*TEXTS, "who " * 9, *TEXTS[::-1]] * 5):
        np.testing.assert_allclose(many.encode(texts), one.encode(texts), atol=1e-6)


def test_two_networks_stand_side_by_side(tmp_path: Path) -> None:
    from routing_gym.adapters.embedding import JoinedEncoder, PretrainedEncoder

    names = [tiny_encoder(tmp_path / family, family).name for family in ("bert", "mpnet")]
    joined = JoinedEncoder([*map(PretrainedEncoder, names), SurfaceEncoder()])
    exported = export_parts(joined)
    assert set(exported.files) == {
        "encoder.onnx", "tokenizer.json", "encoder-2.onnx", "tokenizer-2.json",
    }  # fmt: skip
    assert exported.record.max_tokens == 16
    ours = BundleEncoder(exported.record, exported.files).encode(TEXTS)
    np.testing.assert_allclose(ours, joined.encode(TEXTS), atol=2e-6)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (EncoderPart("gpt", "x", 20), "unknown kind 'gpt': known are transformer, tfidf, surface"),
        (EncoderPart("surface", "surface-v0", 20), "another version than this one's 'surface-v1'"),
        (EncoderPart("transformer", "x", 20, files={"model": "a"}), "names no file of its model"),
        (
            EncoderPart("transformer", "x", 20, files={"model": "m", "tokenizer": "t"}),
            "encoder.onnx is no model",
        ),
    ],
)
def test_refuses_parts_that_do_not_run(record: EncoderPart, message: str) -> None:
    encoder = EncoderRecord("x", 20, 0, "float32", (record,))
    with pytest.raises(ValueError, match=message):
        BundleEncoder(encoder, {"m": b"none", "t": b"none"})


def test_refuses_a_tokenizer_that_is_none(tmp_path: Path) -> None:
    exported = export_encoder(tiny_encoder(tmp_path, "bert"))
    for content in (b"", b"{}", b"\xff\xfe", exported.model[:100]):
        with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
            TransformerPart(exported.model, content)


def test_refuses_another_width() -> None:
    record = EncoderRecord("x", 21, 0, "float32", (EncoderPart("surface", "surface-v1", 21),))
    with pytest.raises(ValueError, match="has width 20, the manifest says 21"):
        BundleEncoder(record, {}).encode(["text"])


def test_agreement_counts_rows_of_zeros_as_equal() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 0.0]])
    figures = embedding_agreement(rows, rows)
    assert figures == {"embedding_max": 0.0, "cosine_min": 1.0, "cosine_mean": 1.0}
    assert embedding_agreement(rows, rows[::-1])["embedding_max"] == 1.0


def test_import_loads_no_torch() -> None:
    modules = [
        f"routing_gym.serving.{name}"
        for name in ("hub", "policy_export", "model_card", "encoder_export", "confidence")
    ]
    program = (
        f"import sys, {', '.join(modules)}\n"
        "loaded = {'torch', 'transformers', 'sklearn', 'onnx'} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
