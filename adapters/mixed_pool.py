"""The pool at work on mixed batches: every adapter loaded, each row of a batch with its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from routing_gym.adapters.decoding import end_token_ids
from routing_gym.adapters.pool import PROBES, AdapterPool
from routing_gym.adapters.prompt import render_prompt
from routing_gym.adapters.spec import PoolSpec

_PLAIN = "__base__"  # peft's name for rows without an adapter


class MixedPool:
    """Adapters of a pool on one base model, unmerged, for rows that chose different ones.

    PEFT applies to each row of a batch the adapter that the row names (``adapter_names``). The
    weights of the base are held once, and no adapter is merged into them.

    Parameters
    ----------
    spec
        The pool's base model and ordered adapters.

    Raises
    ------
    ValueError
        If an adapter does not fit the base, changes none of its logits, or is not the one that
        its rows of a mixed batch get.
    """

    def __init__(self, spec: PoolSpec) -> None:
        pool = AdapterPool(spec, merge=False)
        self.spec = spec
        self.tokenizer: Any = pool.tokenizer
        self.model: Any = pool.model
        self.ends = end_token_ids(pool.model, pool.tokenizer)
        trained = [adapter.name for adapter in spec.adapters if adapter.path is not None]
        self._peft_names = {name: name if name in trained else _PLAIN for name in spec.names}
        self._mixes = bool(trained)
        self._check(pool, trained)

    def forward(self, adapters: Sequence[str], **inputs: Any) -> Any:
        """Run the model on a mixed batch; call it under ``torch.inference_mode``.

        Parameters
        ----------
        adapters
            R names of the pool, one for each row.
        inputs
            What the model takes.

        Returns
        -------
        torch.Tensor
            Logits (R, V) of each row's next token.
        """
        if self._mixes:
            inputs["adapter_names"] = [self._peft_names[name] for name in adapters]
        return self.model(**inputs, logits_to_keep=1).logits[:, -1]

    def _check(self, pool: AdapterPool, trained: Sequence[str]) -> None:
        """Refuse a pool in which a row of a mixed batch gets another adapter than it names."""
        import torch

        text = PROBES[0]
        alone = {}
        for name in self.spec.names:
            pool.activate(name)
            alone[name] = pool.logits([text])[0]
        if trained:  # an active base would switch every adapter off, for named rows too
            pool.activate(trained[0])
        ids = self.tokenizer(render_prompt(self.tokenizer, text), add_special_tokens=False)
        prompts = torch.tensor([ids["input_ids"]] * len(alone), device=self.model.device)
        with torch.inference_mode():
            mixed = self.forward(list(alone), input_ids=prompts).float().cpu().numpy()
        for name, found in zip(alone, mixed, strict=True):
            off = {other: float(np.abs(found - logits).max()) for other, logits in alone.items()}
            nearest = min(off, key=off.__getitem__)
            if off[name] > off[nearest]:
                raise ValueError(
                    f"adapter {name!r} is not active in a mixed batch: its row is off by "
                    f"{off[name]:.3f} from its own logits and by {off[nearest]:.3f} from those of "
                    f"{nearest!r}; use the version of peft that constraints.txt pins."
                )
