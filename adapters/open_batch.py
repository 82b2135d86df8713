"""A batch whose rows join and leave between decoding steps (continuous batching)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.adapters.decoding import chosen_and_entropy, drawn
from routing_gym.adapters.mixed_pool import MixedPool

READ_COLUMNS = 256
"""Tokens of a prompt that are read at once: it bounds the activations and what others wait."""


@dataclass(frozen=True)
class Row:
    """A prompt that wants to be continued.

    Parameters
    ----------
    key
        Whatever names the row to the caller; unique in the batch.
    adapter
        Name of the adapter that writes it.
    prompt
        Token ids, at least one.
    temperature
        0 is greedy; above 0 divides the logits.
    numbers
        Source of the random numbers of a sampled row, one for each of its tokens, so that what it
        writes does not depend on the rows that share its batch.
    """

    key: int
    adapter: str
    prompt: Sequence[int]
    temperature: float = 0.0
    numbers: np.random.Generator | None = None


@dataclass
class _Reading:
    """Prompts on their way into a cache: ids and mask (A, T), and how many columns are there."""

    rows: Sequence[Row]
    ids: Any
    mask: Any
    cache: Any
    done: int = 0


class OpenBatch:
    """Rows of different adapters, lengths and ages that are decoded together.

    One step is `choose`, then `leave` for the rows that are done, then `advance`; rows `join`
    before it, or over several steps with `begin` and `read_on`. Every row's positions and mask are
    its own, so that it is decoded as if it were alone; sums of floats in batches of other shapes
    differ in their last bits.

    Parameters
    ----------
    pool
        Its model decodes.
    signals
        Whether to measure how sure the model is of each token, which takes a softmax per row.

    Attributes
    ----------
    rows
        Those that are being written.
    signals
        Log-probability at temperature 1 and entropy (nats) of the tokens that `choose` chose last,
        in its order; empty unless they are measured.
    """

    def __init__(self, pool: MixedPool, *, signals: bool = False) -> None:
        self._pool = pool
        self._measures = signals
        self.rows: list[Row] = []
        self.signals: list[tuple[float, float]] = []
        self._mask: Any = None  # (R, T), padded on the left
        self._logits: Any = None  # (R, V) of each row's next token
        self._tokens: Any = None  # (R,) chosen, not yet read
        self._cache: Any = None
        self._reading: _Reading | None = None

    @property
    def width(self) -> int:
        """Tokens that the cache holds for each row, padding included."""
        return 0 if self._mask is None else int(self._mask.shape[1])

    def join(self, arrivals: Sequence[Row]) -> None:
        """Read the prompts of new rows and put them below the others."""
        if arrivals:
            self.begin(arrivals)
            while not self.read_on():
                pass

    def begin(self, arrivals: Sequence[Row]) -> None:
        """Take on new rows in place of those that are being read; none only drops these."""
        self._reading = None
        if not arrivals:
            return
        import torch
        from transformers import DynamicCache

        width = max(len(row.prompt) for row in arrivals)
        ids = np.zeros((len(arrivals), width), dtype=np.int64)
        present = np.zeros_like(ids)
        for place, row in enumerate(arrivals):
            ids[place, width - len(row.prompt) :] = row.prompt
            present[place, width - len(row.prompt) :] = 1
        read, mask = (torch.as_tensor(a, device=self._pool.model.device) for a in (ids, present))
        cache = DynamicCache()  # without the model's config no layer forgets what it has read
        self._reading = _Reading(arrivals, read, mask, cache)

    def read_on(self) -> bool:
        """Read the next `READ_COLUMNS` of the prompts; with the last of them their rows join."""
        import torch

        reading = self._reading
        assert reading is not None
        start, end = reading.done, min(reading.done + READ_COLUMNS, reading.ids.shape[1])
        with torch.inference_mode():
            positions = (reading.mask.cumsum(dim=1) - 1).clamp(min=0)
            logits = self._pool.forward(
                [row.adapter for row in reading.rows],
                input_ids=reading.ids[:, start:end],
                attention_mask=reading.mask[:, :end],
                position_ids=positions[:, start:end],
                past_key_values=reading.cache,
                use_cache=True,
            )
            reading.done = end
            if end < reading.ids.shape[1]:
                return False
            self._add(reading, logits)
        self._reading = None
        return True

    def choose(self) -> list[int]:
        """Choose each row's next token, in the order of `rows`."""
        if not self.rows:
            return []
        import torch

        with torch.inference_mode():
            self._tokens = self._logits.argmax(dim=-1)
            places = [i for i, row in enumerate(self.rows) if row.temperature > 0]
            if places:
                self._tokens[places] = self._sampled(places)
            if self._measures:
                measured = torch.stack(chosen_and_entropy(self._logits, self._tokens), dim=1)
                self.signals = [(chosen, entropy) for chosen, entropy in measured.tolist()]
        return [int(token) for token in self._tokens.tolist()]

    def leave(self, keys: Collection[int]) -> None:
        """Drop rows; their part of the cache is freed."""
        keep = [i for i, row in enumerate(self.rows) if row.key not in keys]
        if len(keep) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in keep]
        if not keep:
            self._mask = self._logits = self._tokens = self._cache = None
            return
        import torch

        with torch.inference_mode():
            self._cache.batch_select_indices(torch.tensor(keep, device=self._mask.device))
            self._mask, self._logits = self._mask[keep], self._logits[keep]
            self._tokens = None if self._tokens is None else self._tokens[keep]
            unused = int(self._mask.any(dim=0).int().argmax())  # columns that only the left needed
            self._mask = self._mask[:, unused:]
            for layer in self._cache.layers:
                layer.keys, layer.values = (
                    layer.keys[..., unused:, :],
                    layer.values[..., unused:, :],
                )

    def advance(self) -> None:
        """Read the tokens that `choose` chose."""
        if not self.rows:
            return
        import torch

        with torch.inference_mode():
            positions = self._mask.sum(dim=1, keepdim=True)
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
            self._logits = self._pool.forward(
                [row.adapter for row in self.rows],
                input_ids=self._tokens[:, None],
                attention_mask=self._mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            )
            self._tokens = None

    def _add(self, read: _Reading, logits: Any) -> None:
        """Put rows that have been read below the others."""
        import torch

        mask, cache = read.mask, read.cache
        if self.rows:
            _put_below(self._cache, cache)
            width = max(self._mask.shape[1], mask.shape[1])
            mask = torch.cat([_padded(self._mask, width), _padded(mask, width)])
            logits, cache = torch.cat([self._logits, logits]), self._cache
        self._mask, self._logits, self._cache = mask, logits, cache
        self.rows = [*self.rows, *read.rows]

    def _sampled(self, places: Sequence[int]) -> Any:
        """Draw the tokens of some rows."""
        import torch

        rows = [self.rows[place] for place in places]
        numbers = np.array([row.numbers.random() if row.numbers else 0.0 for row in rows])
        temperatures: Any = torch.tensor([[row.temperature] for row in rows])
        choose = drawn(numbers[:, None], temperatures.to(self._logits.device))
        return choose(self._logits[list(places)], np.arange(len(rows)), 0)


def _put_below(cache: Any, other: Any) -> None:
    """Append another cache's rows, padding the shorter of the two on the left."""
    import torch

    for layer, below in zip(cache.layers, other.layers, strict=True):
        width = max(layer.keys.shape[-2], below.keys.shape[-2])
        for name in ("keys", "values"):
            parts = [getattr(held, name) for held in (layer, below)]  # each (R, heads, T, D)
            padded = [torch.nn.functional.pad(p, (0, 0, width - p.shape[-2], 0)) for p in parts]
            setattr(layer, name, torch.cat(padded))
            setattr(below, name, None)


def _padded(mask: Any, width: int) -> Any:
    """Pad a mask (R, T) on the left."""
    import torch

    return torch.nn.functional.pad(mask, (width - mask.shape[1], 0))
