"""An encoder as files of a bundle, and how well they agree with it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.encoder_folder import TFIDF, TRANSFORMER, encoder_parts
from routing_gym.adapters.encoder_onnx import Precision, export_encoder
from routing_gym.serving.bundle_manifest import EncoderPart, EncoderRecord


@dataclass(frozen=True)
class EncoderFiles:
    """What a bundle holds of its encoder.

    Parameters
    ----------
    record
        For the manifest.
    files
        Name -> bytes.
    """

    record: EncoderRecord
    files: Mapping[str, bytes]


def export_parts(encoder: Any, *, precision: Precision = "float32") -> EncoderFiles:
    """Export an encoder, part by part.

    Parameters
    ----------
    encoder
        Fitted; see `routing_gym.adapters.encoder_folder.encoder_parts`.
    precision
        Of the sentence encoders' weights; ``"int8"`` needs at least one.

    Raises
    ------
    ValueError
        If a part cannot be exported, or nothing is there to be quantised.
    """
    parts: list[EncoderPart] = []
    files: dict[str, bytes] = {}
    for kind, part in encoder_parts(encoder):
        number = sum(made.kind == kind for made in parts) + 1
        suffix = "" if number == 1 else f"-{number}"
        if kind == TRANSFORMER:
            made, own = _transformer(part, suffix, precision)
        elif kind == TFIDF:
            made, own = _tfidf(part, suffix)
        else:
            made, own = EncoderPart(kind, part.name, part.encode(["text"]).shape[1]), {}
        parts.append(made)
        files |= own
    if precision == "int8" and all(part.kind != TRANSFORMER for part in parts):
        raise ValueError(f"int8: the encoder {encoder.name!r} holds no network to quantise.")
    record = EncoderRecord(
        name=encoder.name,
        width=sum(part.width for part in parts),
        max_tokens=max(part.max_tokens for part in parts),
        precision=precision,
        parts=tuple(parts),
    )
    return EncoderFiles(record, files)


def embedding_agreement(exported: np.ndarray, original: np.ndarray) -> dict[str, float]:
    """Compare embeddings (N, D) of the same texts: largest difference, least and mean cosine."""
    lengths = np.linalg.norm(exported, axis=1) * np.linalg.norm(original, axis=1)
    # a text without known terms is a row of zeros in both
    products = np.where(lengths > 0, (exported * original).sum(axis=1), 1.0)
    cosines = products / np.where(lengths > 0, lengths, 1.0)
    return {
        "embedding_max": float(np.abs(exported - original).max()),
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
    }


def _transformer(
    part: Any, suffix: str, precision: Precision
) -> tuple[EncoderPart, dict[str, bytes]]:
    """Export a sentence encoder."""
    exported = export_encoder(part, precision=precision)
    model = f"encoder{suffix}.onnx" if precision == "float32" else f"encoder{suffix}.int8.onnx"
    tokenizer = f"tokenizer{suffix}.json"
    made = EncoderPart(
        kind=TRANSFORMER,
        name=part.name,
        width=exported.width,
        max_tokens=exported.max_tokens,
        files={"model": model, "tokenizer": tokenizer},
    )
    return made, {model: exported.model, tokenizer: exported.tokenizer.encode()}


def _tfidf(part: Any, suffix: str) -> tuple[EncoderPart, dict[str, bytes]]:
    """Export what TF-IDF has learned: the files that it saves itself."""
    names = {"description": f"tfidf{suffix}.json", "arrays": f"tfidf{suffix}.safetensors"}
    with tempfile.TemporaryDirectory() as folder:
        part.save(folder)
        files = {
            names["description"]: (Path(folder) / "tfidf.json").read_bytes(),
            names["arrays"]: (Path(folder) / "tfidf.safetensors").read_bytes(),
        }
    return EncoderPart(TFIDF, part.name, part.encode(["text"]).shape[1], files=names), files
