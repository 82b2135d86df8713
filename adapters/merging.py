"""Merging an adapter into its base's weights and taking it out again, exact to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Originals = list[tuple[Any, Any]]
"""Layers and the weights that they had before."""


def merge_adapter(model: Any, name: str, originals: Originals) -> None:
    """Merge one adapter into new weight tensors, noting the old ones as it goes, for `restore`."""
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer) and name in layer.lora_A:
            originals.append((layer, layer.get_base_layer().weight.data))
            layer.merge(safe_merge=True, adapter_names=[name])


def restore(originals: Originals) -> None:
    """Put the weights of before a merge back, and forget them."""
    for layer, weight in originals:
        layer.get_base_layer().weight.data = weight
        layer.merged_adapters.clear()
    originals.clear()


@contextmanager
def merged(model: Any, name: str = "default") -> Iterator[None]:
    """Hold an adapter merged for as long as the context lasts; quantised bases stay as they are.

    A merged adapter answers as fast as the base. Weights in NF4 cannot be merged exactly.
    """
    quantised = bool(getattr(model.get_base_model(), "is_quantized", False))
    originals: Originals = []
    try:
        if not quantised:
            merge_adapter(model, name, originals)
        yield
    finally:
        restore(originals)
