"""Reading a prompt once and then any number of texts that follow it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts in a model's cache.

    Parameters
    ----------
    mask
        Attention mask (P, T), padded on the left.
    first
        Logits (P, V) of the token after each prompt.
    cache
        Keys and values of the prompts.
    """

    mask: Any
    first: Any
    cache: Any


def read_prompts(model: Any, tokenizer: Any, prompts: Sequence[str]) -> ReadPrompts:
    """Read P rendered prompts in one batch; call it under ``torch.inference_mode``."""
    from transformers import DynamicCache

    encoded = tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=False)
    mask = encoded["attention_mask"].to(model.device)
    cache = DynamicCache(config=model.config)
    first = model(
        input_ids=encoded["input_ids"].to(model.device),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return ReadPrompts(mask, first, cache)


def follow(
    model: Any, read: ReadPrompts, rows: Sequence[int], token_ids: Sequence[Sequence[int]]
) -> tuple[Any, Any, Any]:
    """Read one continuation of each of some prompts, leaving their cache as it is.

    Parameters
    ----------
    model
        The model that read the prompts.
    read
        From `read_prompts`.
    rows
        R prompts by position; each may occur once.
    token_ids
        R continuations of at least one token.

    Returns
    -------
    tuple of torch.Tensor
        Tokens (R, T) padded on the right, which of them are present (R, T), and the last hidden
        states (R, T, D).
    """
    import torch

    keep = torch.as_tensor(list(rows), device=read.mask.device)
    own = copy.deepcopy(read.cache)
    own.batch_select_indices(keep)
    lengths = np.array([len(ids) for ids in token_ids])
    present = np.arange(lengths.max()) < lengths[:, None]  # (R, T)
    padded = np.zeros(present.shape, dtype=np.int64)
    padded[present] = np.concatenate([np.asarray(ids) for ids in token_ids])
    tokens, shown = (torch.as_tensor(a, device=keep.device) for a in (padded, present))
    before = read.mask[keep]
    hidden = base_of(model)(
        input_ids=tokens,
        attention_mask=torch.cat([before, shown.to(before.dtype)], dim=1),
        position_ids=before.sum(dim=1, keepdim=True)
        + torch.arange(tokens.shape[1], device=keep.device),
        past_key_values=own,
        use_cache=True,
    ).last_hidden_state
    return tokens, shown, hidden


def base_of(model: Any) -> Any:
    """Return the transformer below the language head, also of a model that carries adapters."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model
