"""How good was the answer? Metrics that read no reference, and the reward made of them."""

from routing_gym.rewards.registry import DEFAULT_METRICS, METRICS

__all__ = ["DEFAULT_METRICS", "METRICS"]
