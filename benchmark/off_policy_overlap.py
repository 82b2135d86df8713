"""Overlap of a logging and a target policy: diagnostics, and refusal where there is too little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

QUANTILES = (0.5, 0.9, 0.99)
_MEAN_TOLERANCE = 4.0  # standard errors by which the mean weight may miss 1


class OverlapError(ValueError):
    """A log cannot tell what the target policy is worth; the message says why."""


@dataclass(frozen=True)
class OverlapLimits:
    """When a log is refused, and when its intervals are doubted.

    Parameters
    ----------
    min_effective
        Least effective sample size.
    max_unsupported
        Largest share of the target's mass on adapters that the logging policy never plays: by so
        much, times the range of the reward, every estimate may be off.
    max_share
        Largest share of all weight that a single decision may hold.
    safe_effective, safe_share
        Beyond these an estimate is given with the caution that its interval may cover less than it
        says (``results/off_policy`` measures the coverage within them).

    Raises
    ------
    ValueError
        If a limit is out of range.
    """

    min_effective: float = 50.0
    max_unsupported: float = 0.01
    max_share: float = 0.1
    safe_effective: float = 200.0
    safe_share: float = 0.02

    def __post_init__(self) -> None:
        if self.min_effective < 2:
            raise ValueError(f"min_effective={self.min_effective} must be at least 2.")
        for name in ("max_unsupported", "max_share", "safe_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is a share: give 0 to 1.")


@dataclass(frozen=True)
class Overlap:
    """How well logged decisions cover a target policy.

    Parameters
    ----------
    decisions
        N, the decisions that count.
    effective
        Effective sample size, (sum w)**2 / sum w**2 (Kong 1992): so many decisions of the target
        itself would be as informative.
    mean_weight, mean_weight_error
        Mean of the weights, which is 1 in expectation where propensities are right and cover the
        target, and its standard error.
    quantiles
        Quantile -> weight, and the largest weight under 1.0.
    largest_share
        Share of all weight that the heaviest decision holds.
    matched
        Share of decisions with a weight above 0.
    unsupported
        Share of the target's mass on adapters of propensity 0; None if the log holds only the
        chosen adapters' propensities.
    """

    decisions: int
    effective: float
    mean_weight: float
    mean_weight_error: float
    quantiles: Mapping[float, float]
    largest_share: float
    matched: float
    unsupported: float | None

    @property
    def effective_share(self) -> float:
        """Effective sample size over the number of decisions, in [0, 1]."""
        return self.effective / self.decisions

    @property
    def max_weight(self) -> float:
        """The largest weight."""
        return self.quantiles[1.0]

    def faults(self, limits: OverlapLimits) -> list[str]:
        """List the reasons, each with its remedy, for which this log is refused; empty if none."""
        found = []
        if self.unsupported is not None and self.unsupported > limits.max_unsupported:
            found.append(
                f"the logging policy never plays adapters on which the target puts "
                f"{self.unsupported:.1%} of its mass (allowed {limits.max_unsupported:.1%}): log "
                "with exploration on every adapter, or evaluate a policy that stays within the log"
            )
        if self.effective < limits.min_effective:
            found.append(
                f"the effective sample size is {self.effective:.1f} of {self.decisions} decisions "
                f"(needed {limits.min_effective:g}): log longer, explore more, or evaluate a "
                "policy closer to the logging one"
            )
        elif self.largest_share > limits.max_share:
            found.append(
                f"one decision holds {self.largest_share:.1%} of all weight (allowed "
                f"{limits.max_share:.1%}): raise the logging policy's smallest propensity"
            )
        gap = self.mean_weight - 1 + (self.unsupported or 0.0)
        if not found and abs(gap) > _MEAN_TOLERANCE * self.mean_weight_error + 1e-6:
            found.append(
                f"the weights average {self.mean_weight:.3f} +- {self.mean_weight_error:.3f} in "
                "place of 1: the propensities are not those with which the actions were drawn, or "
                "the target puts mass where the logging policy plays never, or too rarely to be "
                "seen: check the propensities, or explore more"
            )
        return found

    def cautions(self, limits: OverlapLimits) -> list[str]:
        """List what makes the intervals of a log doubtful that is not refused; empty if nothing."""
        found = []
        if self.effective < limits.safe_effective:
            found.append(
                f"the effective sample size {self.effective:.1f} is below "
                f"{limits.safe_effective:g}: intervals may cover less than they say"
            )
        if self.largest_share > limits.safe_share:
            found.append(
                f"one decision holds {self.largest_share:.1%} of all weight, above "
                f"{limits.safe_share:.1%}: intervals may cover less than they say"
            )
        if self.unsupported is None:
            found.append(
                "the log holds only the chosen adapters' propensities: adapters that are never "
                "played go unnoticed"
            )
        return found

    def check(self, limits: OverlapLimits) -> None:
        """Refuse the log if there is a reason to.

        Raises
        ------
        OverlapError
            With every reason and its remedy.
        """
        found = self.faults(limits)
        if found:
            raise OverlapError(f"the log cannot evaluate this policy: {'; '.join(found)}.")


def effective_sample_size(weights: np.ndarray) -> np.ndarray:
    """(sum w)**2 / sum w**2 of weights (..., N); 0 where all weights are 0."""
    squares = (weights**2).sum(axis=-1)
    return np.asarray(weights.sum(axis=-1) ** 2 / np.where(squares > 0, squares, 1.0))


def safe_overlap(weights: np.ndarray, limits: OverlapLimits) -> np.ndarray:
    """Whether weights (..., N) are within the safe effective size and share, bool (...)."""
    total = weights.sum(axis=-1)
    heaviest = weights.max(axis=-1) / np.where(total > 0, total, 1.0)
    effective = effective_sample_size(weights)
    return np.asarray((effective >= limits.safe_effective) & (heaviest <= limits.safe_share))


def measure_overlap(
    weights: np.ndarray,
    *,
    target: np.ndarray,
    all_propensities: np.ndarray | None = None,
) -> Overlap:
    """Describe the overlap of a log and a target policy.

    Parameters
    ----------
    weights
        float (N,), N >= 2, from `routing_gym.benchmark.off_policy.importance_weights`.
    target
        float (N, K), the target's probabilities on the logged contexts.
    all_propensities
        float (N, K), the logging policy's probabilities of all adapters; None if not logged.

    Raises
    ------
    ValueError
        If there are fewer than two decisions or shapes differ.
    """
    n = len(weights)
    if n < 2:
        raise ValueError(f"weights hold {n} decision: an evaluation needs at least 2.")
    if all_propensities is not None and all_propensities.shape != target.shape:
        raise ValueError(
            f"all_propensities has shape {all_propensities.shape}, target {target.shape}."
        )
    total = float(weights.sum())
    quantiles = {level: float(np.quantile(weights, level)) for level in QUANTILES}
    return Overlap(
        decisions=n,
        effective=float(effective_sample_size(weights)),
        mean_weight=total / n,
        mean_weight_error=float(weights.std(ddof=1) / np.sqrt(n)),
        quantiles=quantiles | {1.0: float(weights.max())},
        largest_share=float(weights.max()) / total if total > 0 else 1.0,
        matched=float((weights > 0).mean()),
        unsupported=_unsupported(target, all_propensities),
    )


def _unsupported(target: np.ndarray, all_propensities: np.ndarray | None) -> float | None:
    """Mean mass of the target on adapters of propensity 0."""
    if all_propensities is None:
        return None
    return float(np.where(all_propensities > 0, 0.0, target).sum(axis=1).mean())
