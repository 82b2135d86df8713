"""How sure a model is of each token of an answer: what confidence metrics are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.adapters.decoding import chosen_and_entropy, end_token_ids
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.prompt_reader import ReadPrompts, follow, read_prompts

Key = tuple[str, bool]  # a response, and whether its end token belongs to it
_TOKENS_AT_ONCE = 256  # bounds the memory of logits over the vocabulary


@dataclass(frozen=True)
class TokenSignals:
    """The tokens of one answer under the model that reads it.

    Parameters
    ----------
    log_probs
        float32 (T,), nats, at most 0: log-probability of each token given those before it.
    entropies
        float32 (T,), nats, at least 0: entropy of the distribution that each token came from.
    """

    log_probs: np.ndarray
    entropies: np.ndarray


def token_signals(
    model: Any,
    tokenizer: Any,
    queries: Sequence[str],
    responses: Sequence[str],
    finished: Sequence[bool] | None = None,
    *,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> list[TokenSignals]:
    """Read answers token by token; each query's prompt is read once for all of its responses.

    Parameters
    ----------
    model, tokenizer
        A causal language model in evaluation mode and its tokenizer, which pads on the left.
    queries, responses
        N texts each.
    finished
        N flags: whether the end token belongs to the answer; by default to none.
    batch_size
        Different queries per batch.
    on_batch
        Called with the number of different answers of each finished batch.

    Returns
    -------
    list of TokenSignals
        One per answer; without a token for an empty response that has not ended.

    Raises
    ------
    ValueError
        If an answer has ended and neither the tokenizer nor the model knows an end token, or the
        lengths differ.
    """
    import torch

    ended = [False] * len(queries) if finished is None else [bool(flag) for flag in finished]
    wanted: dict[str, dict[Key, TokenSignals]] = {}
    for query, response, end in zip(queries, responses, ended, strict=True):
        nothing = TokenSignals(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
        wanted.setdefault(query, {})[response, end] = nothing
    ending = [_end_token(model, tokenizer)] if any(ended) else []
    ordered = sorted(wanted, key=lambda query: max(len(text) for text, _ in wanted[query]))
    for start in range(0, len(ordered), batch_size):
        part = ordered[start : start + batch_size]
        with torch.inference_mode():
            _read_batch(model, tokenizer, part, wanted, ending=ending)
        if on_batch:
            on_batch(sum(len(wanted[query]) for query in part))
    keys = zip(queries, responses, ended, strict=True)
    return [wanted[query][response, end] for query, response, end in keys]


def adapter_signals(
    pool: Any,
    name: str,
    queries: Sequence[str],
    responses: Sequence[str],
    finished: Sequence[bool],
) -> list[TokenSignals]:
    """Read answers under the adapter of an `AdapterPool` that gave them; see `token_signals`."""
    pool.activate(name)
    return token_signals(pool.model, pool.tokenizer, queries, responses, finished)


def _end_token(model: Any, tokenizer: Any) -> int:
    """Return the end token of the tokenizer's own chats, or the model's where it has none."""
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    known = end_token_ids(model, tokenizer)
    if not known:
        raise ValueError(
            "finished=True for an answer, but neither the tokenizer nor the model's generation "
            "settings have an end token: set eos_token_id."
        )
    return min(known)


def _read_batch(
    model: Any,
    tokenizer: Any,
    queries: list[str],
    wanted: dict[str, dict[Key, TokenSignals]],
    *,
    ending: list[int],
) -> None:
    """Read each prompt once, then its responses one rank at a time."""
    read = read_prompts(model, tokenizer, [render_prompt(tokenizer, query) for query in queries])
    answers = {
        (row, key): ids + ending * key[1]
        for row, query in enumerate(queries)
        for key, ids in _token_ids(tokenizer, list(wanted[query]))
        if ids or key[1]
    }
    for rank in range(max(len(wanted[query]) for query in queries)):
        part = [
            (row, list(wanted[query])[rank])
            for row, query in enumerate(queries)
            if len(wanted[query]) > rank
        ]
        part = [place for place in part if place in answers]
        if part:
            rows = [row for row, _ in part]
            found = _signals(model, read, rows, [answers[place] for place in part])
            for (row, key), signals in zip(part, found, strict=True):
                wanted[queries[row]][key] = signals


def _token_ids(tokenizer: Any, keys: Sequence[Key]) -> list[tuple[Key, list[int]]]:
    """Tokenise responses; a blank one has no token."""
    ids = tokenizer([text for text, _ in keys], add_special_tokens=False)["input_ids"]
    return [(key, own if key[0].strip() else []) for key, own in zip(keys, ids, strict=True)]


def _signals(
    model: Any, read: ReadPrompts, rows: list[int], ids: list[list[int]]
) -> list[TokenSignals]:
    """Read one continuation of each of some prompts."""
    import torch

    tokens, shown, hidden = follow(model, read, rows, ids)
    later = shown[:, 1:]  # logits are needed only where a token follows
    states, following = hidden[:, :-1][later], tokens[:, 1:][later]
    head = model.get_output_embeddings()
    parts = zip(states.split(_TOKENS_AT_ONCE), following.split(_TOKENS_AT_ONCE), strict=True)
    pieces = [chosen_and_entropy(head(state), token) for state, token in parts]
    first = chosen_and_entropy(read.first[rows], tokens[:, 0])
    signals = []
    for number, at_start in enumerate(first):
        values = torch.zeros(tokens.shape, device=tokens.device)  # (R, T)
        values[:, 0] = at_start
        values[:, 1:][later] = torch.cat([piece[number] for piece in pieces])
        signals.append(values.cpu().numpy())
    return [
        TokenSignals(chosen[: len(own)], spread[: len(own)])
        for chosen, spread, own in zip(*signals, ids, strict=True)
    ]
