"""The study of the scenarios: rules tuned on validation, PPO on train, all judged on test once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_problems import RuleFamily, ScenarioProblem
from routing_gym.benchmark.scenario_rollout import RolloutResult
from routing_gym.benchmark.scenario_runs import (
    MOST_LANES,
    Judging,
    OnRun,
    ScenarioJob,
    ScenarioRun,
    run_scenario_jobs,
)
from routing_gym.benchmark.statistics import Interval, PairedBootstrap

PPO = "ppo"


@dataclass(frozen=True)
class TunedRule:
    """A rule with the parameter that validation prefers.

    Parameters
    ----------
    label
        Its name in the study.
    family
        The rule.
    parameter
        The chosen value; None for a rule without one.
    validation
        Mean return on validation of each value, in the grid's order; of the rule itself where
        there is no grid.
    test
        What it reached on test.
    """

    label: str
    family: RuleFamily
    parameter: float | None
    validation: tuple[float, ...]
    test: RolloutResult

    @property
    def best(self) -> float:
        """Mean return on validation with the chosen value."""
        return max(self.validation)

    def build(self) -> ScenarioPolicy:
        """Make the rule anew."""
        return build(self.family, self.parameter)


@dataclass(frozen=True)
class ScenarioResult:
    """What the study found on one scenario.

    Parameters
    ----------
    problem
        The scenario.
    rules
        Tuned rules, the privileged ones among them.
    runs
        Label of settings -> its runs, one per seed; the first label is the one compared.
    bound
        float64 (E,), what no policy can exceed on each test episode; None where unknown.
    judging
        The episodes.
    """

    problem: ScenarioProblem
    rules: tuple[TunedRule, ...]
    runs: Mapping[str, tuple[ScenarioRun, ...]]
    bound: np.ndarray | None
    judging: Judging

    @property
    def name(self) -> str:
        """The scenario's."""
        return self.problem.data.name

    @property
    def best_rule(self) -> TunedRule:
        """The rule that validation prefers among those that are not privileged."""
        return best_of(self.rules)

    def returns(self, label: str = PPO) -> np.ndarray:
        """Return float64 (S, E), test returns of the runs with these settings."""
        return np.stack([run.test.returns for run in self.runs[label]])


@dataclass(frozen=True)
class ScenarioPlan:
    """What is done on a scenario.

    Parameters
    ----------
    settings
        Label -> settings of PPO; the first label is ``"ppo"``.
    seeds
        Of the runs.
    judging
        The episodes.
    folder
        Where the runs lie.
    identity
        See `ScenarioJob`.
    workers
        Processes.
    overwrite
        Whether finished runs are run again.
    """

    settings: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    judging: Judging
    folder: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        if next(iter(self.settings), None) != PPO:
            raise ValueError(f"settings={list(self.settings)} must begin with {PPO!r}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} must be different, at least one.")


def study_scenario(
    problem: ScenarioProblem, plan: ScenarioPlan, *, on_run: OnRun | None = None
) -> ScenarioResult:
    """Tune the rules, train PPO with every seed, judge all on the same test episodes.

    PPO begins as an imitation of the rule that validation prefers, unless its settings say
    ``imitation_steps: 0``; the rule is read from the train split's lanes.

    Parameters
    ----------
    problem
        The scenario.
    plan
        What is done.
    on_run
        Called as training runs end.
    """
    rules = tuple(tune(problem, label, plan.judging) for label in problem.rules)
    teacher = best_of(rules)
    jobs = [
        ScenarioJob(
            data=problem.data,
            label=label,
            settings=settings,
            seed=seed,
            teacher=teacher.build() if settings.get("imitation_steps", 1) else None,
            judging=plan.judging,
            folder=plan.folder / problem.data.name / label / str(seed),
            identity=plan.identity,
        )
        for label, settings in plan.settings.items()
        for seed in plan.seeds
    ]
    runs = run_scenario_jobs(jobs, workers=plan.workers, overwrite=plan.overwrite, on_run=on_run)
    return ScenarioResult(
        problem=problem,
        rules=rules,
        runs={label: tuple(run for run in runs if run.label == label) for label in plan.settings},
        bound=_bound(problem, rules, plan.judging),
        judging=plan.judging,
    )


def tune(problem: ScenarioProblem, label: str, judging: Judging) -> TunedRule:
    """Choose a rule's parameter on validation and judge it on test."""
    family = problem.rules[label]
    values: tuple[float | None, ...] = family.grid or (None,)
    reached = tuple(
        float(judging.play(build(family, value), problem.data, "validation").returns.mean())
        for value in values
    )
    chosen = values[int(np.argmax(reached))]
    test = judging.play(build(family, chosen), problem.data, "test")
    return TunedRule(label, family, chosen, reached, test)


def build(family: RuleFamily, parameter: float | None) -> ScenarioPolicy:
    """Make a rule."""
    return family.make() if parameter is None else family.make(parameter)


def best_of(rules: Sequence[TunedRule]) -> TunedRule:
    """Return the rule of the highest return on validation among those that anyone can play."""
    return max((rule for rule in rules if not rule.family.privileged), key=lambda rule: rule.best)


def scenario_figures(
    results: Sequence[ScenarioResult], *, resamples: int = 2000, seed: int = 0
) -> dict[str, float | Interval]:
    """Compare PPO with the best rule and the bound, per scenario.

    Differences are paired: both play the same episodes. Episodes and seeds are resampled; the
    queries from which the episodes are drawn are not, for which see `query_interval`.

    Parameters
    ----------
    results
        Of the scenarios.
    resamples
        Of the bootstrap.
    seed
        Of the bootstrap.

    Returns
    -------
    dict
        ``<scenario>_ppo_iqm``, ``_best_rule``, ``_ppo_minus_best_rule`` (interval), its lower end
        as ``_ppo_minus_best_rule_low``, and ``_ppo_over_hindsight`` and
        ``_best_rule_over_hindsight`` where there is a bound.
    """
    figures: dict[str, float | Interval] = {}
    for result in results:
        name, ppo, rule = result.name, result.returns(), result.best_rule.test.returns
        bootstrap = result_bootstrap(result, resamples=resamples, seed=seed)
        difference = bootstrap.difference(ppo, rule)
        figures |= {
            f"{name}_ppo_iqm": bootstrap.iqm(ppo),
            f"{name}_best_rule": bootstrap.mean(rule),
            f"{name}_ppo_minus_best_rule": difference,
            f"{name}_ppo_minus_best_rule_low": difference.low,
        }
        for label in list(result.runs)[1:]:
            figures[f"{name}_{label}_minus_best_rule"] = bootstrap.difference(
                result.returns(label), rule
            )
        if result.bound is not None:
            figures[f"{name}_ppo_over_hindsight"] = bootstrap.ratio(ppo, result.bound)
            figures[f"{name}_best_rule_over_hindsight"] = bootstrap.ratio(rule, result.bound)
    return figures


def result_bootstrap(result: ScenarioResult, *, resamples: int, seed: int) -> PairedBootstrap:
    """Draw resamples of a scenario's test episodes and seeds."""
    return PairedBootstrap(
        result.judging.test_episodes, rng=np.random.default_rng(seed), resamples=resamples
    )


def _bound(
    problem: ScenarioProblem, rules: Sequence[TunedRule], judging: Judging
) -> np.ndarray | None:
    """Compute what no policy can exceed on each test episode."""
    if problem.bound is not None:
        lanes = problem.data.lanes("test", min(judging.test_episodes, MOST_LANES))
        return problem.bound(lanes, episodes=judging.test_episodes, seed=judging.test_seed)
    for rule in rules:
        if rule.label == problem.bound_rule:
            return rule.test.returns
    return None
