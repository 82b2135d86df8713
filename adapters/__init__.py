"""Who can answer: the base model, QLoRA adapters on it, ordered pools, batched generation."""

from __future__ import annotations

POOLS: dict[str, str] = {}
