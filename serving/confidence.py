"""How sure a policy is, and from which doubt on the best single adapter answers instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routing_gym.agents.policy import apply_mask, full_mask
from routing_gym.serving.bundle_manifest import NEVER, FallbackRule
from routing_gym.serving.exploration import Exploration, Output

_STEPS = 100
_TEMPERATURES = np.geomspace(1e-3, 1e2, 101)


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found: the rule, the temperature, and what both bring on validation.

    Parameters
    ----------
    rule
        See `FallbackRule`.
    temperature
        At which a softmax of the scores foretells the best adapter best.
    reward, reward_with_fallback
        Mean validation reward of the greedy policy without and with the rule.
    fallback_share
        Share of validation queries on which the rule applies.
    """

    rule: FallbackRule
    temperature: float
    reward: float
    reward_with_fallback: float
    fallback_share: float


def margins(scores: np.ndarray, mask: np.ndarray | None = None, *, output: Output) -> np.ndarray:
    """Return float64 (N,): best minus second-best allowed score; infinite where there is one.

    Parameters
    ----------
    scores
        float (N, K), what a policy computed.
    mask
        bool (K,) or (N, K), True where an adapter may be chosen; None allows all.
    output
        Whether the scores are ``"probabilities"`` or ``"values"``.
    """
    if mask is not None:
        allowed = full_mask(mask, scores.shape)
        if output == "probabilities":
            scores = apply_mask(scores, mask)
        scores = np.where(allowed, scores, -np.inf)
    ranked = np.sort(scores, axis=1)
    return np.asarray(ranked[:, -1] - ranked[:, -2], dtype=np.float64)


def confidences(margin: np.ndarray, rule: FallbackRule) -> np.ndarray:
    """Return float64 (N,) in [0, 1], the calibrated confidence; 1 where there was no choice."""
    alone = np.isposinf(margin)
    return np.where(alone, 1.0, _sigmoid(rule.slope * np.where(alone, 0, margin) + rule.intercept))


def calibrate(
    scores: np.ndarray,
    rewards: np.ndarray,
    *,
    output: Output,
    adapters: tuple[str, ...],
    best_single: int,
) -> Calibration:
    r"""Fit confidence, threshold and temperature on a validation split.

    The confidence is Platt's (*Probabilistic outputs for support vector machines*, 1999): a
    logistic regression, on the margin, of whether the policy's choice earns at least what the best
    single adapter does. The threshold is the one that maximises the split's reward, the lowest of
    equals. The temperature minimises the cross-entropy of the softmax with the best adapters (Guo
    et al., *On calibration of modern neural networks*, ICML 2017).

    Parameters
    ----------
    scores
        float (N, K), what the policy computes.
    rewards
        float (N, K).
    output
        Whether the scores are ``"probabilities"`` or ``"values"``.
    adapters
        K names.
    best_single
        The best single adapter of the train split.
    """
    rows, margin = np.arange(len(scores)), margins(scores, output=output)
    actions = Exploration().apply(scores, output=output).argmax(axis=1)
    chosen, single = rewards[rows, actions].astype(np.float64), rewards[:, best_single]
    slope, intercept = fit_confidence(margin, chosen >= single)
    rule = FallbackRule(adapters[best_single], NEVER, slope, intercept)
    confidence = confidences(margin, rule)
    threshold = fit_threshold(confidence, np.asarray(single - chosen, dtype=np.float64))
    fallback = confidence < threshold
    return Calibration(
        rule=FallbackRule(adapters[best_single], threshold, slope, intercept),
        temperature=fit_temperature(scores, rewards, output=output),
        reward=float(chosen.mean()),
        reward_with_fallback=float(np.where(fallback, single, chosen).mean()),
        fallback_share=float(fallback.mean()),
    )


def fit_confidence(margin: np.ndarray, held: np.ndarray) -> tuple[float, float]:
    """Regress an outcome on margins by Newton's method.

    Parameters
    ----------
    margin
        float64 (N,).
    held
        bool (N,), whether the choice held.

    Returns
    -------
    tuple of float
        Slope and intercept. Targets are Platt's, a little inside 0 and 1, so that both are finite;
        margins that are all alike have slope 0.
    """
    positive = int(held.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(held) - positive + 2)
    target = np.where(held, high, low)
    spread = float(margin.std())
    if spread < 1e-12:
        return 0.0, float(np.log(target.mean() / (1 - target.mean())))
    design = np.column_stack([margin / spread, np.ones(len(margin))])
    weights = np.zeros(2)
    loss = _cross_entropy(design @ weights, target)
    for _ in range(_STEPS):
        predicted = _sigmoid(design @ weights)
        gradient = design.T @ (predicted - target)
        curvature = (design * (predicted * (1 - predicted))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        while (new := _cross_entropy(design @ (weights - step), target)) > loss:
            step /= 2
        weights, done, loss = weights - step, loss - new < 1e-10, new
        if done:
            break
    return float(weights[0] / spread), float(weights[1])


def fit_threshold(confidence: np.ndarray, gain: np.ndarray) -> float:
    """Choose the confidence below which falling back pays most.

    Parameters
    ----------
    confidence
        float64 (N,).
    gain
        float64 (N,), what falling back adds to each query's reward.

    Returns
    -------
    float
        Halfway between two confidences; 0, never, where nothing is gained.
    """
    levels, place = np.unique(confidence, return_inverse=True)
    gained = np.cumsum(np.bincount(place, weights=gain, minlength=len(levels)))
    best = int(gained.argmax())
    if gained[best] <= 1e-9:
        return NEVER
    above = levels[best + 1] if best + 1 < len(levels) else 1.0 + 1e-9
    return float((levels[best] + above) / 2)


def fit_temperature(scores: np.ndarray, rewards: np.ndarray, *, output: Output) -> float:
    """Return the temperature at which the softmax foretells the best adapters best."""
    best = (rewards == rewards.max(axis=1, keepdims=True)).astype(np.float64)
    best /= best.sum(axis=1, keepdims=True)

    def loss(temperature: float) -> float:
        exploration = Exploration("softmax", temperature=temperature)
        return -float((best * np.log(exploration.apply(scores, output=output) + 1e-12)).sum())

    return float(min(_TEMPERATURES, key=loss))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -700, 700))))


def _cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the summed logistic loss."""
    return float((np.logaddexp(0, logits) - target * logits).sum())
