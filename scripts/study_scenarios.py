"""Study the sequential scenarios: rules tuned on validation, PPO over many seeds, one report.

Tunes every rule of the trade on validation, trains PPO on the train split with every seed in
parallel processes, judges all on the same test episodes once, and writes tables, tidy rows,
learning curves and a picture of what PPO does in each scenario. Finished runs are skipped, so that
a killed study goes on where it stopped; a failed run is reported and makes the command fail.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.agents.scenario_settings import ScenarioPPOConfig
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import figures_table, write_report
from routing_gym.benchmark.scenario_figures import scenario_figures
from routing_gym.benchmark.scenario_judging import Judging
from routing_gym.benchmark.scenario_problems import PROBLEMS, make_problem, problem_name
from routing_gym.benchmark.scenario_records import FailedRun, ScenarioRun, code_hash
from routing_gym.benchmark.scenario_report import report_text, scenario_plots
from routing_gym.benchmark.scenario_rows import curves_csv, runs_csv
from routing_gym.benchmark.scenario_study import (
    PPO,
    ScenarioPlan,
    ScenarioResult,
    study_scenario,
)
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.training_run import Problem, load_problem

DEFAULT_JUDGING = {
    "validation_episodes": 1024,
    "test_episodes": 2048,
    "pools": 64,
    "pool_episodes": 256,
}


@dataclass(frozen=True)
class StudyScenariosConfig:
    """Settings of the study.

    Parameters
    ----------
    scenarios
        Which, in the order of the report: budget, adapter_cache, cascade, drift, preference.
    table
        Folder of the outcome table.
    reward
        Weights of the scores; empty means the default reward.
    options
        Scenario -> options of its environment.
    settings
        Scenario -> label -> settings of PPO (`algorithm`: ppo, maskable_ppo or recurrent_ppo); the
        label `ppo` is the one that is explained; what is not set has its default.
    judging
        Scenario -> validation_episodes, test_episodes, pools (resampled test splits) and
        pool_episodes, where they differ from the default.
    seeds
        Training seeds.
    workers
        Local processes; 0 is one per core.
    output
        Folder of the report.
    runs
        Folder of the runs' policies, curves and TensorBoard files.
    resamples
        Bootstrap resamples.
    bootstrap_seed
        Seed of the bootstrap.
    overwrite
        Whether finished runs are run again.
    progress
        Whether to show a bar on stderr.
    """

    scenarios: list[str] = field(default_factory=lambda: list(PROBLEMS))
    table: Path = Path("results/table")
    reward: dict[str, float] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    judging: dict[str, dict[str, int]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    workers: int = 0
    output: Path = Path("results/scenarios")
    runs: Path = Path("runs/scenarios")
    resamples: int = 2000
    bootstrap_seed: int = 0
    overwrite: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if not self.scenarios or len(set(self.scenarios)) < len(self.scenarios):
            raise ValueError(f"scenarios={self.scenarios} must be different, at least one.")
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds} must be different integers, none negative.")
        if self.workers < 0:
            raise ValueError(
                f"workers={self.workers} is negative: give 0 for one per core, or more."
            )
        for name in [*self.scenarios, *self.options, *self.settings, *self.judging]:
            if problem_name(name) != name:
                raise ValueError(f"scenario {name!r} is called {problem_name(name)!r} here.")
        for name, labels in self.settings.items():
            if PPO not in labels:
                raise ValueError(f"settings.{name}={list(labels)} must have a label {PPO!r}.")
            for label, settings in labels.items():
                _checked(f"settings.{name}.{label}", ScenarioPPOConfig.from_mapping, settings)
        for name in self.judging:
            _checked(f"judging.{name}", self.judged, name)

    def judged(self, scenario: str) -> Judging:
        """Return the episodes of a scenario."""
        given = self.judging.get(scenario, {})
        unknown = sorted(set(given) - set(DEFAULT_JUDGING))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(DEFAULT_JUDGING)}.")
        return Judging(**(DEFAULT_JUDGING | given))

    def labels(self, scenario: str) -> Mapping[str, Mapping[str, Any]]:
        """Return a scenario's settings, `ppo` first; the defaults where there are none."""
        given = self.settings.get(scenario, {})
        return {PPO: given.get(PPO, {})} | given


def study(config: StudyScenariosConfig) -> int:
    """Run what is missing, write the report, print it; 1 if a run failed."""
    problem = load_problem(config.table, config.reward)
    save_resolved(config, config.runs)
    start, kept = time.perf_counter(), []
    total = sum(len(config.labels(name)) for name in config.scenarios) * len(config.seeds)
    with tqdm(total=total, unit="run", disable=None if config.progress else True) as bar:

        def show(run: ScenarioRun | FailedRun, skipped: bool) -> None:
            state = " (kept)" * skipped + " (failed)" * isinstance(run, FailedRun)
            bar.set_postfix_str(f"{run.scenario} / {run.label} / {run.seed}{state}")
            bar.update()
            kept.append(skipped)

        results = [
            study_scenario(
                make_problem(name, problem.splits, config.options.get(name)),
                _plan(config, name, problem),
                on_run=show,
            )
            for name in config.scenarios
        ]
    minutes = [] if any(kept) else [f"minutes: {(time.perf_counter() - start) / 60:.1f}"]
    return _report(config, problem, results, minutes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        StudyScenariosConfig,
        study,
        description=__doc__,
        default_config="configs/study_scenarios.yaml",
        argv=argv,
    )


def _checked(where: str, read: Any, value: Any) -> None:
    """Read a setting, and say where it stands if it is bad."""
    try:
        read(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _plan(config: StudyScenariosConfig, name: str, problem: Problem) -> ScenarioPlan:
    """Say what is done on a scenario."""
    return ScenarioPlan(
        settings=config.labels(name),
        seeds=config.seeds,
        judging=config.judged(name),
        folder=config.runs,
        identity={
            "table": problem.table.fingerprint,
            "reward": dict(problem.weights),
            "code": code_hash(),
        },
        workers=config.workers or os.cpu_count() or 1,
        overwrite=config.overwrite,
    )


def _report(
    config: StudyScenariosConfig,
    problem: Problem,
    results: Sequence[ScenarioResult],
    minutes: Sequence[str],
) -> int:
    """Write the report, print its figures and the failed runs."""
    trained = [result for result in results if PPO in result.runs]
    figures = scenario_figures(trained, resamples=config.resamples, seed=config.bootstrap_seed)
    write_report(
        config.output,
        figures=figures,
        markdown=report_text(results, resamples=config.resamples, seed=config.bootstrap_seed),
        command=provenance(
            table_hash=problem.table.fingerprint,
            seeds=config.seeds,
            extra=[
                f"resamples: {config.resamples}",
                f"bootstrap seed: {config.bootstrap_seed}",
                *minutes,
            ],
        ),
        plots=scenario_plots(trained, ScenarioPPO.load),
        texts={"runs.csv": runs_csv(results)}
        | ({"curves.csv": curves_csv(trained)} if trained else {}),
    )
    save_resolved(config, config.output)
    print(f"{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")
    failures = [run for result in results for run in result.failures]
    for run in failures:
        where = f"{run.scenario} / {run.label} / seed {run.seed}"
        print(f"failed: {where}: {run.error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
