"""Settings and results of an off-policy evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from routing_gym.benchmark.off_policy import Terms
from routing_gym.benchmark.off_policy_models import REWARD_MODELS
from routing_gym.benchmark.off_policy_overlap import Overlap, OverlapLimits
from routing_gym.benchmark.statistics import Interval

BIASED = ("clipped_ips", "dm", "switch_dr", "dros")


@dataclass(frozen=True)
class OffPolicySettings:
    """How a log is evaluated.

    Parameters
    ----------
    model
        Model of the reward, a key of ``off_policy_models.REWARD_MODELS``; ``"auto"`` takes ridge
        where the log has contexts, else the adapters' means.
    components
        Principal components of the embeddings that the model sees.
    folds
        Folds of the cross-fitting.
    resamples
        Bootstrap resamples.
    confidence
        Coverage of all intervals.
    reward_low, reward_high
        Range of the reward, for the empirical-Bernstein intervals.
    max_weight
        Largest weight that can occur, for the same; 0 takes the largest over all adapters on the
        logged contexts (or of the log, where it holds only the chosen adapters' propensities).
    seed
        Of folds, bootstrap and models.
    limits
        When a log is refused.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    model: str = "auto"
    components: int = 32
    folds: int = 5
    resamples: int = 2000
    confidence: float = 0.95
    reward_low: float = 0.0
    reward_high: float = 1.0
    max_weight: float = 0.0
    seed: int = 0
    limits: OverlapLimits = field(default_factory=OverlapLimits)

    def __post_init__(self) -> None:
        if self.model not in ("auto", *REWARD_MODELS):
            raise ValueError(
                f"model={self.model!r} is unknown: choose auto, {', '.join(REWARD_MODELS)}."
            )
        if self.reward_low >= self.reward_high:
            raise ValueError(
                f"reward_low={self.reward_low} must be below reward_high={self.reward_high}."
            )
        if self.max_weight < 0 or self.components < 1 or self.folds < 2:
            raise ValueError(
                f"max_weight={self.max_weight}, components={self.components}, folds={self.folds} "
                "must be at least 0, 1 and 2."
            )


@dataclass(frozen=True)
class OffPolicyEstimate:
    """One estimator's answer.

    Parameters
    ----------
    estimator
        Its name.
    value, error
        Estimate and jackknife standard error, in the unit of the reward.
    normal, bootstrap
        Intervals.
    bernstein
        Valid at every size of log; None for self-normalised and tuned estimators.
    gain
        Value minus the mean reward of the logged decisions, paired, with a normal interval.
    parameter
        The tuned clip, threshold or lambda; None where there is none.
    terms
        The estimate by decision, from which policies are compared in pairs.
    """

    estimator: str
    value: float
    error: float
    normal: Interval
    bootstrap: Interval
    bernstein: Interval | None
    gain: Interval
    parameter: float | None = None
    terms: Terms | None = field(default=None, repr=False, compare=False)

    @property
    def biased(self) -> bool:
        """Whether it stays biased however long the log is, so that no interval covers."""
        return self.estimator in BIASED


@dataclass(frozen=True)
class OffPolicyEvaluation:
    """All that a log says about a target policy.

    Parameters
    ----------
    target
        The target's name.
    decisions, fallbacks, unrewarded
        How many decisions count, and how many were left out because the server fell back to
        another adapter than the one drawn, or because no reward has arrived.
    model
        The reward model that was used.
    logged
        Mean reward of the decisions that count, with a normal interval.
    overlap
        Diagnostics.
    refusals
        Reasons why no estimate may be trusted; empty if it may.
    cautions
        What makes its interval doubtful.
    estimates
        Empty if refused.
    recommended
        Name of the estimator to report; empty if refused.
    """

    target: str
    decisions: int
    fallbacks: int
    unrewarded: int
    model: str
    logged: Interval
    overlap: Overlap
    refusals: tuple[str, ...]
    cautions: tuple[str, ...]
    estimates: tuple[OffPolicyEstimate, ...]
    recommended: str

    @property
    def best(self) -> OffPolicyEstimate:
        """The recommended estimate.

        Raises
        ------
        ValueError
            If the log was refused.
        """
        for estimate in self.estimates:
            if estimate.estimator == self.recommended:
                return estimate
        raise ValueError(f"the log was refused: {'; '.join(self.refusals)}.")
