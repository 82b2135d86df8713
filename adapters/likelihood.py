"""How likely the base model finds an answer: the signal behind the coherence metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from routing_gym.adapters.base_model import EMBEDDED, load_base_model, load_tokenizer
from routing_gym.adapters.prompt import render_prompt

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
        wanted: dict[str, dict[str, float]] = {}
        for query, response in zip(queries, responses, strict=True):
            wanted.setdefault(query, {})[response] = -np.inf
        ordered = sorted(wanted, key=lambda query: max(map(len, wanted[query])))
        for start in range(0, len(ordered), self.batch_size):
            self._score_batch(ordered[start : start + self.batch_size], wanted)
        pairs = zip(queries, responses, strict=True)
        return np.array([wanted[query][response] for query, response in pairs])

    def _score_batch(self, queries: list[str], wanted: dict[str, dict[str, float]]) -> None:
        """Read each prompt once, then its responses one rank at a time."""
        import torch
        from transformers import DynamicCache

        model: Any = self._model
        tokenizer: Any = self._tokenizer
        prompts = [render_prompt(tokenizer, query) for query in queries]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        mask = encoded["attention_mask"].to(model.device)
        cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            first = model(
                input_ids=encoded["input_ids"].to(model.device),
                attention_mask=mask,
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            answers = [[r for r in wanted[query] if r.strip()] for query in queries]
            for rank in range(max(map(len, answers), default=0)):
                rows = [row for row, texts in enumerate(answers) if len(texts) > rank]
                texts = [answers[row][rank] for row in rows]
                scores = self._score_rank(rows, texts, mask=mask, first=first, cache=cache)
                for row, text, score in zip(rows, texts, scores, strict=True):
                    wanted[queries[row]][text] = float(score)

    def _score_rank(
        self, rows: list[int], texts: list[str], *, mask: Any, first: Any, cache: Any
    ) -> np.ndarray:
        """Score one response of each of some rows on a copy of their prompts' cache."""
        import copy

        import torch

        model: Any = self._model
        tokenizer: Any = self._tokenizer
        keep = torch.as_tensor(rows, device=model.device)
        own = copy.deepcopy(cache)
        own.batch_select_indices(keep)
        encoded = tokenizer(
            texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
        )
        tokens, present = (encoded[k].to(model.device) for k in ("input_ids", "attention_mask"))
        read = mask[keep]
        hidden = model.base_model(
            input_ids=tokens,
            attention_mask=torch.cat([read, present], dim=1),
            position_ids=read.sum(dim=1, keepdim=True)
            + torch.arange(tokens.shape[1], device=read.device),
            past_key_values=own,
            use_cache=True,
        ).last_hidden_state  # (rows, T, D)
        scores = torch.zeros(tokens.shape, device=read.device)  # (rows, T)
        scores[:, 0] = _chosen(first[keep], tokens[:, 0])
        later = present[:, 1:].bool()  # logits only where a token follows
        logits = model.get_output_embeddings()(hidden[:, :-1][later])  # (tokens, V)
        scores[:, 1:][later] = _chosen(logits, tokens[:, 1:][later])
        return (scores.sum(dim=1) / present.sum(dim=1)).double().cpu().numpy()


def _chosen(logits: Any, tokens: Any) -> Any:
    """Log-likelihood of one token per row of logits."""
    logits = logits.float()
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
