"""Generation in batches of similar length, greedy or sampled, with each token's confidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from routing_gym.adapters.decoding import Choose, decode, drawn, greedy

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

Chooser = Callable[[Sequence[str], np.ndarray], Choose]


@dataclass(frozen=True)
class Completion:
    """What an adapter answered, what it cost, and how sure the model was of every token.

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
    token_log_probs
        Log-probability (nats, at most 0) of each written token, the end token included, under the
        model at temperature 1; empty where a server does not tell.
    token_entropies
        Entropy (nats, at least 0) of the distribution of each written token.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finished: bool
    token_log_probs: tuple[float, ...] = ()
    token_entropies: tuple[float, ...] = ()


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
    answers = _answer(
        model,
        tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        on_batch=on_batch,
        chooser=lambda _prompts, _budgets: greedy,
    )
    return [only for (only,) in answers]


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: Sequence[int],
    k: int,
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> list[list[Completion]]:
    """Answer each prompt k times at random; the prompt itself is read once.

    Sample j of a prompt depends on the prompt, j and the seed alone, not on the batch (up to
    rounding) nor on any global generator. Adapters that are asked the same with the same seed get
    the same random numbers, which makes differences between them less noisy.

    Parameters
    ----------
    model, tokenizer, prompts, max_new_tokens
        As in `generate`.
    k
        Answers per prompt, at least 1.
    seed
        At least 0.
    temperature
        Divides the logits, above 0; 1 draws from the model's own distribution.
    batch_size
        Rows per batch, k for each prompt; at least one prompt is in every batch.
    on_batch
        Called with the number of answers that a finished batch held.

    Returns
    -------
    list of list of Completion
        k answers per prompt, in the order of the prompts.

    Raises
    ------
    ValueError
        As in `generate`, or if k is below 1, the temperature not above 0 or the seed negative.
    """
    check_sampling(k=k, seed=seed, temperature=temperature)

    def chooser(part: Sequence[str], budgets: np.ndarray) -> Choose:
        streams = [
            np.random.default_rng([seed, number, *prompt.encode()])
            for prompt in part
            for number in range(k)
        ]
        return drawn(np.stack([rng.random(budgets.max()) for rng in streams]), temperature)

    return _answer(
        model,
        tokenizer,
        prompts,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        on_batch=on_batch,
        chooser=chooser,
        repeats=k,
    )


def check_sampling(*, k: int, seed: int, temperature: float) -> None:
    """Refuse settings of `sample` that are out of range.

    Raises
    ------
    ValueError
        If k is below 1, the temperature not above 0 or the seed negative.
    """
    if k < 1 or seed < 0 or not 0 < temperature < np.inf:
        raise ValueError(
            f"k={k}, seed={seed}, temperature={temperature}: k must be at least 1, the seed at "
            "least 0 and the temperature above 0; for the likeliest answer use greedy generation."
        )


def _answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: Sequence[int],
    batch_size: int,
    on_batch: Callable[[int], None] | None,
    chooser: Chooser,
    repeats: int = 1,
) -> list[list[Completion]]:
    """Answer prompts in batches of similar budget and length."""
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
    answers: dict[int, list[Completion]] = {}
    size = max(1, batch_size // repeats)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        batch = _answer_batch(
            model,
            tokenizer,
            [prompts[r] for r in rows],
            np.array([max_new_tokens[r] for r in rows]),
            chooser=chooser,
            repeats=repeats,
        )
        answers.update(zip(rows, batch, strict=True))
        if on_batch:
            on_batch(len(rows) * repeats)
    return [answers[row] for row in range(len(prompts))]


def _answer_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    budgets: np.ndarray,
    *,
    chooser: Chooser,
    repeats: int,
) -> list[list[Completion]]:
    """Answer one batch."""
    import torch

    started = time.perf_counter()
    choose = chooser(prompts, budgets)
    with torch.inference_mode():
        written, lengths = decode(
            model, tokenizer, prompts, budgets, choose=choose, repeats=repeats
        )
    elapsed = time.perf_counter() - started
    read = np.repeat(lengths, repeats)
    work = read / repeats + np.array([len(row.tokens) for row in written])
    texts = tokenizer.batch_decode([row.tokens for row in written], skip_special_tokens=True)
    completions = [
        Completion(
            text=text.strip(),
            prompt_tokens=int(count),
            completion_tokens=len(row.tokens),
            seconds=float(elapsed * share),
            finished=row.finished,
            token_log_probs=tuple(row.log_probs),
            token_entropies=tuple(row.entropies),
        )
        for text, count, row, share in zip(texts, read, written, work / work.sum(), strict=True)
    ]
    return [completions[i : i + repeats] for i in range(0, len(completions), repeats)]
