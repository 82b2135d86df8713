"""A decision on one query, in plain numbers: what NumPy does for many, in a third of the time.

Right after the encoder, whose weights have driven everything else out of the processor's caches,
every NumPy call costs some 15 microseconds, whatever it computes; a policy over a handful of
adapters needs thirty of them. The results are those of `Exploration.apply`, `draw`, `margins` and
`confidences` up to the rounding of sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from routing_gym.serving.bundle_manifest import FallbackRule
from routing_gym.serving.exploration import Exploration, Output

_OVERFLOW = 700.0


class SingleDecision(NamedTuple):
    """The chosen adapter's index, the distribution, and the confidence."""

    action: int
    probabilities: list[float]
    confidence: float


def decide_single(
    scores: Sequence[float],
    *,
    allowed: Sequence[bool],
    output: Output,
    exploration: Exploration,
    rule: FallbackRule,
    rng: np.random.Generator | None,
) -> SingleDecision:
    """Decide on one query.

    Parameters
    ----------
    scores
        K numbers that the policy computed.
    allowed
        K flags, at least one True.
    output
        Whether the scores are ``"probabilities"`` or ``"values"``.
    exploration
        How to explore.
    rule
        Turns the margin into a confidence.
    rng
        Draws; None takes the most probable adapter.

    Raises
    ------
    ValueError
        If the scores are not what `output` says.
    """
    arms = [arm for arm, fits in enumerate(allowed) if fits]
    own = _masked(scores, arms) if output == "probabilities" else _finite(scores)
    distribution = _distribution(own, arms, output=output, exploration=exploration)
    if rng is None:
        action = max(arms, key=distribution.__getitem__)
        distribution = _one_hot(action, len(scores))
    else:
        action = _draw(distribution, float(rng.random()))
    return SingleDecision(action, distribution, _confidence(own, arms, rule))


def _masked(scores: Sequence[float], arms: Sequence[int]) -> list[float]:
    """Return a policy's distribution over the allowed arms."""
    if not (min(scores) >= 0 and abs(math.fsum(scores) - 1) <= 1e-6):
        raise ValueError(
            f"probabilities={list(scores)} is no distribution: export the policy again."
        )
    kept = [0.0] * len(scores)
    total = math.fsum(scores[arm] for arm in arms)
    for arm in arms:
        kept[arm] = scores[arm] / total if total > 0 else 1 / len(arms)
    return kept


def _finite(scores: Sequence[float]) -> list[float]:
    """Return values that are numbers."""
    if not all(map(math.isfinite, scores)):
        raise ValueError(f"values={list(scores)} must be finite: export the policy again.")
    return list(scores)


def _distribution(
    own: Sequence[float], arms: Sequence[int], *, output: Output, exploration: Exploration
) -> list[float]:
    """Return the exact distribution that the arm is drawn from."""
    if exploration.kind == "softmax":
        return _softmax(own, arms, output=output, temperature=exploration.temperature)
    if exploration.kind == "policy" and output == "probabilities":
        return list(own)
    rows = _one_hot(max(arms, key=own.__getitem__), len(own))
    if exploration.kind == "epsilon":
        share = exploration.epsilon / len(arms)
        rows = [(1 - exploration.epsilon) * value for value in rows]
        for arm in arms:
            rows[arm] += share
    return rows


def _softmax(
    own: Sequence[float], arms: Sequence[int], *, output: Output, temperature: float
) -> list[float]:
    """Return the softmax over the allowed arms."""
    logits = {arm: own[arm] for arm in arms}
    if output == "probabilities":
        logits = {a: math.log(p) if p > 0 else -math.inf for a, p in logits.items()}
    highest = max(logits.values())
    weights = {a: math.exp((value - highest) / temperature) for a, value in logits.items()}
    total = math.fsum(weights.values())
    rows = [0.0] * len(own)
    for arm, weight in weights.items():
        rows[arm] = weight / total
    return rows


def _one_hot(arm: int, size: int) -> list[float]:
    """Return all mass on one arm."""
    rows = [0.0] * size
    rows[arm] = 1.0
    return rows


def _draw(distribution: Sequence[float], level: float) -> int:
    """Invert the cumulative distribution; never an arm of probability 0."""
    left = level * math.fsum(distribution)
    last = 0
    for arm, mass in enumerate(distribution):
        if mass > 0:
            last = arm
            if left < mass:
                return arm
            left -= mass
    return last


def _confidence(own: Sequence[float], arms: Sequence[int], rule: FallbackRule) -> float:
    """Return the calibrated confidence; 1 where there was no choice."""
    if len(arms) == 1:
        return 1.0
    second, best = sorted(own[arm] for arm in arms)[-2:]
    logit = rule.slope * (best - second) + rule.intercept
    return 1 / (1 + math.exp(-max(-_OVERFLOW, min(_OVERFLOW, logit))))
