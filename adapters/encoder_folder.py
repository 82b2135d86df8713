"""Encoders on disk: which they are, and what those that learn have learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from routing_gym.adapters.embedding import (
    JOINT,
    CachedEncoder,
    JoinedEncoder,
    PretrainedEncoder,
    QueryEncoder,
)
from routing_gym.adapters.embedding_cache import EmbeddingCache
from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.position import PositionEncoder
from routing_gym.adapters.surface import SurfaceEncoder, SurfaceKernelEncoder
from routing_gym.adapters.tfidf import DESCRIPTION, TfidfEncoder

ENCODER_FILE = "encoder.json"
TRANSFORMER, TFIDF = "transformer", "tfidf"
PLAIN: dict[str, type[Any]] = {
    "surface": SurfaceEncoder,
    "surface_kernel": SurfaceKernelEncoder,
    "position": PositionEncoder,
}
"""Kind of an encoder without learned files of its own -> class."""


def encoder_parts(encoder: Any) -> list[tuple[str, Any]]:
    """Take an encoder apart.

    Parameters
    ----------
    encoder
        Any of `routing_gym.adapters.embedding.make_encoder`.

    Returns
    -------
    list of tuple
        Kind (``"transformer"``, ``"tfidf"`` or a key of ``PLAIN``) and encoder, as they stand side
        by side.

    Raises
    ------
    ValueError
        If a part is of outside code.
    """
    if isinstance(encoder, JoinedEncoder):
        return [entry for part in encoder.parts for entry in encoder_parts(part)]
    if isinstance(encoder, CachedEncoder):
        return encoder_parts(encoder.encoder)
    if isinstance(encoder, Encoder):
        return [(TRANSFORMER, encoder)]
    if isinstance(encoder, TfidfEncoder):
        return [(TFIDF, encoder)]
    for kind, own in PLAIN.items():
        if type(encoder) is own:
            return [(kind, encoder)]
    raise ValueError(
        f"{type(encoder).__name__} is an encoder of outside code, which is not saved: use "
        f"{TRANSFORMER}, {TFIDF}, {', '.join(PLAIN)}."
    )


def save_encoder(encoder: QueryEncoder, folder: Path | str) -> None:
    """Write ``encoder.json`` and, beside it, what TF-IDF has learned.

    Parameters
    ----------
    encoder
        Fitted.
    folder
        Made if it does not exist.

    Raises
    ------
    ValueError
        If a part is of outside code.
    """
    folder, parts = Path(folder), []
    for kind, part in encoder_parts(encoder):
        parts.append({"kind": kind, "name": part.name})
        if kind == TFIDF:
            parts[-1]["folder"] = f"{TFIDF}-{len(parts)}"
            part.save(folder / parts[-1]["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": 1, "parts": parts}, indent=2)
    (folder / ENCODER_FILE).write_text(text + "\n", encoding="utf-8")


def load_encoder(folder: Path | str, *, cache: Path | str | None = None) -> QueryEncoder:
    """Read what `save_encoder` wrote.

    Parameters
    ----------
    folder
        Where.
    cache
        Folder that keeps sentence embeddings between runs; None keeps nothing.

    Raises
    ------
    FileNotFoundError
        If the folder holds no encoder.
    ValueError
        If the file is not readable, or a part is unknown or of another version.
    """
    folder = Path(folder)
    file = folder / ENCODER_FILE
    try:
        entries = json.loads(file.read_text("utf-8"))["parts"]
        parts = [_load_part(entry, folder, cache) for entry in entries]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not readable ({error}): train the agent again.") from error
    return parts[0] if len(parts) == 1 else JoinedEncoder(parts)


def named_encoder(name: str, *, fitted: Path | None = None) -> QueryEncoder:
    """Make the encoder that a table names.

    Parameters
    ----------
    name
        As recorded: the names of its parts, joined by "+".
    fitted
        Folder of the TF-IDF encoder that was saved beside the table, if there is one.

    Raises
    ------
    ValueError
        If a part can be found by no name.
    """
    parts: list[QueryEncoder] = []
    plain = {own.name: own for own in PLAIN.values()}
    for part in name.split(JOINT):
        if part in plain:
            parts.append(plain[part]())
        elif "/" in part or (part and Path(part).is_dir()):
            parts.append(PretrainedEncoder(part))
        elif fitted is not None and (fitted / DESCRIPTION).is_file():
            parts.append(TfidfEncoder.load(fitted))
        if not parts or parts[-1].name != part:
            raise ValueError(
                f"encoder {name!r}: {part!r} is not to be found, so that no text can be encoded. "
                "Train with an encoder of your own: scripts/train_agent.py --encoder minilm."
            )
    return parts[0] if len(parts) == 1 else JoinedEncoder(parts)


def _load_part(entry: dict[str, str], folder: Path, cache: Path | str | None) -> QueryEncoder:
    """Make one part."""
    kind, name = entry["kind"], entry["name"]
    if kind == TRANSFORMER:
        encoder = PretrainedEncoder(name)
        return encoder if cache is None else CachedEncoder(encoder, EmbeddingCache(Path(cache)))
    if kind != TFIDF and kind not in PLAIN:
        raise ValueError(f"encoder part {name!r} is of the unknown kind {kind!r}.")
    part: Any = TfidfEncoder.load(folder / entry["folder"]) if kind == TFIDF else PLAIN[kind]()
    if part.name != name:
        raise ValueError(
            f"encoder part {name!r} is not the {part.name!r} of this version: train again."
        )
    return part
