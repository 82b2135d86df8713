"""One batch of prompts decoded token by token; finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routing_gym.adapters.prompt_reader import ReadPrompts, read_prompts

Choose = Callable[[Any, np.ndarray, int], Any]
"""``(logits (R, V), rows (R,), step) -> tokens (R,)``: picks each row's next token."""
_COMPACT_BELOW = 0.9
_READ_TOKENS = {"cpu": 512}  # of a part: its activations stay in the processor's caches
_READ_TOKENS_ELSEWHERE = 16_384


@dataclass
class Written:
    """What one row has written so far.

    Parameters
    ----------
    tokens
        Token ids, the end token included.
    log_probs, entropies
        Each token's log-probability and the entropy of its distribution, nats.
    finished
        Whether the end token came before the budget ran out.
    """

    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    finished: bool = False


def decode(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    budgets: np.ndarray,
    *,
    choose: Choose,
    repeats: int = 1,
) -> tuple[list[Written], np.ndarray]:
    """Continue every prompt, once or several times; call it under ``torch.inference_mode``.

    Parameters
    ----------
    model, tokenizer
        A causal language model in evaluation mode and its tokenizer, which pads on the left.
    prompts
        N rendered prompts; each is read once, however often it is continued.
    budgets
        int (N,) new tokens at most, each at least 1.
    choose
        Picks the next tokens; row ``n * repeats + r`` is continuation r of prompt n.
    repeats
        Continuations of each prompt.

    Returns
    -------
    tuple
        The ``N * repeats`` rows in order, and the prompts' lengths in tokens, int (N,).
    """
    import torch

    ends = end_token_ids(model, tokenizer)
    read, order = read_in_parts(model, tokenizer, prompts)
    lengths = np.empty(len(order), dtype=np.int64)
    lengths[order] = read.mask.sum(dim=1).cpu().numpy()
    cache, mask, logits = read.cache, read.mask, read.first
    if repeats > 1:
        cache.batch_repeat_interleave(repeats)
        mask, logits = (t.repeat_interleave(repeats, dim=0) for t in (mask, logits))
    written = [Written() for _ in range(len(mask))]
    limits = np.repeat(budgets, repeats)
    alive, step = (order[:, None] * repeats + np.arange(repeats)).ravel(), 0
    while True:
        chosen = choose(logits, alive, step)
        signals = torch.stack(chosen_and_entropy(logits, chosen)).tolist()
        for row, token, *signal in zip(alive, chosen.tolist(), *signals, strict=True):
            if not written[row].finished and step < limits[row]:
                _write(written[row], token, *signal, ends=ends)
        step += 1
        open_rows = np.array([not written[r].finished and step < limits[r] for r in alive])
        if not open_rows.any():
            return written, lengths
        tokens, positions = chosen[:, None], mask.sum(dim=1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if open_rows.mean() < _COMPACT_BELOW:
            keep = torch.as_tensor(np.flatnonzero(open_rows), device=mask.device)
            cache.batch_select_indices(keep)
            tokens, positions, mask = tokens[keep], positions[keep], mask[keep]
            alive = alive[open_rows]
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def read_in_parts(
    model: Any, tokenizer: Any, prompts: Sequence[str]
) -> tuple[ReadPrompts, np.ndarray]:
    """Read prompts, those of similar length together: little padding, and it is not computed on.

    Parameters
    ----------
    model, tokenizer, prompts
        As in `decode`.

    Returns
    -------
    tuple
        What was read, the shortest prompt first, and which prompt each row is, int (N,).
    """
    limit = _READ_TOKENS.get(model.device.type, _READ_TOKENS_ELSEWHERE)
    lengths = [len(ids) for ids in tokenizer(list(prompts), add_special_tokens=False)["input_ids"]]
    order = np.argsort(lengths, kind="stable")
    groups: list[list[int]] = [[]]
    for row in order.tolist():
        if groups[-1] and (len(groups[-1]) + 1) * lengths[row] > limit:
            groups.append([])
        groups[-1].append(row)
    parts = [read_prompts(model, tokenizer, [prompts[row] for row in rows]) for rows in groups]
    return _joined(parts), order


def _joined(parts: Sequence[ReadPrompts]) -> ReadPrompts:
    """Put parts of prompts into one cache, padded on the left to the last part, the longest."""
    import torch
    from torch.nn.functional import pad

    if len(parts) == 1:
        return parts[0]
    width = parts[-1].mask.shape[1]
    mask = torch.cat([pad(part.mask, (width - part.mask.shape[1], 0)) for part in parts])
    for layers in zip(*(part.cache.layers for part in parts), strict=True):
        for name in ("keys", "values"):
            held = [getattr(layer, name) for layer in layers]  # each (P, heads, T, width)
            longest = held[-1].shape[-2]
            together = torch.cat([pad(t, (0, 0, longest - t.shape[-2], 0)) for t in held])
            setattr(layers[-1], name, together)
    return ReadPrompts(mask, torch.cat([part.first for part in parts]), parts[-1].cache)


def _write(
    row: Written, token: int, log_prob: float, entropy: float, *, ends: frozenset[int]
) -> None:
    """Add one token to a row."""
    row.tokens.append(token)
    row.log_probs.append(log_prob)
    row.entropies.append(entropy)
    row.finished = token in ends


def greedy(logits: Any, rows: np.ndarray, step: int) -> Any:
    """Choose the likeliest tokens (R,) of logits (R, V)."""
    return logits.argmax(dim=-1)


def drawn(uniforms: np.ndarray, temperature: float) -> Choose:
    """Choose tokens at random, by inverting the distribution at given uniform numbers.

    Parameters
    ----------
    uniforms
        float (rows, T) in [0, 1): one number for each row and step, so that what a row writes
        does not depend on the rows that share its batch.
    temperature
        Divides the logits, above 0; 1 draws from the model's own distribution.
    """
    import torch

    def choose(logits: Any, rows: np.ndarray, step: int) -> Any:
        chances = (logits.float() / temperature).softmax(dim=-1)
        cumulated = chances.cumsum(dim=-1, dtype=torch.float64)  # (R, V)
        numbers = torch.as_tensor(uniforms[rows, step], device=logits.device)[:, None]
        places = torch.searchsorted(cumulated, numbers * cumulated[:, -1:], right=True)
        return places[:, 0].clamp(max=logits.shape[-1] - 1)

    return choose


def chosen_and_entropy(logits: Any, tokens: Any) -> tuple[Any, Any]:
    """Log-probability (R,) of one token per row of logits (R, V), and the row's entropy, nats."""
    log_probs = logits.float().log_softmax(dim=-1)
    chosen = log_probs.gather(-1, tokens[:, None])[:, 0]
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return chosen.clamp(max=0.0), entropy.clamp(min=0.0)  # rounding may leave the range


def end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Collect the tokens that end an answer: the tokenizer's and the model's."""
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    return frozenset(int(t) for t in (*several, tokenizer.eos_token_id) if t is not None)
