"""Study the off-policy estimators against the known truth of a full-information table.

Draws thousands of logs from the table under several logging policies, estimates several target
policies from each, and reports bias, error against the theoretical bounds, and coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from routing_gym.benchmark import off_policy_plots
from routing_gym.benchmark.off_policy_report import study_figures, study_markdown, study_rows
from routing_gym.benchmark.off_policy_scenarios import (
    Scenario,
    ScenarioSettings,
    build_scenarios,
)
from routing_gym.benchmark.off_policy_study import StudyRow, StudySettings, simulate
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import csv_text, figures_table, write_report
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.training_run import load_problem


@dataclass(frozen=True)
class StudyConfig:
    """Settings of the study.

    Parameters
    ----------
    table
        Folder of the outcome table.
    reward
        Weights of the scores; empty means the default reward.
    population
        Split that logs are drawn from: test or validation.
    agents
        Registered agents to evaluate, beside the best single adapter and the uniform policy.
    sizes
        Decisions per log.
    replications
        Logs per scenario and size.
    bootstrap_sizes
        Sizes at which the bootstrap is measured too.
    resamples
        Bootstrap resamples per log.
    ridge_size
        Size at which the cross-fitted ridge on embeddings is studied.
    ridge_replications
        Logs per scenario for it; 0 leaves it out.
    folds
        Folds of the cross-fitting.
    clusters
        Clusters of embeddings that the exploring policies see.
    seed
        Of everything that is drawn.
    output
        Folder of the report.
    progress
        Whether to show a bar on stderr.
    """

    table: Path = Path("results/table")
    reward: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0})
    population: str = "test"
    agents: list[str] = field(default_factory=lambda: ["knn"])
    sizes: list[int] = field(default_factory=lambda: [250, 500, 1000, 2000, 4000])
    replications: int = 4000
    bootstrap_sizes: list[int] = field(default_factory=lambda: [1000])
    resamples: int = 400
    ridge_size: int = 1000
    ridge_replications: int = 2000
    folds: int = 5
    clusters: int = 16
    seed: int = 0
    output: Path = Path("results/off_policy")
    progress: bool = True

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 50:
            raise ValueError(f"sizes={self.sizes} must be at least one size, each at least 50.")
        if self.ridge_replications and self.ridge_replications < 200:
            raise ValueError(
                f"ridge_replications={self.ridge_replications} must be 0 or at least 200."
            )

    @property
    def settings(self) -> StudySettings:
        """How much is simulated."""
        return StudySettings(
            replications=self.replications,
            folds=self.folds,
            resamples=self.resamples,
            bootstrap_sizes=tuple(self.bootstrap_sizes),
        )


def study(config: StudyConfig) -> None:
    """Simulate, write the report and print its figures."""
    settings = config.settings
    problem = load_problem(config.table, config.reward)
    scenarios = build_scenarios(
        problem.splits,
        population=config.population,
        settings=ScenarioSettings(
            clusters=config.clusters, agents=tuple(config.agents), seed=config.seed
        ),
    )
    rows, ridge = run_scenarios(config, scenarios, settings)
    figures = study_figures(rows, ridge=ridge, full_table=_full_table(scenarios, rows))
    write_report(
        config.output,
        figures=figures,
        markdown=study_markdown(
            rows,
            figures,
            ridge=ridge,
            population=config.population,
            clusters=config.clusters,
            settings=settings,
        ),
        command=provenance(
            table_hash=problem.table.fingerprint,
            seeds=[config.seed],
            extra=[f"replications: {config.replications}", f"reward: {dict(problem.weights)}"],
        ),
        plots={
            "error.png": lambda path: off_policy_plots.error_against_size(
                rows, path=path, caption=_caption(config)
            ),
            "coverage.png": lambda path: off_policy_plots.coverage(
                rows, path=path, caption=_caption(config)
            ),
        },
        texts={"estimates.csv": csv_text(study_rows([*rows, *ridge]))},
    )
    save_resolved(config, config.output)
    print(f"{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")


def run_scenarios(
    config: StudyConfig, scenarios: Sequence[Scenario], settings: StudySettings
) -> tuple[list[StudyRow], list[StudyRow]]:
    """Simulate all scenarios and sizes; return the rows of both reward models.

    The ridge is studied on the agents alone. Every run has a generator of its own, so that one
    more size or scenario changes no other number.
    """
    few = StudySettings(replications=max(config.ridge_replications, 200), folds=config.folds)
    runs = [(scenario, size, "cells", settings) for scenario in scenarios for size in config.sizes]
    if config.ridge_replications:
        agents = [scenario for scenario in scenarios if scenario.target_name in config.agents]
        runs += [(scenario, config.ridge_size, "ridge", few) for scenario in agents]
    found: dict[str, list[StudyRow]] = {"cells": [], "ridge": []}
    for scenario, size, model, own in tqdm(
        runs, desc="off-policy study", unit="run", disable=not config.progress
    ):
        label = f"{scenario.logging_name}/{scenario.target_name}/{model}".encode()
        rng = np.random.default_rng([config.seed, size, *label])
        found[model] += simulate(scenario, size, settings=own, rng=rng, model=model)
    return found["cells"], found["ridge"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(StudyConfig, study, description=__doc__, argv=argv)


def _full_table(scenarios: Sequence[Scenario], rows: Sequence[StudyRow]) -> float:
    """Worst ratio of DR's RMSE to the bound of the full table, at the largest size."""
    largest = max(row.size for row in rows)
    found = {
        (row.logging, row.target): row.rmse
        for row in rows
        if row.estimator == "dr" and row.size == largest
    }
    ratios = [
        found[s.logging_name, s.target_name] * largest**0.5 / s.deviations["full_table"]
        for s in scenarios
        if np.isfinite(s.deviations["full_table"])
    ]
    return max(ratios, default=float("nan"))


def _caption(config: StudyConfig) -> str:
    """Say what the figures show."""
    reward = ", ".join(f"{name} {weight:g}" for name, weight in config.reward.items()) or "default"
    return (
        f"{config.replications:,} logs per point, {config.population} split, reward: {reward}; "
        f"reward model: means by {config.clusters} clusters"
    )


if __name__ == "__main__":
    raise SystemExit(main())
