"""The encoder of a bundle: tokens through onnxruntime, other features in NumPy, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from routing_gym.adapters.position import PositionEncoder
from routing_gym.adapters.surface import SurfaceEncoder, SurfaceKernelEncoder
from routing_gym.serving.bundle_manifest import EncoderPart, EncoderRecord
from routing_gym.serving.onnx_session import open_session
from routing_gym.serving.tfidf_part import TfidfPart

MOST_TEXTS, MOST_TOKENS = 16, 1024  # of a batch: beyond them only memory grows


_CHARACTERS = 100  # of a text that are read per token that counts: tokenizers read to the end
_ENDLESS = {"max_length": 1 << 20}


class TextEncoder(Protocol):
    """What turns texts into embeddings."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D)."""
        ...


class TransformerPart:
    """A sentence encoder: its tokenizer and its ONNX model.

    Parameters
    ----------
    model, tokenizer
        The bytes of the ONNX file and of ``tokenizer.json``.
    threads
        Threads that share the texts of one call; one text takes one of them.
    """

    def __init__(self, model: bytes, tokenizer: bytes, *, threads: int = 1) -> None:
        # threads within an operation of a model this small wait for each other more than they gain
        self._session = open_session(model, threads=1, file="encoder.onnx")
        self._tokenizer = _read_tokenizer(tokenizer)
        self._longest = _CHARACTERS * int((self._tokenizer.truncation or _ENDLESS)["max_length"])
        self._threads = threads
        self._workers = ThreadPoolExecutor(threads, "encoder") if threads > 1 else None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D), in batches of similar length."""
        if len(texts) == 1:  # the common case of a server, without the detour over batches
            ids = self.tokens(texts[0])
            return self.run(ids, np.ones_like(ids))
        cut = [text[: self._longest] for text in texts]
        tokens = [entry.ids for entry in self._tokenizer.encode_batch_fast(cut)]
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        if self._workers is None or len(order) == 0:
            return self._run_all(tokens, order)[np.argsort(order)]
        shares = [order[start :: self._threads] for start in range(min(self._threads, len(order)))]
        rows = list(self._workers.map(lambda share: self._run_all(tokens, share), shares))
        return np.concatenate(rows)[np.argsort(np.concatenate(shares))]

    def _run_all(self, tokens: Sequence[Sequence[int]], order: np.ndarray) -> np.ndarray:
        """Embed the texts of an order of rising lengths, batch by batch."""
        batches = _batches([len(tokens[row]) for row in order])
        rows = [self.run(*_padded([tokens[row] for row in order[batch]])) for batch in batches]
        return np.concatenate(rows)

    def tokens(self, text: str) -> np.ndarray:
        """Return int64 (1, T), one text's token ids."""
        return np.array([self._tokenizer.encode(text[: self._longest]).ids], dtype=np.int64)

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Run the model alone: int64 (N, T) each to float32 (N, D)."""
        feeds = {"input_ids": ids, "attention_mask": mask}
        embedding: np.ndarray = self._session.run(["embedding"], feeds)[0]
        return embedding


class BundleEncoder:
    """The parts of a bundle's encoder, side by side.

    Parameters
    ----------
    record
        Of the manifest.
    files
        Name -> bytes, of at least the files that the parts name.
    threads
        Threads of one call.

    Raises
    ------
    ValueError
        If a part is of an unknown kind or its files are not what they should be.
    """

    def __init__(
        self, record: EncoderRecord, files: Mapping[str, bytes], *, threads: int = 1
    ) -> None:
        self.parts = tuple(_make_part(part, files, threads=threads) for part in record.parts)
        self._record = record

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as float32 (N, D).

        Raises
        ------
        ValueError
            If the texts are one text instead of several, or no texts.
        """
        texts = _checked(texts)
        if not texts:
            return np.zeros((0, self._record.width), np.float32)
        blocks = [part.encode(texts) for part in self.parts]
        for block, part in zip(blocks, self._record.parts, strict=True):
            if block.shape[1] != part.width:
                raise ValueError(
                    f"encoder part {part.name!r} has width {block.shape[1]}, the manifest says "
                    f"{part.width}: export the policy again."
                )
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _make_part(part: EncoderPart, files: Mapping[str, bytes], *, threads: int) -> TextEncoder:
    """Start one part."""
    plain: dict[str, Any] = {
        "surface": SurfaceEncoder,
        "surface_kernel": SurfaceKernelEncoder,
        "position": PositionEncoder,
    }
    if part.kind in plain:
        encoder: TextEncoder = plain[part.kind]()
        if getattr(encoder, "name", "") != part.name:
            raise ValueError(
                f"encoder part {part.name!r} is another version than this one's "
                f"{getattr(encoder, 'name', '')!r}: export the policy again."
            )
        return encoder
    roles = {"transformer": ("model", "tokenizer"), "tfidf": ("description", "arrays")}
    if part.kind not in roles:
        raise ValueError(
            f"encoder part {part.name!r} is of the unknown kind {part.kind!r}: known are "
            f"{', '.join([*roles, *plain])}."
        )
    missing = [role for role in roles[part.kind] if part.files.get(role) not in files]
    if missing:
        raise ValueError(f"encoder part {part.name!r} names no file of its {missing[0]}.")
    first, second = (files[part.files[role]] for role in roles[part.kind])
    if part.kind == "transformer":
        return TransformerPart(first, second, threads=threads)
    return TfidfPart(first, second)


def _read_tokenizer(content: bytes) -> Any:
    """Start a tokenizer."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError(
            "a bundle needs tokenizers, which is not installed: pip install routing-gym[serve]."
        ) from error
    try:
        return Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises the bare class
        if type(error) is not Exception and not isinstance(error, ValueError):
            raise
        raise ValueError(f"tokenizer.json is no tokenizer ({error}).") from error


def _batches(lengths: Sequence[int]) -> list[slice]:
    """Cut ascending lengths into batches that stay within both limits, at least one text each."""
    batches, start = [], 0
    for end in range(1, len(lengths) + 1):
        full = end - start == MOST_TEXTS
        if end == len(lengths) or full or (end + 1 - start) * lengths[end] > MOST_TOKENS:
            batches.append(slice(start, end))
            start = end
    return batches


def _padded(tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask, int64 (n, T): padding has the mask 0, so that its id does not matter."""
    lengths = np.array([len(ids) for ids in tokens])
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    padded = np.zeros_like(mask)
    padded[mask.astype(bool)] = np.concatenate(tokens)
    return padded, mask


def _checked(texts: Sequence[str]) -> list[str]:
    """Return the texts, without halves of characters, which no tokenizer takes."""
    if isinstance(texts, str):
        raise ValueError("texts is one text: give a list of texts.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts[{row}] is a {type(text).__name__}: give texts.")
    return [text if _is_whole(text) else text.encode("utf-8", "replace").decode() for text in texts]


def _is_whole(text: str) -> bool:
    """Whether the text can be written as UTF-8: JSON can smuggle in half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
