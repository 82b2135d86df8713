"""Greedy generation in batches of similar length; finished rows leave the batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKEN_BUDGETS = {
    "word": 32,
    "number": 32,
    "date": 32,
    "record": 32,
    "list": 40,
    "sentence": 40,
    "code": 72,
}
"""New tokens per form of answer: enough for the base model to come to the point."""
FREE_BUDGET = 72
_COMPACT_BELOW = 0.75


@dataclass(frozen=True)
class Completion:
    """What an adapter answered, and what it cost.

    Parameters
    ----------
    text
        The response without special tokens and surrounding white space.
    prompt_tokens, completion_tokens
        Tokens read and written; the end token counts as written.
    seconds
        The row's share of its batch's wall time, by tokens read and written.
    finished
        Whether the end token came before the budget ran out.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finished: bool


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: Sequence[int],
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Answer prompts greedily.

    Parameters
    ----------
    model, tokenizer
        A causal language model in evaluation mode and its tokenizer, which pads on the left.
    prompts
        N rendered prompts.
    max_new_tokens
        N budgets of new tokens, each at least 1.
    batch_size
        Rows per batch; batches hold prompts of similar budget and length.
    on_batch
        Called with the number of rows that a finished batch held.

    Returns
    -------
    list of Completion
        In the order of the prompts.

    Raises
    ------
    ValueError
        If a prompt is empty, a budget is below 1, or the lengths differ.
    """
    if len(prompts) != len(max_new_tokens):
        raise ValueError(f"{len(prompts)} prompts, {len(max_new_tokens)} budgets: give one each.")
    for row, (prompt, budget) in enumerate(zip(prompts, max_new_tokens, strict=True)):
        if not prompt.strip() or budget < 1:
            raise ValueError(f"prompt {row} is empty or its budget {budget} is below 1 token.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: give at least 1.")
    if not prompts:
        return []
    lengths = [len(ids) for ids in tokenizer(list(prompts), add_special_tokens=False)["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda row: (max_new_tokens[row], lengths[row]))
    answers: dict[int, Completion] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _generate_batch(
            model,
            tokenizer,
            [prompts[r] for r in rows],
            np.array([max_new_tokens[r] for r in rows]),
        )
        answers.update(zip(rows, batch, strict=True))
        if on_batch:
            on_batch(len(rows))
    return [answers[row] for row in range(len(prompts))]


def _generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    budgets: np.ndarray,
) -> list[Completion]:
    """Answer one batch."""
    import torch

    started = time.perf_counter()
    with torch.inference_mode():
        written, finished, read = _decode(model, tokenizer, prompts, budgets)
    elapsed = time.perf_counter() - started
    counts = np.array([len(ids) for ids in written])
    shares = (read + counts) / (read + counts).sum()
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [
        Completion(text.strip(), int(r), int(c), float(elapsed * share), bool(done))
        for text, r, c, share, done in zip(texts, read, counts, shares, finished, strict=True)
    ]


def _decode(
    model: Any, tokenizer: Any, prompts: list[str], budgets: np.ndarray
) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """Decode greedily; return the new tokens, whether each row ended, and the prompt lengths."""
    import torch
    from transformers import DynamicCache

    end_tokens = end_token_ids(model, tokenizer)
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    tokens = encoded["input_ids"].to(model.device)  # (N, T)
    mask = encoded["attention_mask"].to(model.device)
    read = mask.sum(dim=1).cpu().numpy()
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    written: list[list[int]] = [[] for _ in prompts]
    finished = np.zeros(len(prompts), dtype=bool)
    alive = np.arange(len(prompts))
    while len(alive):
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = logits.argmax(dim=-1)
        open_rows = np.ones(len(alive), dtype=bool)
        for place, (row, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
            if finished[row] or len(written[row]) >= budgets[row]:
                open_rows[place] = False
                continue
            written[row].append(token)
            finished[row] = token in end_tokens
            open_rows[place] = not finished[row] and len(written[row]) < budgets[row]
        if not open_rows.any():
            break
        tokens, positions = chosen[:, None], mask.sum(dim=1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if open_rows.mean() < _COMPACT_BELOW:
            keep = torch.as_tensor(np.flatnonzero(open_rows), device=model.device)
            cache.batch_select_indices(keep)
            tokens, positions, mask = tokens[keep], positions[keep], mask[keep]
            alive = alive[open_rows]
    return written, finished, read


def end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Collect the tokens that end an answer: the tokenizer's and the model's."""
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    return frozenset(int(t) for t in (*several, tokenizer.eos_token_id) if t is not None)
