"""Off-policy estimators against a known truth: bias, error and coverage over simulated logs.

A full-information table knows the value of every policy. Logs are drawn from it (rows uniformly
with replacement, adapters from a logging policy, the table's reward), estimated, and compared with
the value and with the exact variances of `routing_gym.benchmark.off_policy_bounds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from routing_gym.benchmark import off_policy as ope
from routing_gym.benchmark.off_policy_evaluation import (
    CANDIDATES,
    MODELLED,
    all_terms,
    most_precise,
)
from routing_gym.benchmark.off_policy_intervals import (
    bernstein_interval,
    bootstrap_interval,
    normal_interval,
    standard_error,
    weighted_range,
)
from routing_gym.benchmark.off_policy_models import cross_fit, cross_fit_cells
from routing_gym.benchmark.off_policy_overlap import (
    OverlapLimits,
    effective_sample_size,
    safe_overlap,
)
from routing_gym.benchmark.off_policy_scenarios import Scenario

RECOMMENDED = "recommended"
BOOTSTRAPPED = ("ips", "snips", "dr", "sndr")
_BLOCK = 200_000  # numbers (logs x decisions x adapters) that fit into a cache


@dataclass(frozen=True)
class StudyRow:
    """One estimator in one scenario at one size of log, over all replications.

    Parameters
    ----------
    logging, target, size, estimator, model
        What was estimated from what; `model` is ``"cells"``, ``"ridge"`` or empty.
    replications
        R, the number of logs.
    safe
        Share of logs within the safe overlap limits.
    effective
        Mean effective sample size.
    truth, bias, bias_error, rmse
        In the unit of the reward; `bias_error` is the Monte Carlo error of the bias.
    bound
        Theoretical standard deviation at this size; nan where none is known.
    coverage
        Kind of interval -> share of the safe logs whose interval holds the truth; absent where no
        log is safe. ``"all"`` is that of the normal interval over all logs.
    width
        Kind of interval -> mean width over the safe logs.
    """

    logging: str
    target: str
    size: int
    estimator: str
    model: str
    replications: int
    safe: float
    effective: float
    truth: float
    bias: float
    bias_error: float
    rmse: float
    bound: float
    coverage: Mapping[str, float] = field(default_factory=dict)
    width: Mapping[str, float] = field(default_factory=dict)

    @property
    def over_bound(self) -> float:
        """RMSE over the theoretical standard deviation."""
        return self.rmse / self.bound


@dataclass(frozen=True)
class StudySettings:
    """How much is simulated.

    Parameters
    ----------
    replications
        R, logs per scenario and size, at least 200.
    folds
        Folds of the cross-fitted models.
    resamples
        Bootstrap resamples.
    bootstrap_sizes
        Sizes of log at which the bootstrap is measured too.
    confidence
        Of all intervals.
    limits
        Which logs count for coverage.

    Raises
    ------
    ValueError
        If `replications` is below 200 or `folds` below 2.
    """

    replications: int = 2000
    folds: int = 5
    resamples: int = 400
    bootstrap_sizes: tuple[int, ...] = (1000,)
    confidence: float = 0.95
    limits: OverlapLimits = field(default_factory=OverlapLimits)

    def __post_init__(self) -> None:
        if self.replications < 200:
            raise ValueError(f"replications={self.replications} must be at least 200 for coverage.")
        if self.folds < 2:
            raise ValueError(f"folds={self.folds} must be at least 2.")


def simulate(
    scenario: Scenario,
    size: int,
    *,
    settings: StudySettings,
    rng: np.random.Generator,
    model: str = "cells",
) -> list[StudyRow]:
    """Draw logs of one size, estimate each by every estimator, and compare with the truth.

    Parameters
    ----------
    scenario
        Table and policies.
    size
        Decisions per log, at least 2.
    settings
        How much is simulated.
    rng
        Source of all draws.
    model
        ``"cells"`` (means of cell and adapter) or a key of
        `routing_gym.benchmark.off_policy_models.REWARD_MODELS` on the scenario's observations.

    Returns
    -------
    list[StudyRow]
        One per estimator; ``recommended`` takes whichever of SNIPS and SNDR has the smaller
        estimated error in each log.
    """
    if size < 2:
        raise ValueError(f"size={size} must be at least 2 decisions.")
    bootstrap = size in settings.bootstrap_sizes
    parts = [
        _estimate(scenario, rows, model=model, settings=settings, bootstrap=bootstrap, rng=rng)
        for rows in _blocks(scenario, size, settings.replications, rng, large=bootstrap)
    ]
    joined = {
        name: {key: np.concatenate([part[name][key] for part in parts]) for key in parts[0][name]}
        for name in parts[0]
    }
    overlap = joined.pop("overlap")
    return [
        _row(scenario, size, name, values, overlap, model=model) for name, values in joined.items()
    ]


def headline(
    rows: Sequence[StudyRow], *, estimator: str, kind: str = "normal"
) -> tuple[list[float], list[float]]:
    """Collect what the report promises of one estimator, from rows of one model.

    Returns
    -------
    tuple[list[float], list[float]]
        RMSE over bound in every scenario at the largest size, and the coverage in every scenario
        and size of which at least half of the logs are safe.
    """
    own = [row for row in rows if row.estimator == estimator]
    largest = max(row.size for row in own)
    ratios = [r.over_bound for r in own if r.size == largest and np.isfinite(r.bound)]
    covered = [row.coverage[kind] for row in own if row.safe >= 0.5 and kind in row.coverage]
    return ratios, covered


def _blocks(
    scenario: Scenario, size: int, count: int, rng: np.random.Generator, *, large: bool
) -> Iterator[np.ndarray]:
    """Draw the table's rows of each log, int (r, N): as many logs as the cache likes, or more."""
    n, k = scenario.rewards.shape
    block = max(1, _BLOCK * (10 if large else 1) // (size * k))
    for start in range(0, count, block):
        yield rng.integers(n, size=(min(block, count - start), size))


def _estimate(
    scenario: Scenario,
    rows: np.ndarray,
    *,
    model: str,
    settings: StudySettings,
    bootstrap: bool,
    rng: np.random.Generator,
) -> dict[str, dict[str, np.ndarray]]:
    """Estimate a block of logs: estimator -> value, interval ends by kind; each (r,)."""
    level = rng.random(rows.shape)[..., None]
    cumulative = scenario.logging.cumsum(axis=1)[:, :-1]  # the last adapter takes the rest
    actions = (cumulative[rows] <= level).sum(axis=-1)
    weights = (scenario.target / np.where(scenario.logging > 0, scenario.logging, 1))[rows, actions]
    rewards = scenario.rewards[rows, actions]
    predictions = _predict(
        scenario, rows, actions, rewards, model=model, settings=settings, rng=rng
    )
    predicted = np.take_along_axis(predictions, actions[..., None], axis=-1)[..., 0]
    expected = (scenario.target[rows] * predictions).sum(axis=-1)
    terms, _ = all_terms(weights, rewards, predicted=predicted, expected=expected)
    if model != "cells":  # what needs no model is the same, up to the draw
        terms = {name: part for name, part in terms.items() if name in (*MODELLED, "snips")}
    result = {
        name: _measure(part, name, scenario, settings=settings, bootstrap=bootstrap, rng=rng)
        for name, part in terms.items()
    }
    result[RECOMMENDED] = _recommended(result, terms)
    result["overlap"] = {
        "effective": effective_sample_size(weights),
        "safe": safe_overlap(weights, settings.limits),
    }
    return result


def _predict(
    scenario: Scenario,
    rows: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    *,
    model: str,
    settings: StudySettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """Cross-fitted predictions float (r, N, K); the folds hold whole rows of the table."""
    n, k = scenario.rewards.shape
    dealt = np.tile(np.arange(n) % settings.folds, (len(rows), 1))
    folds = np.take_along_axis(rng.permuted(dealt, axis=1), rows, axis=1)
    if model != "cells":
        if scenario.observations is None:
            raise ValueError(f"model={model!r} needs a scenario with observations.")
        fitted = [
            cross_fit(
                model,
                scenario.observations[rows[log]],
                actions=actions[log],
                rewards=rewards[log],
                folds=folds[log],
                num_adapters=k,
            )
            for log in range(len(rows))
        ]
        return np.stack(fitted)
    cells = scenario.cells[rows]
    shape = (settings.folds, int(scenario.cells.max()) + 1, k)
    means = cross_fit_cells(cells, actions=actions, rewards=rewards, folds=folds, shape=shape)
    return np.asarray(means[np.arange(len(rows))[:, None], folds, cells])


def _measure(
    terms: ope.Terms,
    name: str,
    scenario: Scenario,
    *,
    settings: StudySettings,
    bootstrap: bool,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Value and interval ends of one estimator on a block of logs."""
    result = {"value": terms.value}
    low, high = float(scenario.rewards.min()), float(scenario.rewards.max())
    kinds = ["normal"] + ["bootstrap"] * (bootstrap and name in BOOTSTRAPPED)
    for kind in [*kinds, *["bernstein"] * (name in ("ips", "dr"))]:
        if kind == "normal":
            ends = normal_interval(terms, confidence=settings.confidence)
        elif kind == "bootstrap":
            ends = bootstrap_interval(
                terms, rng=rng, resamples=settings.resamples, confidence=settings.confidence
            )
        else:
            reach = weighted_range(scenario.max_weight, low=low, high=high, modelled=name == "dr")
            ends = bernstein_interval(
                terms.direct, low=reach[0], high=reach[1], confidence=settings.confidence
            )
        result[f"{kind} low"], result[f"{kind} high"] = ends
    return result


def _recommended(
    measured: Mapping[str, Mapping[str, np.ndarray]], terms: Mapping[str, ope.Terms]
) -> dict[str, np.ndarray]:
    """Take each log's estimate from the candidate of smallest estimated error."""
    choice = most_precise({name: standard_error(terms[name]) for name in CANDIDATES})
    keys = [key for key in measured[CANDIDATES[0]] if key in measured[CANDIDATES[1]]]
    return {key: np.choose(choice, [measured[name][key] for name in CANDIDATES]) for key in keys}


def _row(
    scenario: Scenario,
    size: int,
    name: str,
    values: Mapping[str, np.ndarray],
    overlap: Mapping[str, np.ndarray],
    *,
    model: str,
) -> StudyRow:
    """Compare the estimates of all logs with the truth."""
    error = values["value"] - scenario.truth
    safe = overlap["safe"]
    coverage, width = {}, {}
    for kind in ("normal", "bootstrap", "bernstein"):
        if f"{kind} low" in values:
            low, high = values[f"{kind} low"], values[f"{kind} high"]
            holds = (low <= scenario.truth) & (scenario.truth <= high)
            if kind == "normal":
                coverage["all"] = float(holds.mean())
            if safe.any():
                coverage[kind] = float(holds[safe].mean())
                width[kind] = float((high - low)[safe].mean())
    deviation = scenario.deviations.get(name, float("nan"))
    return StudyRow(
        logging=scenario.logging_name,
        target=scenario.target_name,
        size=size,
        estimator=name,
        model=model if name in (*MODELLED, RECOMMENDED) else "",
        replications=len(error),
        safe=float(safe.mean()),
        effective=float(overlap["effective"].mean()),
        truth=scenario.truth,
        bias=float(error.mean()),
        bias_error=float(error.std(ddof=1) / np.sqrt(len(error))),
        rmse=float(np.sqrt((error**2).mean())),
        bound=deviation / float(np.sqrt(size)),
        coverage=coverage,
        width=width,
    )
