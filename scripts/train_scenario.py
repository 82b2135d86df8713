"""Train PPO on one sequential scenario with one seed, and compare it with the tuned rules.

The settings are those of the study of the scenarios, of which single ones can be replaced. Every
rule of the trade is tuned on validation; policy and rules are then judged on the same test
episodes. The run's folder gets the policy, the curves as CSV and for TensorBoard, the report with
its figures, and the resolved configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routing_gym.agents.scenario_ppo import ScenarioPPO
from routing_gym.agents.scenario_settings import ScenarioPPOConfig
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import write_report
from routing_gym.benchmark.scenario_figures import scenario_figures
from routing_gym.benchmark.scenario_problems import make_problem, problem_name
from routing_gym.benchmark.scenario_records import POLICY_FOLDER, TENSORBOARD_FOLDER
from routing_gym.benchmark.scenario_report import report_text, scenario_plots
from routing_gym.benchmark.scenario_rows import runs_csv
from routing_gym.benchmark.scenario_study import PPO, ScenarioPlan, study_scenario
from routing_gym.scripts.command import read_config, run_command, save_resolved
from routing_gym.scripts.study_scenarios import StudyScenariosConfig
from routing_gym.scripts.training_run import load_problem, new_folder


@dataclass(frozen=True)
class TrainScenarioConfig:
    """Settings of the command.

    Parameters
    ----------
    scenario
        budget, adapter_cache, cascade, drift or preference, or the environment's id.
    label
        Which of the scenario's settings in `study`; `ppo` is the one that is compared there.
    study
        Configuration of the study, for the settings, options and episodes of the scenario.
    settings
        Settings of PPO that replace those of the study, such as `--settings.total_steps 100000`.
    options
        Options of the environment that replace those of the study.
    table
        Folder of the outcome table.
    reward
        Weights of the scores; empty means the default reward.
    output
        Folder of the run; a number is added if it holds a run already.
    seed
        Determines the whole run.
    resamples
        Bootstrap resamples, at least 100.
    progress
        Whether to show a progress bar.
    """

    scenario: str = "budget"
    label: str = PPO
    study: Path = Path("configs/study_scenarios.yaml")
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    table: Path = Path("results/table")
    reward: dict[str, float] = field(default_factory=dict)
    output: Path = Path("runs/scenario")
    seed: int = 0
    resamples: int = 2000
    progress: bool = True

    def __post_init__(self) -> None:
        problem_name(self.scenario)
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is negative: give 0 or more.")


def train(config: TrainScenarioConfig) -> int:
    """Tune the rules, train, judge, write and print; 1 if the training failed."""
    study = read_config(StudyScenariosConfig, ["--config", str(config.study)])
    config = _resolved(config, study)
    table = load_problem(config.table, config.reward)
    problem = make_problem(config.scenario, table.splits, config.options)
    folder = new_folder(config.output)
    save_resolved(config, folder)
    plan = ScenarioPlan(
        settings={PPO: config.settings},
        seeds=[config.seed],
        judging=study.judged(config.scenario),
        folder=folder,
        layout="",
        progress=config.progress,
    )
    result = study_scenario(problem, plan)
    if result.failures:
        raise ValueError(f"the training failed: {result.failures[0].error}")
    text = report_text([result], resamples=config.resamples, seed=0)
    write_report(
        folder,
        figures=scenario_figures([result], resamples=config.resamples),
        markdown=text,
        command=provenance(table_hash=table.table.fingerprint, seeds=[config.seed]),
        plots=scenario_plots([result], ScenarioPPO.load),
        texts={"runs.csv": runs_csv([result])},
    )
    seconds = result.runs[PPO][0].train_seconds
    print(f"\n{text}\n\ntrained in {seconds:.0f} s; policy: {folder / POLICY_FOLDER}")
    print(f"run: {folder} (tensorboard --logdir {folder / TENSORBOARD_FOLDER})")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        TrainScenarioConfig,
        train,
        description=__doc__,
        default_config="configs/train_scenario.yaml",
        argv=argv,
    )


def _resolved(config: TrainScenarioConfig, study: StudyScenariosConfig) -> TrainScenarioConfig:
    """Fill in what the study says of the scenario.

    Raises
    ------
    ValueError
        If the study has no such label, or the settings do not fit together.
    """
    name = problem_name(config.scenario)
    labels = study.labels(name)
    if config.label not in labels:
        raise ValueError(f"label={config.label!r} of {name} must be one of {', '.join(labels)}.")
    settings = dict(labels[config.label]) | config.settings
    ScenarioPPOConfig.from_mapping(settings)
    options = dict(study.options.get(name, {})) | config.options
    return replace(config, scenario=name, settings=settings, options=options)


if __name__ == "__main__":
    raise SystemExit(main())
