"""A local pool that answers for a `ModelServer`."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from routing_gym.adapters.generation import Completion, generate
from routing_gym.adapters.pool import AdapterPool
from routing_gym.serving.trial_upstream import BASE_MODEL


class ServedPool:
    """Answers for a `ModelServer` with a local pool, from the tokens alone, one at a time."""

    def __init__(self, pool: AdapterPool) -> None:
        self.pool, self._lock = pool, threading.Lock()

    def answer(self, model: str, body: dict[str, Any]) -> Completion:
        with self._lock:
            self.pool.activate("base" if model == BASE_MODEL else model)
            prompt = self.pool.tokenizer.decode(body["prompt"])
            budget = body["max_tokens"]
            (answer,) = generate(
                self.pool.model, self.pool.tokenizer, [prompt], max_new_tokens=[budget]
            )
        return replace(answer, prompt_tokens=len(body["prompt"]))

    def extra(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """Tell the log-probabilities of the prompt, or those of the likeliest first tokens."""
        import torch

        if not {"prompt_logprobs", "return_tokens_as_token_ids"} & set(body):
            return {}
        with self._lock, torch.inference_mode():
            self.pool.activate("base" if model == BASE_MODEL else model)
            ids = torch.tensor([body["prompt"]])
            log_probs = self.pool.model(input_ids=ids).logits[0].float().log_softmax(-1)
        if "prompt_logprobs" in body:
            pairs = zip(log_probs[:-1], body["prompt"][1:], strict=True)
            told = [{str(t): {"logprob": float(row[t]), "rank": 1}} for row, t in pairs]
            return {"prompt_logprobs": [None, *told]}
        values, tokens = log_probs[-1].topk(body["logprobs"])
        top = {f"token_id:{t}": v for t, v in zip(tokens.tolist(), values.tolist(), strict=True)}
        return {"logprobs": {"token_logprobs": [values[0].item()], "top_logprobs": [top]}}
