"""Compare agents on tables: equal tuning, many seeds, one look at the test split, one report.

Tunes every agent over the same number of settings on validation, trains agents x rewards x seeds on
the train split in local processes or on Ray, judges each run once on the test split, and writes the
report. Finished runs are skipped, so that a killed comparison goes on where it stopped.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.adapters.base_model import cache_folder
from routing_gym.agents import AGENTS
from routing_gym.benchmark.encoded import encode_splits
from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.event_files import write_event_files
from routing_gym.benchmark.metrics import quality
from routing_gym.benchmark.protocol import Comparison, Plan, number_of_runs, run_comparison
from routing_gym.benchmark.provenance import provenance, source_hash
from routing_gym.benchmark.report import figures_table
from routing_gym.benchmark.routing_report import write_routing_report
from routing_gym.benchmark.routing_study import RoutingReport, build_routing_report
from routing_gym.benchmark.runs import AgentSpec, RunRecord, Splits
from routing_gym.benchmark.traces import COST
from routing_gym.benchmark.trade_off import FixedArms
from routing_gym.envs.executor import EXECUTORS, open_executor
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.rewards.reward import DEFAULT_REWARD, PLAIN_WEIGHTS
from routing_gym.scripts.command import run_command, save_resolved


def default_agents() -> list[str]:
    """Name agents that need no tuning to be worth comparing."""
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
    tables
        Label -> folder of an outcome table. With several, each has a folder of its own below
        `output` and `runs`.
    agents
        Labels of the agents; a label is a registered name or a key of `names`.
    names
        Label -> registered name or "package.module:Class", for agents that occur in several
        settings or come from outside.
    options
        Label -> options of the agent, the same in all its trials.
    encoders
        Label -> what the agent observes in place of the table's embeddings: "tfidf", "surface",
        "position", a sentence-transformers id, or several joined by "+", the part "table" being
        the table's own.
    trained_on
        Label -> names of the rewards that the agent is trained on, for agents that do not read
        all of them; who is absent is trained on each.
    rewards
        Training reward -> weights of the scores; the first is the reward that is reported. An
        empty mapping means the default reward.
    seeds
        Training seeds.
    trials
        Settings that every agent is tuned over on validation, its defaults among them; 1 tunes
        nothing.
    search
        Label -> option -> a list of values, or a range of low, high, log and integer; {} takes an
        agent's defaults on purpose.
    tuning_seeds
        Training seeds of the trials, others than `seeds`.
    shares
        Shares of the train queries that agents with full information are trained on once more, for
        their learning curves.
    executor
        Where runs are made: "local" processes, or "ray", which tunes with Ray Tune. What comes out
        is the same.
    workers
        Runs at once, each on one thread; 0 is one per core, on Ray of the whole cluster.
    ray_address
        Of the Ray cluster: "auto" for the one that runs on this machine, "ray://host:10001", or ""
        to start one here for as long as the comparison takes.
    output
        Folder of the report.
    runs
        Folder of the runs' files, their TensorBoard events and the resolved configuration.
    pool
        Folder of the pool's report, for the measured memory.
    resamples
        Bootstrap resamples.
    bootstrap_seed
        Seed of the bootstrap.
    overwrite
        Whether finished runs are run again.
    """

    tables: dict[str, Path] = field(default_factory=lambda: {"embedded": Path("results/table")})
    agents: list[str] = field(default_factory=default_agents)
    names: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)
    trained_on: dict[str, list[str]] = field(default_factory=dict)
    rewards: dict[str, dict[str, float]] = field(
        default_factory=lambda: {"self_evaluated": {}, "accuracy": {"accuracy": 1.0}}
    )
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    trials: int = 1
    search: dict[str, dict[str, Any]] = field(default_factory=dict)
    tuning_seeds: list[int] = field(default_factory=lambda: [1000])
    shares: list[float] = field(default_factory=list)
    executor: str = "local"
    workers: int = 0
    ray_address: str = ""
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
        if not self.tables:
            raise ValueError("tables is empty: name at least one table and its folder.")
        if not self.rewards:
            raise ValueError("rewards is empty: name at least one reward and its weights.")
        resolve(EXECUTORS, self.executor, kind="executor")
        if self.workers < 0 or self.trials < 1:
            raise ValueError(
                f"workers={self.workers}, trials={self.trials}: give at least 0 and 1."
            )
        known = {*self.agents, *self.names, *AGENTS}  # who is not compared keeps its settings
        for where in ("options", "encoders", "search", "trained_on"):
            for name in getattr(self, where):
                if name not in known:
                    raise ValueError(
                        f"{where} has settings for {name!r}, which is neither among "
                        f"agents={self.agents} nor in names nor registered: correct its spelling."
                    )
        for label, names in self.trained_on.items():
            if label in self.agents and not set(names) & set(self.rewards):
                raise ValueError(
                    f"trained_on has {names} for {label!r}: name at least "
                    f"one of {', '.join(self.rewards)}."
                )

    @property
    def plan(self) -> Plan:
        """What is done on each table."""
        return Plan(
            seeds=self.seeds,
            trials=self.trials,
            tuning_seeds=self.tuning_seeds,
            spaces={name: space for name, space in self.search.items() if name in self.agents},
            shares=self.shares,
        )


def compare(config: CompareConfig) -> int:
    """Run what is missing, write the reports, print them; 1 if a run failed."""
    standard = dict(DEFAULT_REWARD.weights)
    rewards = {name: weights or standard for name, weights in config.rewards.items()}
    tables = {label: OutcomeTable.load(folder) for label, folder in config.tables.items()}
    for label, table in tables.items():
        lacking = sorted(set(standard) - set(table.manifest.metrics))
        if lacking and not all(config.rewards.values()):
            raise ValueError(
                f"table {label!r} has no metric {', '.join(lacking)} of the default reward: name "
                "rewards that it has, e.g. --rewards '{accuracy: {accuracy: 1}}'."
            )
    splits = {
        label: {name: _splits(table, weights) for name, weights in rewards.items()}
        for label, table in tables.items()
    }
    specs = [
        AgentSpec(
            config.names.get(name, name),
            config.options.get(name, {}),
            label=name,
            encoder=config.encoders.get(name, ""),
            rewards=tuple(config.trained_on.get(name, ())),
        )
        for name in config.agents
    ]
    total = number_of_runs(specs, config.plan, rewards=list(rewards)) * len(tables)
    save_resolved(config, config.runs)
    failures, clock = 0, _Clock()
    where = open_executor(config.executor, workers=config.workers, ray_address=config.ray_address)
    with closing(where), tqdm(total=total, unit="run", disable=None) as bar:

        def show(record: RunRecord, skipped: bool) -> None:
            clock.fresh = clock.fresh and not skipped
            bar.set_postfix_str(f"{record.agent} / {record.trained_on}{' (kept)' * skipped}")
            bar.update()

        for label, table in tables.items():
            comparison = run_comparison(
                specs,
                splits[label],
                encoded={
                    name: encode_splits(table, splits[label], encoder=name, cache=cache_folder())
                    for name in dict.fromkeys(spec.encoder for spec in specs if spec.encoder)
                },
                plan=config.plan,
                folder=_below(config.runs, label, tables),
                settings={
                    "table": table.fingerprint,
                    "rewards": rewards,
                    "code": source_hash("agents", "envs", "rewards", "adapters"),
                },
                executor=where,
                overwrite=config.overwrite,
                on_record=show,
            )
            report = _report(config, table, comparison, splits[label])
            failures += _write(config, table, report, label, (where.workers, clock))
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        CompareConfig,
        compare,
        description=__doc__,
        default_config="configs/compare.yaml",
        argv=argv,
    )


class _Clock:
    """How long a comparison took, if it was run in one go."""

    def __init__(self) -> None:
        self._start, self.fresh = time.perf_counter(), True

    def line(self) -> list[str]:
        """Say it, or nothing where some runs were already there."""
        return [f"minutes: {(time.perf_counter() - self._start) / 60:.1f}"] if self.fresh else []


def _splits(table: OutcomeTable, weights: dict[str, float]) -> Splits:
    """Price the table's three splits by one reward."""
    return Splits(
        train=table.data("train", weights),
        validation=table.data("validation", weights),
        test=table.data("test", weights),
    )


def _below(folder: Path, label: str, tables: Mapping[str, Any]) -> Path:
    """Give a table a folder of its own where there are several."""
    return folder / label if len(tables) > 1 else folder


def _report(
    config: CompareConfig,
    table: OutcomeTable,
    comparison: Comparison,
    splits: Mapping[str, Splits],
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
    arms = None
    if COST in data.test.costs:
        arms = FixedArms.measure(data.test, cost=COST, best=yardstick.best_by_accuracy)
    return build_routing_report(
        comparison,
        yardstick,
        reward=first,
        train_cells=data.train.rewards.size,
        pool_folder=config.pool,
        arms=arms,
        names=config.names,
        resamples=config.resamples,
        seed=config.bootstrap_seed,
    )


def _write(
    config: CompareConfig,
    table: OutcomeTable,
    report: RoutingReport,
    label: str,
    effort: tuple[int, _Clock],
) -> int:
    """Write one table's report and event files, print it; return the number of failed runs."""
    output = _below(config.output, label, config.tables)
    command = provenance(
        table_hash=table.fingerprint,
        seeds=config.seeds,
        extra=[
            f"trials: {config.trials} (seeds {', '.join(map(str, config.tuning_seeds))})",
            f"resamples: {config.resamples}",
            f"bootstrap seed: {config.bootstrap_seed}",
            f"workers: {effort[0]} on {os.cpu_count()} cores"
            + f" ({config.executor})" * (config.executor != "local"),
            *effort[1].line(),
        ],
    )
    write_routing_report(report, output, command=command)
    events = _below(config.runs, label, config.tables) / "tensorboard"
    write_event_files(report.records, report.yardstick, folder=events)
    for name in report.trainings:
        print(f"\n{label}: trained on {name}, judged on the test split (* privileged)\n")
        print(report.table(name, wide=False))
    print(f"\n{figures_table(report.figures)}\n\nreport: {output / 'report.md'}")
    for run in report.failures:
        print(
            f"failed: {run.agent} / {run.trained_on} / seed {run.seed}: {run.error}",
            file=sys.stderr,
        )
    return len(report.failures)


if __name__ == "__main__":
    raise SystemExit(main())
