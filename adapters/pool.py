"""The pool at work: one base model in memory, adapters merged into it one at a time, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from routing_gym.adapters.base_model import load_base_model, load_tokenizer
from routing_gym.adapters.generation import (
    FREE_BUDGET,
    TOKEN_BUDGETS,
    Completion,
    generate,
    sample,
)
from routing_gym.adapters.merging import Originals, merge_adapter, restore
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import AdapterSpec, PoolSpec

PROBES = (
    "What is the capital of France? Answer with one word.",
    "Write a Python function solve(x) that adds 2 to x. Code only, please.",
    "Write a sentence with the words river, lantern. One sentence only.",
    "Sort these numbers in ascending order: 31, 7, 12. Answer with a comma-separated list.",
)
INERT_BELOW = 1e-3
"""Largest change of a probe's logits that still counts as no change."""


class AdapterPool:
    """Adapters of a pool on one base model; each answers as itself or not at all.

    An active adapter is merged into the base weights, which makes it as fast as the base. Merging
    writes new tensors and keeps the originals, so that switching back is exact to the bit.

    Parameters
    ----------
    spec
        The pool's base model and ordered adapters.
    nf4
        Hold the base in NF4; adapters are then applied unmerged.
    merge
        Whether the active adapter is merged; unmerged ones are slower, but hold no second copy of
        the weights.

    Raises
    ------
    ValueError
        If an adapter does not change the base's logits on the probes, or does not fit the base.
    """

    def __init__(self, spec: PoolSpec, *, nf4: bool = False, merge: bool = True) -> None:
        self.spec = spec
        self.tokenizer: Any = load_tokenizer(spec.base_model)
        self.model: Any = load_base_model(spec.base_model, nf4=nf4)
        self._merges = merge and not nf4
        self._originals: Originals = []
        self._base_probe = self.probe_logits()
        self.active: str | None = None
        for adapter in spec.adapters:
            if adapter.path is not None:
                self.register(adapter)
            elif not adapter.is_base:
                raise ValueError(
                    f"adapter {adapter.name!r} is at the pool's server and has no local folder: "
                    "open the pool with open_pool, or give the adapter's `path`."
                )

    def register(self, adapter: AdapterSpec) -> None:
        """Load an adapter's weights and probe that they change the base's answers.

        Raises
        ------
        ValueError
            If the weights do not fit the base model, or change nothing.
        """
        from peft import PeftModel
        from safetensors import SafetensorError

        assert adapter.path is not None
        restore(self._originals)
        self.active = None
        try:
            if hasattr(self.model, "peft_config"):
                self.model.load_adapter(str(adapter.path), adapter_name=adapter.name)
            else:
                self.model = PeftModel.from_pretrained(
                    self.model, str(adapter.path), adapter_name=adapter.name
                ).eval()
        except (RuntimeError, KeyError, ValueError, SafetensorError) as error:
            raise ValueError(
                f"adapter {adapter.name!r} at {adapter.path} is damaged or does not fit the base "
                f"model {self.spec.base_model!r}: train it on this base."
            ) from error
        self._switch(adapter)
        change = float(np.abs(self.probe_logits() - self._base_probe).max())
        if change < INERT_BELOW:
            restore(self._originals)
            self.model.base_model.disable_adapter_layers()
            self.model.delete_adapter(adapter.name)
            self.active = None
            raise ValueError(
                f"adapter {adapter.name!r} changes no logit of the base by more than {change:.1e}: "
                "it would answer as the base under another name; train it or leave it out."
            )

    def activate(self, name: str) -> None:
        """Make an adapter, or the base, the one that answers.

        Raises
        ------
        ValueError
            If the pool has no such name; the message lists the known ones.
        """
        adapter = self.spec.adapters[self.spec.position(name)]
        if self.active != name:
            self._switch(adapter)

    def probe_logits(self) -> np.ndarray:
        """Return the logits after each of the `PROBES`, float32 (probes, vocabulary)."""
        return self.logits(PROBES)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return the active adapter's logits for the first token of an answer.

        Parameters
        ----------
        texts
            N queries.

        Returns
        -------
        numpy.ndarray
            float32 (N, V).
        """
        import torch

        prompts = [render_prompt(self.tokenizer, text) for text in texts]
        encoded = self.tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=False
        ).to(self.model.device)
        mask = encoded["attention_mask"]
        with torch.inference_mode():
            logits = self.model(
                input_ids=encoded["input_ids"],
                attention_mask=mask,
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
                logits_to_keep=1,
            ).logits[:, -1]
        return np.asarray(logits.float().cpu().numpy())

    def generate(
        self,
        name: str,
        texts: Sequence[str],
        *,
        forms: Sequence[str] | None = None,
        batch_size: int = 64,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Let one adapter answer queries greedily.

        Parameters
        ----------
        name
            Adapter of the pool.
        texts
            N queries.
        forms
            N forms of answer, which set the token budgets (`TOKEN_BUDGETS`); free by default.
        batch_size
            Rows per batch.
        on_batch
            Called with the number of rows of each finished batch.

        Raises
        ------
        ValueError
            If the name is unknown or a text is empty.
        """
        prompts, budgets = self._asked(name, texts, forms)
        return generate(
            self.model,
            self.tokenizer,
            prompts,
            max_new_tokens=budgets,
            batch_size=batch_size,
            on_batch=on_batch,
        )

    def sample(
        self,
        name: str,
        texts: Sequence[str],
        *,
        k: int,
        seed: int,
        temperature: float = 1.0,
        forms: Sequence[str] | None = None,
        batch_size: int = 64,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """Let one adapter answer each query k times at random.

        Parameters
        ----------
        name, texts, forms
            As in `generate`.
        k, seed, temperature, batch_size, on_batch
            See `routing_gym.adapters.generation.sample`.

        Returns
        -------
        list of list of Completion
            k answers per query.

        Raises
        ------
        ValueError
            If the name is unknown, a text is empty, or k, seed or temperature is out of range.
        """
        prompts, budgets = self._asked(name, texts, forms)
        return sample(
            self.model,
            self.tokenizer,
            prompts,
            max_new_tokens=budgets,
            k=k,
            seed=seed,
            temperature=temperature,
            batch_size=batch_size,
            on_batch=on_batch,
        )

    def _asked(
        self, name: str, texts: Sequence[str], forms: Sequence[str] | None
    ) -> tuple[list[str], list[int]]:
        """Activate an adapter; return the prompts and token budgets of queries."""
        for row, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"query {row} is empty: give it words or leave it out.")
        self.activate(name)
        prompts = [render_prompt(self.tokenizer, text) for text in texts]
        forms = forms or [""] * len(texts)
        return prompts, [TOKEN_BUDGETS.get(form, FREE_BUDGET) for form in forms]

    def _switch(self, adapter: AdapterSpec) -> None:
        """Restore the base weights, then apply the adapter."""
        restore(self._originals)
        if hasattr(self.model, "peft_config"):
            if adapter.path is None:
                self.model.base_model.disable_adapter_layers()
            else:
                self.model.base_model.enable_adapter_layers()
                self.model.set_adapter(adapter.name)
                if self._merges:
                    merge_adapter(self.model, adapter.name, self._originals)
        self.active = adapter.name
