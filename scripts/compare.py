"""Compare every agent, trained on the self-evaluated reward and on verified accuracy.

Trains agents x rewards x seeds on the table's train split, judges each once on the test split, and
writes the report. Finished runs are skipped, so that a killed comparison goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.metrics import quality
from routing_gym.benchmark.protocol import AgentSpec, RunRecord, Splits, run_comparison
from routing_gym.benchmark.provenance import provenance, source_hash
from routing_gym.benchmark.report import figures_table
from routing_gym.benchmark.routing_report import (
    RoutingReport,
    build_routing_report,
    write_routing_report,
)
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD, PLAIN_WEIGHTS
from routing_gym.scripts.command import run_command, save_resolved


def default_agents() -> list[str]:
    """Name the agents of the main comparison."""
    return [
        "ppo",
        "gumbel",
        "softmax",
        "regression",
        "knn",
        "task_lookup",
        "best_single",
        "random",
        "oracle",
    ]


@dataclass(frozen=True)
class CompareConfig:
    """Settings of a comparison.

    Parameters
    ----------
    table
        Folder of the outcome table.
    agents
        Labels of the agents; a label is a registered name or a key of `names`.
    names
        Label -> registered name or "package.module:Class", for agents that occur in several
        settings or come from outside.
    options
        Label -> options of the agent.
    rewards
        Training reward -> weights of the scores; the first is the reward that is reported. An
        empty mapping means the default reward.
    seeds
        Training seeds.
    output
        Folder of the report.
    runs
        Folder of the runs' files and the resolved configuration.
    pool
        Folder of the pool's report, for the measured memory.
    resamples
        Bootstrap resamples.
    bootstrap_seed
        Seed of the bootstrap.
    overwrite
        Whether finished runs are run again.
    """

    table: Path = Path("results/table")
    agents: list[str] = field(default_factory=default_agents)
    names: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    rewards: dict[str, dict[str, float]] = field(
        default_factory=lambda: {"self_evaluated": {}, "accuracy": {"accuracy": 1.0}}
    )
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    output: Path = Path("results/routing")
    runs: Path = Path("runs/routing")
    pool: Path = Path("results/pool")
    resamples: int = 2000
    bootstrap_seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={self.seeds} must be different integers, none negative.")
        if not self.rewards:
            raise ValueError("rewards is empty: name at least one reward and its weights.")
        for name in (*self.options, *self.names):
            if name not in self.agents:
                raise ValueError(f"{name!r} has settings but is not among agents={self.agents}.")


def compare(config: CompareConfig) -> int:
    """Run what is missing, write the report, print it; 1 if a run failed."""
    table = OutcomeTable.load(config.table)
    standard = dict(DEFAULT_REWARD.weights)
    rewards = {name: weights or standard for name, weights in config.rewards.items()}
    splits = {name: _splits(table, weights) for name, weights in rewards.items()}
    specs = [
        AgentSpec(config.names.get(name, name), config.options.get(name, {}), label=name)
        for name in config.agents
    ]
    total = len(specs) * len(splits) * len(config.seeds)
    save_resolved(config, config.runs)
    with tqdm(total=total, unit="run", disable=None) as bar:

        def show(record: RunRecord, skipped: bool) -> None:
            bar.set_postfix_str(f"{record.agent} / {record.trained_on}{' (kept)' * skipped}")
            bar.update()

        records = run_comparison(
            specs,
            splits,
            seeds=config.seeds,
            folder=config.runs,
            settings={
                "table": table.fingerprint,
                "rewards": rewards,
                "code": source_hash("agents", "envs", "rewards"),
            },
            overwrite=config.overwrite,
            on_record=show,
        )
    report = _report(config, table, records, splits)
    command = provenance(
        table_hash=table.fingerprint,
        seeds=config.seeds,
        extra=[f"resamples: {config.resamples}", f"bootstrap seed: {config.bootstrap_seed}"],
    )
    write_routing_report(report, config.output, command=command)
    _show(report, config.output)
    return 1 if report.failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        CompareConfig,
        compare,
        description=__doc__,
        default_config="configs/compare.yaml",
        argv=argv,
    )


def _splits(table: OutcomeTable, weights: dict[str, float]) -> Splits:
    """Price the table's three splits by one reward."""
    return Splits(
        train=table.data("train", weights),
        validation=table.data("validation", weights),
        test=table.data("test", weights),
    )


def _report(
    config: CompareConfig,
    table: OutcomeTable,
    records: Sequence[RunRecord],
    splits: dict[str, Splits],
) -> RoutingReport:
    """Measure the runs on the test split, priced by the first reward."""
    first = next(iter(config.rewards))
    data, rows = splits[first], table.split == "test"
    scored = {name: m.direction for name, m in table.manifest.metrics.items() if m.role == "score"}
    kept = {name: scored[name] for name in PLAIN_WEIGHTS if name in scored} or scored
    yardstick = Yardstick.from_splits(
        data.test,
        train=data.train,
        quality=quality(data.test.scores, kept) if kept else None,
        seconds=table.seconds[rows] if table.seconds.any() else None,
    )
    return build_routing_report(
        records,
        yardstick,
        reward=first,
        pool_folder=config.pool,
        resamples=config.resamples,
        seed=config.bootstrap_seed,
    )


def _show(report: RoutingReport, folder: Path) -> None:
    """Print tables, figures and failures."""
    for name in report.trainings:
        print(f"\ntrained on {name}, judged on the test split (* privileged)\n")
        print(report.table(name, wide=False))
    print(f"\n{figures_table(report.figures)}\n\nreport: {folder / 'report.md'}")
    for run in report.failures:
        print(
            f"failed: {run.agent} / {run.trained_on} / seed {run.seed}: {run.error}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    raise SystemExit(main())
