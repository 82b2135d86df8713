"""How likely the base model, without any adapter, finds an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from routing_gym.adapters.base_model import EMBEDDED, load_base_model, load_tokenizer
from routing_gym.adapters.token_signals import token_signals

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class BaseLikelihood:
    """Mean log-likelihood per token of responses under the base model, given their queries.

    Parameters
    ----------
    base_model
        See `routing_gym.adapters.base_model.resolve_base_model`; loaded at the first call.
    model, tokenizer
        An already loaded base model, instead of loading one.
    batch_size
        Different queries per batch; each query's prompt is read once for all of its responses.
    """

    def __init__(
        self,
        base_model: str = EMBEDDED,
        *,
        model: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        batch_size: int = 32,
    ) -> None:
        self.base_model = base_model
        self.batch_size = batch_size
        self._model = model
        self._tokenizer = tokenizer

    def __call__(self, queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Score responses.

        Parameters
        ----------
        queries, responses
            N texts each.

        Returns
        -------
        numpy.ndarray
            float64 (N,), nats per token, at most 0; minus infinity for an empty response.
        """
        if self._model is None:
            self._model = load_base_model(self.base_model)
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.base_model)
        signals = token_signals(
            self._model, self._tokenizer, queries, responses, batch_size=self.batch_size
        )
        return np.array(
            [s.log_probs.mean(dtype=np.float64) if len(s.log_probs) else -np.inf for s in signals]
        )
