"""The study of the scenarios: rules tuned on validation, PPO on train, all judged on test once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.agents.scenario_policy import ScenarioPolicy
from routing_gym.benchmark.scenario_judging import Judging
from routing_gym.benchmark.scenario_problems import RuleFamily, ScenarioProblem
from routing_gym.benchmark.scenario_records import FailedRun, ScenarioJob, ScenarioRun
from routing_gym.benchmark.scenario_rollout import RolloutResult
from routing_gym.benchmark.scenario_runs import OnRun, run_scenario_jobs

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
        Label of settings -> its finished runs, one per seed; ``"ppo"`` is the one explained.
    failures
        The runs that failed.
    best_rule_pools
        float64 (B, E), what the best rule reached on the resampled test splits.
    bound
        float64 (E,), what no policy can exceed on each test episode; None where unknown.
    bound_pools
        The same on the resampled test splits, float64 (B, E).
    judging
        The episodes.
    """

    problem: ScenarioProblem
    rules: tuple[TunedRule, ...]
    runs: Mapping[str, tuple[ScenarioRun, ...]]
    failures: tuple[FailedRun, ...]
    best_rule_pools: np.ndarray
    bound: np.ndarray | None
    bound_pools: np.ndarray | None
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

    def pools(self, label: str = PPO) -> np.ndarray:
        """Return float64 (B, E), their mean returns on the resampled test splits."""
        return np.mean([run.pools for run in self.runs[label]], axis=0)


@dataclass(frozen=True)
class ScenarioPlan:
    """What is done on a scenario.

    Parameters
    ----------
    settings
        Label -> settings of PPO; ``"ppo"`` is one of the labels.
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
    layout
        Folder of a run below `folder`, from ``scenario``, ``label`` and ``seed``.
    progress
        Whether a single process shows a bar over each training.
    """

    settings: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    judging: Judging
    folder: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    overwrite: bool = False
    layout: str = "{scenario}/{label}/{seed}"
    progress: bool = False

    def __post_init__(self) -> None:
        if PPO not in self.settings:
            raise ValueError(f"settings={list(self.settings)} must have a label {PPO!r}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)} must be different, at least one.")


def study_scenario(
    problem: ScenarioProblem, plan: ScenarioPlan, *, on_run: OnRun | None = None
) -> ScenarioResult:
    """Tune the rules, train PPO with every seed, judge all on the same test episodes.

    Every rule's parameter, the best rule and PPO's best weights are chosen on validation. PPO
    begins as an imitation of the best rule on the train split, unless its settings say
    ``imitation_steps: 0``.

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
    runs = run_scenario_jobs(
        scenario_jobs(problem, plan, best_of(rules)),
        workers=plan.workers,
        overwrite=plan.overwrite,
        on_run=on_run,
        progress=plan.progress,
    )
    finished = [run for run in runs if isinstance(run, ScenarioRun)]
    by_label = {name: tuple(r for r in finished if r.label == name) for name in plan.settings}
    return ScenarioResult(
        problem=problem,
        rules=rules,
        runs={label: found for label, found in by_label.items() if found},
        failures=tuple(run for run in runs if isinstance(run, FailedRun)),
        best_rule_pools=plan.judging.play_pools(best_of(rules).build(), problem.data),
        bound=plan.judging.bounds(problem, "test"),
        bound_pools=plan.judging.pool_bounds(problem),
        judging=plan.judging,
    )


def scenario_jobs(
    problem: ScenarioProblem, plan: ScenarioPlan, teacher: TunedRule
) -> list[ScenarioJob]:
    """List a scenario's runs, label by label; each gets a teacher of its own, if it wants one."""
    return [
        ScenarioJob(
            data=problem.data,
            label=label,
            settings=settings,
            seed=seed,
            teacher=teacher.build() if settings.get("imitation_steps", 1) else None,
            judging=plan.judging,
            folder=plan.folder
            / plan.layout.format(scenario=problem.data.name, label=label, seed=seed),
            identity=plan.identity,
        )
        for label, settings in plan.settings.items()
        for seed in plan.seeds
    ]


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
