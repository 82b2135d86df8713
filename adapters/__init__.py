"""Who can answer: the base model, QLoRA adapters on it, ordered pools, batched generation."""

from __future__ import annotations

from routing_gym.adapters.pools import POOLS

__all__ = ["POOLS"]
