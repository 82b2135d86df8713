"""Text encoders as metrics see them: loaded late, asked once per text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class TextEncoder(Protocol):
    """What metrics need of an encoder."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 (N, D), rows of unit length."""


class RememberingEncoder:
    """Encodes each distinct text once, whoever asks, until it is told to forget.

    Parameters
    ----------
    encoder
        Has ``encode(texts) -> (N, D)`` with rows of unit length; by default all-MiniLM-L6-v2,
        loaded when it is first needed.
    """

    def __init__(self, encoder: TextEncoder | None = None) -> None:
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts: float32 (N, D), rows of unit length; (0, 0) without texts."""
        known = self._known  # one dictionary throughout, should another thread make it forget
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, self._loaded().encode(missing), strict=True))
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)

    def forget(self) -> None:
        """Drop what was encoded."""
        self._known = {}

    def _loaded(self) -> TextEncoder:
        """Return the encoder, loading the default one on first use."""
        if self._encoder is None:
            from routing_gym.adapters.encoder import Encoder

            self._encoder = Encoder()
        return self._encoder
