"""Judge the self-evaluator by verified accuracy: what can be trusted, and what fools what.

Ranking, calibration, uncertainty, prediction sets, reward gap of every agent, reward hacking,
adversarial pairs and cost, on the test split; whatever is fitted is fitted on validation. Agents
are trained once and their runs kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.adapters.encoder import Encoder
from routing_gym.benchmark.evaluator_drawings import evaluator_plots
from routing_gym.benchmark.evaluator_figures import QUALITY, table_scorers
from routing_gym.benchmark.evaluator_probes import read_samples
from routing_gym.benchmark.evaluator_readings import read_cost
from routing_gym.benchmark.evaluator_report import (
    EvaluatorReport,
    evaluator_markdown,
)
from routing_gym.benchmark.evaluator_study import (
    TRAININGS,
    Evidence,
    StudySettings,
    study,
    training_splits,
)
from routing_gym.benchmark.protocol import Plan, run_comparison
from routing_gym.benchmark.provenance import provenance, source_hash
from routing_gym.benchmark.report import figures_table, write_report
from routing_gym.benchmark.runs import AgentSpec, RunRecord
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.adversarial import read_pairs
from routing_gym.rewards.encoding import RememberingEncoder
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.quality import Quality, QualityModel
from routing_gym.rewards.registry import METRICS
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.compare import default_agents
from routing_gym.scripts.train_quality import embed_responses


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the self-evaluator's report.

    Parameters
    ----------
    table
        Folder of the outcome table, with every metric column.
    quality
        Folder of the quality model.
    output
        Folder of the report.
    adversarial
        File of the adversarial pairs, from scripts/make_adversarial.py.
    scoring
        File of the measured times, from scripts/measure_scoring.py.
    samples
        File of further sampled answers (query_id, adapter, sample, response); may be missing.
    runs
        Folder of the agents' runs and the resolved configuration.
    work
        Folder that keeps the responses' embeddings, that of scripts/train_quality.py.
    agents
        Agents of the comparison; each is trained on the default reward, the plain sum and
        verified accuracy.
    options
        Agent -> its options.
    seeds
        Training seeds.
    kept_agent
        Agent whose kept accuracy is the headline figure.
    level
        Coverage that the prediction sets promise, in (0, 1).
    passes
        Passes of MC dropout, at least 2.
    resamples
        Bootstrap resamples.
    seed
        Seed of the bootstrap and of MC dropout.
    overwrite
        Whether finished runs are run again.
    """

    table: Path = Path("results/table")
    quality: Path = Path("rewards/weights/quality")
    output: Path = Path("results/self_evaluator")
    adversarial: Path = Path("results/self_evaluator/adversarial.parquet")
    scoring: Path = Path("results/self_evaluator/scoring.json")
    samples: Path = Path("results/self_evaluator/samples.parquet")
    runs: Path = Path("runs/self_evaluator")
    work: Path = Path("runs/quality")
    agents: list[str] = field(default_factory=default_agents)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    kept_agent: str = "ppo"
    level: float = 0.9
    passes: int = 10
    resamples: int = 1000
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds} must be different integers, none negative.")
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level} must be between 0 and 1, for instance 0.9.")
        if self.passes < 2:
            raise ValueError(f"passes={self.passes} must be at least 2, to tell a spread.")
        for name in (*self.options, self.kept_agent):
            if name not in self.agents:
                raise ValueError(f"{name!r} has settings but is not among agents={self.agents}.")


def evaluate(config: EvaluateConfig) -> int:
    """Gather the evidence, write the report and print its figures; 1 if a training run failed."""
    evidence = _gather(config)
    save_resolved(config, config.runs)
    evidence = replace(evidence, records=_train(config, evidence.table))
    settings = StudySettings(
        agent=config.kept_agent,
        level=config.level,
        passes=config.passes,
        resamples=config.resamples,
        seed=config.seed,
    )
    report = study(evidence, settings)
    write_report(
        config.output,
        figures=report.figures,
        markdown=evaluator_markdown(report),
        command=provenance(
            table_hash=evidence.table.fingerprint,
            seeds=config.seeds,
            extra=[f"resamples: {config.resamples}", f"bootstrap seed: {config.seed}"],
        ),
        plots=evaluator_plots(report),
    )
    return _show(config, report, evidence.records)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        EvaluateConfig,
        evaluate,
        description=__doc__,
        default_config="configs/evaluate_evaluator.yaml",
        argv=argv,
    )


def _gather(config: EvaluateConfig) -> Evidence:
    """Read every input, so that a missing one is an error before anything is trained."""
    table = OutcomeTable.load(config.table)
    table_scorers(table)
    pairs, cost = read_pairs(config.adversarial), read_cost(config.scoring)
    model = QualityModel.load(config.quality)
    encoder = RememberingEncoder(Encoder(table.manifest.encoder))
    names = [name for name in table.manifest.metrics if name in METRICS and name != QUALITY]
    return Evidence(
        table=table,
        model=model,
        responses=embed_responses(table, config.work),
        evaluator=SelfEvaluator([*names, Quality(encoder, model=model)], encoder=encoder),
        pairs=pairs,
        records=(),
        cost=cost,
        samples=read_samples(config.samples) if config.samples.is_file() else None,
    )


def _train(config: EvaluateConfig, table: OutcomeTable) -> list[RunRecord]:
    """Train the agents on each reward, skipping runs that are there."""
    splits = training_splits(table)
    specs = [AgentSpec(name, config.options.get(name, {})) for name in config.agents]
    with tqdm(total=len(specs) * len(splits) * len(config.seeds), unit="run", disable=None) as bar:

        def show(record: RunRecord, skipped: bool) -> None:
            bar.set_postfix_str(f"{record.agent} / {record.trained_on}{' (kept)' * skipped}")
            bar.update()

        comparison = run_comparison(
            specs,
            splits,
            plan=Plan(config.seeds),
            folder=config.runs,
            settings={
                "table": table.fingerprint,
                "rewards": {name: dict(reward.weights) for name, reward in TRAININGS.items()},
                "code": source_hash("agents", "envs", "rewards"),
            },
            overwrite=config.overwrite,
            on_record=show,
        )
    return list(comparison.records)


def _show(config: EvaluateConfig, report: EvaluatorReport, records: Sequence[RunRecord]) -> int:
    """Print figures and failed runs; 1 if there are any."""
    print(f"{figures_table(report.figures)}\n\nreport: {config.output / 'report.md'}")
    failures = [record for record in records if not record.finished]
    for run in failures:
        print(
            f"failed: {run.agent} / {run.trained_on} / seed {run.seed}: {run.error}",
            file=sys.stderr,
        )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
