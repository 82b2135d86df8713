"""Encoders by name, and embeddings that are computed once per text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from routing_gym.adapters.embedding_cache import EmbeddingCache
from routing_gym.adapters.encoder import EMBEDDED_ENCODER, Encoder
from routing_gym.adapters.tfidf import DESCRIPTION, TfidfEncoder
from routing_gym.queries.registry import resolve

ENCODERS: dict[str, str] = {
    "minilm": "routing_gym.adapters.embedding:embedded_encoder",
    "tfidf": "routing_gym.adapters.tfidf:TfidfEncoder",
    "surface": "routing_gym.adapters.surface:SurfaceEncoder",
    "surface_kernel": "routing_gym.adapters.surface:SurfaceKernelEncoder",
    "position": "routing_gym.adapters.position:PositionEncoder",
}
"""Encoder name -> what makes it."""
JOINT = "+"
_FLUSH = 256  # texts between writes to the cache: what a kill can lose


@runtime_checkable
class QueryEncoder(Protocol):
    """What turns queries into observations; some learn from the train split's texts first."""

    @property
    def name(self) -> str:
        """Identifies the encoder and whatever it was fitted to; recorded with its embeddings."""

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the texts of the train split, and of no other; pretrained encoders do not."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D), rows of length about 1."""


class PretrainedEncoder(Encoder):
    """A sentence-transformers model as a `QueryEncoder`; see `Encoder`."""

    def fit(self, texts: Sequence[str]) -> None:
        """Do nothing: the model is pretrained."""


class CachedEncoder:
    """An encoder that embeds a text once and for all.

    Parameters
    ----------
    encoder
        Computes what the cache lacks; loaded only if something is lacking.
    cache
        Where embeddings are kept, by the encoder's name and the sha256 of the text.
    """

    def __init__(self, encoder: QueryEncoder, cache: EmbeddingCache) -> None:
        self.encoder, self.cache = encoder, cache

    @property
    def name(self) -> str:
        """The encoder's name."""
        return self.encoder.name

    def fit(self, texts: Sequence[str]) -> None:
        """Let the encoder learn from the train split's texts."""
        self.encoder.fit(texts)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D), computing only those that the cache lacks."""
        keys = [content_key(text, self.name) for text in texts]
        known = self.cache.read(keys)
        # equal texts once, and by length, as little padding is then computed
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        for start in range(0, len(todo), _FLUSH):
            part = todo[start : start + _FLUSH]
            vectors = self.encoder.encode([text for _, text in part])
            fresh = {key: row for (key, _), row in zip(part, vectors, strict=True)}
            self.cache.write(fresh)
            known |= fresh
        if not keys:
            return self.encoder.encode([])
        return np.stack([known[key] for key in keys]).astype(np.float32, copy=False)


class JoinedEncoder:
    """Several encoders side by side.

    Parameters
    ----------
    parts
        At least one encoder.
    """

    def __init__(self, parts: Sequence[QueryEncoder]) -> None:
        if not parts:
            raise ValueError("parts is empty: give at least one encoder.")
        self.parts = tuple(parts)
        self.widths: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The parts' names, joined by "+"."""
        return JOINT.join(part.name for part in self.parts)

    def fit(self, texts: Sequence[str]) -> None:
        """Let each part learn from the train split's texts."""
        for part in self.parts:
            part.fit(texts)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D) and note the parts' widths, which sum to D."""
        blocks = [part.encode(texts) for part in self.parts]
        self.widths = tuple(block.shape[1] for block in blocks)
        return np.concatenate(blocks, axis=1)


def content_key(text: str, encoder: str) -> str:
    """Hash what determines an embedding: the encoder's name and the text."""
    return hashlib.sha256(f"{encoder}\x00{text}".encode()).hexdigest()


def embedded_encoder() -> PretrainedEncoder:
    """Make the default encoder, all-MiniLM-L6-v2, which needs no hub."""
    return PretrainedEncoder(EMBEDDED_ENCODER)


def make_encoder(name: str = "minilm", *, cache: Path | str | None = None) -> QueryEncoder:
    """Build an encoder by name.

    Parameters
    ----------
    name
        A key of ``ENCODERS``, ``"package.module:callable"`` of outside code, a folder that
        `routing_gym.adapters.tfidf.TfidfEncoder` or sentence-transformers saved, or any
        sentence-transformers id (``"sentence-transformers/all-mpnet-base-v2"``). Several, joined
        by "+", stand side by side: ``"minilm+surface"``.
    cache
        Folder that keeps the embeddings between runs; None keeps nothing. Only sentence encoders
        are cached: the others are cheap, and those that are fitted change with the train split.

    Raises
    ------
    ValueError
        If the name is empty, or is no folder, holds neither "/" nor ":", and is not registered;
        the nearest known name is given.
    """
    if JOINT in name:
        return JoinedEncoder([make_encoder(part, cache=cache) for part in name.split(JOINT)])
    if (Path(name) / DESCRIPTION).is_file():
        return TfidfEncoder.load(name)
    outside = "/" in name or (name and Path(name).is_dir())
    if outside and ":" not in name:
        encoder: Any = PretrainedEncoder(name)
    else:
        encoder = resolve(ENCODERS, name, kind="encoder")()
    if cache is None or not isinstance(encoder, PretrainedEncoder):
        return encoder
    return CachedEncoder(encoder, EmbeddingCache(Path(cache)))
