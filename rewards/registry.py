"""The metrics by name; a new metric is one file and one line here."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "relevance": "routing_gym.rewards.relevance:Relevance",
    "coherence": "routing_gym.rewards.coherence:Coherence",
    "completeness": "routing_gym.rewards.completeness:Completeness",
    "factuality": "routing_gym.rewards.factuality:Factuality",
    "safety": "routing_gym.rewards.safety:Safety",
    "tokens": "routing_gym.rewards.cost:Tokens",
    "seconds": "routing_gym.rewards.cost:Seconds",
}

DEFAULT_METRICS: tuple[str, ...] = tuple(METRICS)
