"""The metrics by name; a new metric is one file and one line here."""

from __future__ import annotations

METRICS: dict[str, str] = {
    "relevance": "routing_gym.rewards.relevance:Relevance",
    "coherence": "routing_gym.rewards.coherence:Coherence",
    "completeness": "routing_gym.rewards.completeness:Completeness",
    "factuality": "routing_gym.rewards.factuality:Factuality",
    "safety": "routing_gym.rewards.safety:Safety",
    "consistency": "routing_gym.rewards.consistency:Consistency",
    "certainty": "routing_gym.rewards.certainty:Certainty",
    "weakest_token": "routing_gym.rewards.weakest_token:WeakestToken",
    "p_true": "routing_gym.rewards.p_true:PTrueScore",
    "base_likelihood": "routing_gym.rewards.base_likelihood:BaseLikelihoodScore",
    "quality": "routing_gym.rewards.quality:Quality",
    "tokens": "routing_gym.rewards.cost:Tokens",
    "seconds": "routing_gym.rewards.cost:Seconds",
}
"""Metric name -> class; the order is that of every report."""

# These read every answer once more with the base model.
EXPENSIVE: tuple[str, ...] = ("p_true", "base_likelihood")

# These read the tokens' probabilities under the model that answered. Where those were not recorded,
# coherence reads the answer with the base model, and the others have less or nothing to go by.
FROM_TOKENS: tuple[str, ...] = (
    "coherence",
    "consistency",
    "certainty",
    "weakest_token",
    "quality",
)

DEFAULT_METRICS: tuple[str, ...] = tuple(name for name in METRICS if name not in EXPENSIVE)
