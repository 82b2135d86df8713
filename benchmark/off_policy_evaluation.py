"""One log, one target policy: every estimate with its intervals, and which one to trust."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from routing_gym.agents.policy import apply_mask
from routing_gym.benchmark import off_policy as ope
from routing_gym.benchmark import off_policy_shrinkage as shrinkage
from routing_gym.benchmark.off_policy_intervals import (
    Ends,
    bernstein_interval,
    bootstrap_interval,
    normal_interval,
    standard_error,
    weighted_range,
)
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_models import (
    cross_fit,
    principal_components,
    query_folds,
)
from routing_gym.benchmark.off_policy_overlap import measure_overlap
from routing_gym.benchmark.off_policy_result import (
    OffPolicyEstimate,
    OffPolicyEvaluation,
    OffPolicySettings,
)
from routing_gym.benchmark.statistics import Interval

MODELLED = ("dm", "dr", "sndr", "switch_dr", "dros")
CANDIDATES = ("snips", "sndr")


def evaluate_log(
    log: DecisionLog,
    target: np.ndarray,
    *,
    name: str = "target",
    settings: OffPolicySettings | None = None,
    predictor: Callable[[], np.ndarray] | None = None,
) -> OffPolicyEvaluation:
    """Estimate what a policy would have earned on the logged decisions.

    Parameters
    ----------
    log
        The decisions; fallbacks and those without a reward are left out.
    target
        float (N, K), the target's probabilities on every logged context, in the log's order. Where
        adapters were not eligible, their mass goes to the others in proportion, as in a server.
    name
        The target's name.
    settings
        None takes the defaults.
    predictor
        Returns what `predict_rewards` returns for this log; called only if the log is not refused.
        None predicts anew.

    Raises
    ------
    ValueError
        If shapes differ, nothing is left to evaluate, the log plays one adapter only, or a reward
        is outside its range. Too little overlap is no error here: see ``refusals``.
    """
    settings = settings or OffPolicySettings()
    if target.shape != (len(log), len(log.adapters)):
        raise ValueError(
            f"target has shape {target.shape}, not (N, K) = {(len(log), len(log.adapters))}: give "
            "one distribution over the log's adapters per decision."
        )
    usable, target = log.usable(), target[~log.fallbacks & log.rewarded]
    usable.check_exploration()
    _check_range(usable.rewards, settings)
    if usable.eligible is not None:
        ope.check_distributions(target, name="target")
        target = apply_mask(target / target.sum(axis=1, keepdims=True), usable.eligible)
    weights = ope.importance_weights(target, usable.actions, usable.propensities)
    overlap = measure_overlap(weights, target=target, all_propensities=usable.all_propensities)
    refusals = overlap.faults(settings.limits)
    estimates: list[OffPolicyEstimate] = []
    if not refusals:
        predictions = predictor() if predictor else predict_rewards(log, settings)
        estimates = _estimates(usable, target, weights, predictions, settings=settings)
    errors = {e.estimator: np.asarray(e.error) for e in estimates if e.estimator in CANDIDATES}
    return OffPolicyEvaluation(
        target=name,
        decisions=len(usable),
        fallbacks=int(log.fallbacks.sum()),
        unrewarded=int((~log.rewarded & ~log.fallbacks).sum()),
        model=_model_name(settings.model, usable),
        logged=_normal(ope.Terms(usable.rewards), settings.confidence),
        overlap=overlap,
        refusals=tuple(refusals),
        cautions=tuple(overlap.cautions(settings.limits)),
        estimates=tuple(estimates),
        recommended="" if refusals else CANDIDATES[int(most_precise(errors))],
    )


def predict_rewards(log: DecisionLog, settings: OffPolicySettings) -> np.ndarray:
    """Predict every adapter's reward on every decision that counts, cross-fitted.

    Returns
    -------
    np.ndarray
        float64 (n, K), n the decisions of ``log.usable()``. It does not depend on the target.
    """
    usable = log.usable()
    rng = np.random.default_rng(settings.seed)
    observations = None
    if usable.observations is not None:
        observations = principal_components(usable.observations, settings.components)
    return cross_fit(
        _model_name(settings.model, usable),
        observations,
        actions=usable.actions,
        rewards=usable.rewards,
        folds=query_folds(usable.query_keys.tolist(), folds=settings.folds, rng=rng),
        num_adapters=len(usable.adapters),
        seed=settings.seed,
    )


def all_terms(
    weights: np.ndarray, rewards: np.ndarray, *, predicted: np.ndarray, expected: np.ndarray
) -> tuple[dict[str, ope.Terms], dict[str, np.ndarray]]:
    """Apply every estimator; arrays float (..., N).

    Returns
    -------
    tuple[dict[str, Terms], dict[str, np.ndarray]]
        Estimator -> its terms, and estimator -> its tuned parameter (...), for those that have one.
    """
    model = {"predicted": predicted, "expected": expected}
    tuned = {
        "clipped_ips": shrinkage.tune("clip", weights, rewards),
        "switch_dr": shrinkage.tune(
            "switch", weights, rewards, predicted=predicted, expected=expected
        ),
        "dros": shrinkage.tune(
            "optimistic", weights, rewards, predicted=predicted, expected=expected
        ),
    }
    terms = {
        "ips": ope.ips(weights, rewards),
        "clipped_ips": shrinkage.clipped_ips(weights, rewards, clip=tuned["clipped_ips"]),
        "snips": ope.snips(weights, rewards),
        "dm": ope.direct_method(expected),
        "dr": ope.doubly_robust(weights, rewards, **model),
        "sndr": ope.self_normalised_dr(weights, rewards, **model),
        "switch_dr": shrinkage.switch_dr(weights, rewards, threshold=tuned["switch_dr"], **model),
        "dros": shrinkage.dros(weights, rewards, shrinkage=tuned["dros"], **model),
    }
    return terms, tuned


def most_precise(errors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Position, among ``CANDIDATES``, of the smallest standard error: int (...).

    Both candidates are consistent, so the more precise one is reported: SNDR where the model
    explains the rewards, SNIPS where it adds noise.
    """
    return np.asarray(np.argmin(np.stack([errors[name] for name in CANDIDATES]), axis=0))


def _estimates(
    log: DecisionLog,
    target: np.ndarray,
    weights: np.ndarray,
    predictions: np.ndarray,
    *,
    settings: OffPolicySettings,
) -> list[OffPolicyEstimate]:
    """Estimate by every estimator."""
    predicted = predictions[np.arange(len(log)), log.actions]
    expected = (target * predictions).sum(axis=1)
    terms, tuned = all_terms(weights, log.rewards, predicted=predicted, expected=expected)
    top = settings.max_weight or _largest_weight(log, target, weights)
    return [
        _summarise(name, part, tuned.get(name), log.rewards, top, settings=settings)
        for name, part in terms.items()
    ]


def _summarise(
    name: str,
    terms: ope.Terms,
    parameter: np.ndarray | None,
    rewards: np.ndarray,
    max_weight: float,
    *,
    settings: OffPolicySettings,
) -> OffPolicyEstimate:
    """Put the intervals around one estimate."""
    confidence, value = settings.confidence, float(terms.value)
    bernstein = None
    if name in ("ips", "dr"):
        low, high = weighted_range(
            max_weight,
            low=settings.reward_low,
            high=settings.reward_high,
            modelled=name == "dr",
        )
        ends = bernstein_interval(terms.direct, low=low, high=high, confidence=confidence)
        bernstein = _interval(value, ends)
    rng = np.random.default_rng(settings.seed)  # every estimator on the same resamples
    resampled = bootstrap_interval(
        terms, rng=rng, resamples=settings.resamples, confidence=confidence
    )
    return OffPolicyEstimate(
        estimator=name,
        value=value,
        error=float(standard_error(terms)),
        normal=_normal(terms, confidence),
        bootstrap=_interval(value, resampled),
        bernstein=bernstein,
        gain=_normal(terms.minus(rewards), confidence),
        parameter=None if parameter is None else float(parameter),
        terms=terms,
    )


def _normal(terms: ope.Terms, confidence: float) -> Interval:
    """Return the normal interval of one log."""
    return _interval(float(terms.value), normal_interval(terms, confidence=confidence))


def _interval(value: float, ends: Ends) -> Interval:
    """Join an estimate and the ends of its interval."""
    return Interval(value, float(ends[0]), float(ends[1]))


def _model_name(model: str, log: DecisionLog) -> str:
    """Resolve ``"auto"``."""
    if model != "auto":
        return model
    return "mean" if log.observations is None else "ridge"


def _largest_weight(log: DecisionLog, target: np.ndarray, weights: np.ndarray) -> float:
    """Find the largest weight over all adapters on the logged contexts, as far as the log tells."""
    if log.all_propensities is None:
        return float(weights.max())
    ratio = np.divide(
        target, log.all_propensities, out=np.zeros(target.shape), where=log.all_propensities > 0
    )
    return max(float(ratio.max()), float(weights.max()))


def _check_range(rewards: np.ndarray, settings: OffPolicySettings) -> None:
    """Refuse rewards outside the stated range."""
    low, high = float(rewards.min()), float(rewards.max())
    if low < settings.reward_low or high > settings.reward_high:
        raise ValueError(
            f"rewards span {low:.6g} to {high:.6g}, outside reward_low={settings.reward_low}, "
            f"reward_high={settings.reward_high}: state the range of the logged reward."
        )
