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

    prompts, answers = input_ids[:, :-answer_tokens], input_ids[:, -answer_tokens:]
    shown, present = attention_mask[:, :-answer_tokens], attention_mask[:, -answer_tokens:].bool()
    both = torch.stack([prompts, shown])  # (2, R, P)
    distinct, prompt_of = torch.unique(both, dim=1, return_inverse=True)
    hidden = _hidden_states(model, distinct, prompt_of, answers, attention_mask)[present]
    logits = model.get_base_model().get_output_embeddings()(hidden).float() / temperature
    scores = logits.log_softmax(dim=-1)  # (tokens, V)
    chosen = scores.gather(-1, answers[present][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(scores.exp() * scores).sum(dim=-1)
    empty = torch.zeros(present.shape, dtype=torch.float32, device=present.device)
    return empty.masked_scatter(present, chosen), empty.masked_scatter(present, entropy)


def _hidden_states(
    model: Any, distinct: Any, prompt_of: Any, answers: Any, attention_mask: Any
) -> Any:
    """Last hidden states (R, C, D) at the places before each answer token."""
    import torch
    from transformers import DynamicCache

    reader, cache = base_of(model), DynamicCache()
    ids, shown = distinct  # each (distinct prompts, P)
    read = reader(
        input_ids=ids,
        attention_mask=shown,
        position_ids=(shown.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[prompt_of, -1:]  # (R, 1, D)
    if answers.shape[1] == 1:
        return read
    cache.batch_select_indices(prompt_of)
    steps = torch.arange(answers.shape[1] - 1, device=answers.device)
    written = reader(
        input_ids=answers[:, :-1],
        attention_mask=attention_mask[:, :-1],
        position_ids=shown[prompt_of].sum(dim=1, keepdim=True) + steps,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return torch.cat([read, written], dim=1)


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
