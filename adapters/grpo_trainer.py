"""trl's GRPO trainer at the pace of a CPU: every prompt is read once, not once for each answer.

Both halves of an update gain by it. Answers are drawn by our own decoder, in which finished rows
leave the batch, with the adapter merged while it writes; and the loss reads a prompt's tokens once
for all of its answers, whose gradients meet in the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from routing_gym.adapters.decoding import decode, drawn
from routing_gym.adapters.merging import merged
from routing_gym.adapters.prompt_reader import base_of

_PARTS = 4
"""Into how many parts of similar length the answers are cut: padding is computed on, too."""


def cpu_grpo_trainer(trainer: Any) -> Any:
    """Make trl's `GRPOTrainer` take log-probabilities from `answer_log_probs`."""

    class SharedPromptTrainer(trainer):  # type: ignore[misc]
        """GRPO whose answers share the reading of their prompt."""

        def _get_per_token_logps_and_entropies(
            self,
            model: Any,
            input_ids: Any,
            attention_mask: Any,
            logits_to_keep: int,
            **_: Any,
        ) -> tuple[Any, Any, None]:
            """Return log-probabilities and entropies (R, C) of the answers' tokens."""
            log_probs, entropies = answer_log_probs(
                self.accelerator.unwrap_model(model),
                input_ids,
                attention_mask,
                answer_tokens=logits_to_keep,
                temperature=self.temperature,
            )
            return log_probs, entropies, None

    return SharedPromptTrainer


def answer_log_probs(
    model: Any,
    input_ids: Any,
    attention_mask: Any,
    *,
    answer_tokens: int,
    temperature: float = 1.0,
) -> tuple[Any, Any]:
    """Log-probabilities of answers, each different prompt read once.

    Parameters
    ----------
    model
        A PEFT causal language model.
    input_ids, attention_mask
        int64 (R, P + C): prompts padded on the left, answers on the right.
    answer_tokens
        C.
    temperature
        Divides the logits.

    Returns
    -------
    tuple of torch.Tensor
        Log-probabilities in nats, with their gradient, and entropies, without; float32 (R, C), 0
        where there is no token.
    """
    import torch

    from routing_gym.adapters.chosen_log_probs import ChosenLogProbs

    prompts, answers = input_ids[:, :-answer_tokens], input_ids[:, -answer_tokens:]
    shown, present = attention_mask[:, :-answer_tokens], attention_mask[:, -answer_tokens:]
    both = torch.stack([prompts, shown])  # (2, R, P)
    distinct, prompt_of = torch.unique(both, dim=1, return_inverse=True)
    last, cache = _read(model, *distinct)
    states, places = [], []
    for rows in present.sum(dim=1).argsort(stable=True).chunk(_PARTS):
        width = max(1, int(present[rows].sum(dim=1).max()))
        own = prompt_of[rows]
        hidden = last[own]  # (r, 1, D)
        if width > 1:
            rest = _follow(model, cache, own, distinct[1], answers[rows, : width - 1])
            hidden = torch.cat([hidden, rest], dim=1)
        taken = present[rows, :width].bool()
        states.append(hidden[taken])
        places.append(torch.stack([rows[:, None].expand_as(taken)[taken], taken.nonzero()[:, 1]]))
    row, column = torch.cat(places, dim=1)
    head = model.get_base_model().get_output_embeddings().weight  # (V, D)
    chosen, entropy = ChosenLogProbs.apply(
        torch.cat(states), head, answers[row, column], temperature
    )
    empty = torch.zeros(present.shape, dtype=torch.float32, device=present.device)
    return empty.index_put((row, column), chosen), empty.index_put((row, column), entropy)


def _read(model: Any, ids: Any, shown: Any) -> tuple[Any, Any]:
    """Read prompts (N, P): the last hidden state of each, (N, 1, D), and their cache."""
    from transformers import DynamicCache

    cache = DynamicCache()
    hidden = base_of(model)(
        input_ids=ids,
        attention_mask=shown,
        position_ids=(shown.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden[:, -1:], cache


def _follow(model: Any, cache: Any, own: Any, shown: Any, tokens: Any) -> Any:
    """Hidden states (r, t, D) of tokens (r, t), each row after one of the prompts in the cache.

    What stands in a row after its answer has ended is read too, but nothing looks back at it.
    """
    import torch
    from transformers import DynamicCache

    copy = DynamicCache()
    for number, layer in enumerate(cache.layers):
        copy.update(layer.keys[own], layer.values[own], number)
    before = shown[own]
    steps = torch.arange(tokens.shape[1], device=tokens.device)
    return base_of(model)(
        input_ids=tokens,
        attention_mask=torch.cat([before, torch.ones_like(tokens)], dim=1),
        position_ids=before.sum(dim=1, keepdim=True) + steps,
        past_key_values=copy,
        use_cache=True,
    ).last_hidden_state


def prepare_for_answers(model: Any) -> None:
    """Put a model that is being trained into evaluation mode, but for its layers in NF4.

    On some processors bitsandbytes packs a layer's weights when it is first read in evaluation
    mode, and no gradient goes through a packed layer ever after, without a word.
    """
    model.eval()
    for layer in model.modules():
        if type(layer).__name__ == "Linear4bit":
            layer.train()


class Rollout:
    """Draws the answers of an update: trl's ``rollout_func``.

    An answer depends on the seed, the update, its number and its prompt alone, not on any global
    generator, so that a resumed run draws what an uninterrupted one would have drawn.

    Parameters
    ----------
    budgets
        Rendered prompt -> new tokens at most.
    generations
        Answers per prompt.
    temperature
        Divides the logits.
    seed
        At least 0.
    """

    def __init__(
        self, budgets: Mapping[str, int], *, generations: int, temperature: float, seed: int
    ) -> None:
        self._budgets = budgets
        self._generations = generations
        self._temperature = temperature
        self._seed = seed

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Answer prompts, each of which stands in the batch once for every answer it gets."""
        import torch

        asked = list(prompts[:: self._generations])
        assert [p for p in asked for _ in range(self._generations)] == list(prompts)
        model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
        prepare_for_answers(model)
        with torch.no_grad(), merged(model):
            rows, _ = decode(
                model,
                tokenizer,
                asked,
                np.array([self._budgets[prompt] for prompt in asked]),
                choose=drawn(self._numbers(asked, trainer.state.global_step), self._temperature),
                repeats=self._generations,
            )
        model.train()
        return {
            "prompt_ids": tokenizer(list(prompts), add_special_tokens=False)["input_ids"],
            "completion_ids": [row.tokens for row in rows],
            "logprobs": None,
        }

    def _numbers(self, prompts: Sequence[str], update: int) -> np.ndarray:
        """Draw the random numbers of the answers' tokens, float (rows, T) in [0, 1)."""
        width = max(self._budgets[prompt] for prompt in prompts)
        streams = [
            np.random.default_rng([self._seed, update, number, *prompt.encode()])
            for prompt in prompts
            for number in range(self._generations)
        ]
        return np.stack([stream.random(width) for stream in streams])
