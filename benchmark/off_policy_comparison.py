"""One log, several policies: which of them would have been better than the one that was logged.

All are estimated from the same decisions, so they are compared in pairs: the bootstrap resamples
decisions, every policy sees the same resamples, and an interval is one of a difference. Claims are
simultaneous (Bonferroni, over the policies; over all pairs where policies are compared with each
other): with many policies one of them looks better by chance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark.off_policy import Terms
from routing_gym.benchmark.off_policy_evaluation import evaluate_log, predict_rewards
from routing_gym.benchmark.off_policy_intervals import bootstrap_draws
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_result import OffPolicyEvaluation, OffPolicySettings
from routing_gym.benchmark.statistics import Interval

BETTER, WORSE, UNCLEAR, REFUSED = "better", "worse", "cannot tell", "refused"
_IN_TAIL = 10  # resamples beyond each end of an interval: fewer make it too short


@dataclass(frozen=True)
class RankedPolicy:
    """One policy of a comparison.

    Parameters
    ----------
    evaluation
        All that the log says about it alone.
    gain
        Its value minus the logged decisions' mean reward; None if refused.
    minus_favourite
        Its value minus that of the comparison's favourite; None for the favourite itself and for
        refused policies.
    """

    evaluation: OffPolicyEvaluation
    gain: Interval | None
    minus_favourite: Interval | None

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.evaluation.target

    @property
    def judgement(self) -> str:
        """How it compares with the logged policy: better, worse, cannot tell, or refused."""
        if self.gain is None:
            return REFUSED
        if self.gain.low > 0:
            return BETTER
        return WORSE if self.gain.high < 0 else UNCLEAR


@dataclass(frozen=True)
class PolicyComparison:
    """Several policies and the logged one, on the same decisions.

    Parameters
    ----------
    logged
        Mean reward of the decisions that count.
    policies
        Highest estimate first, refused ones last.
    confidence
        Coverage of all claims together.
    """

    logged: Interval
    policies: tuple[RankedPolicy, ...]
    confidence: float

    @property
    def estimated(self) -> tuple[RankedPolicy, ...]:
        """Those that the log can speak of."""
        return tuple(policy for policy in self.policies if policy.gain is not None)

    @property
    def favourite(self) -> RankedPolicy | None:
        """The highest of those that are better; where none is, the highest; None if all refused."""
        better = [policy for policy in self.estimated if policy.judgement == BETTER]
        return next(iter([*better, *self.estimated]), None)


def compare_policies(
    log: DecisionLog,
    targets: Mapping[str, np.ndarray],
    *,
    settings: OffPolicySettings | None = None,
) -> PolicyComparison:
    """Evaluate several policies on one log and compare them with the logged one.

    Parameters
    ----------
    log
        The decisions.
    targets
        Name -> float (N, K), the policy's probabilities on every logged context.
    settings
        None takes the defaults.

    Raises
    ------
    ValueError
        If `targets` is empty, or as `evaluate_log`.
    """
    if not targets:
        raise ValueError("targets is empty: give at least one policy to compare with the log.")
    settings = settings or OffPolicySettings()
    predictor = functools.cache(functools.partial(predict_rewards, log, settings))
    evaluations = [
        evaluate_log(log, target, name=name, settings=settings, predictor=predictor)
        for name, target in targets.items()
    ]
    estimated = sorted(
        (e for e in evaluations if not e.refusals), key=lambda e: e.best.value, reverse=True
    )
    refused = tuple(RankedPolicy(e, None, None) for e in evaluations if e.refusals)
    ranked = _ranked(estimated, log.usable().rewards, settings) if estimated else ()
    return PolicyComparison(evaluations[0].logged, ranked + refused, settings.confidence)


def _ranked(
    evaluations: Sequence[OffPolicyEvaluation], rewards: np.ndarray, settings: OffPolicySettings
) -> tuple[RankedPolicy, ...]:
    """Compare policies, highest first, with the logged one and with the favourite among them."""
    terms = [_terms(evaluation) for evaluation in evaluations]
    pairs = max(1, len(terms) * (len(terms) - 1) // 2)
    error = 1 - settings.confidence
    tail, pair_tail = error / len(terms), error / pairs
    rng = np.random.default_rng(settings.seed)
    draws = bootstrap_draws(
        [*terms, Terms(rewards)],
        rng=rng,
        resamples=max(settings.resamples, math.ceil(2 * _IN_TAIL / min(tail, pair_tail))),
    )
    values = [float(part.value) for part in terms]
    logged = float(rewards.mean())
    gains = [
        _difference(value - logged, row - draws[-1], tail=tail)
        for value, row in zip(values, draws, strict=False)
    ]
    favourite = next((i for i, gain in enumerate(gains) if gain.low > 0), 0)
    behind = [
        _difference(value - values[favourite], row - draws[favourite], tail=pair_tail)
        for value, row in zip(values, draws, strict=False)
    ]
    return tuple(
        RankedPolicy(evaluation, gains[i], None if i == favourite else behind[i])
        for i, evaluation in enumerate(evaluations)
    )


def _terms(evaluation: OffPolicyEvaluation) -> Terms:
    """Take the recommended estimate apart by decision."""
    terms = evaluation.best.terms
    assert terms is not None
    return terms


def _difference(value: float, draws: np.ndarray, *, tail: float) -> Interval:
    """Percentile interval of a difference that leaves out `tail`, half of it at each end."""
    low, high = np.nanquantile(draws, [tail / 2, 1 - tail / 2])
    return Interval(value, float(low), float(high))
