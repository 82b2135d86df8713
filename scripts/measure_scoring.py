"""Measure the time of scoring answers against the time of generating them, in one run.

Every arm of the pool answers batches of a table's queries, and each batch is scored right after it
was generated, with the token signals that generation recorded and with every text encoded anew.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.benchmark.provenance import command_line, commit
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query
from routing_gym.rewards.registry import DEFAULT_METRICS
from routing_gym.scripts.command import run_command
from routing_gym.scripts.scoring_time import Batch, Scorer, figures, measure_batch


@dataclass(frozen=True)
class Config:
    """Settings of one measurement.

    Parameters
    ----------
    table
        Folder of the outcome table.
    pool
        Name of the pool that made the table, or the path of its pool file.
    output
        JSON file of the figures.
    split
        Split of the queries.
    batch_size
        Queries per batch; as in the collection of the table by default.
    batches
        Batches per arm, of different queries.
    warm_up
        Queries that every arm answers before, unmeasured.
    metrics
        Metrics to score with; empty takes the default ones, which is everything but what reads the
        answers once more with the base model.
    seed
        Chooses the queries.
    threads
        CPU threads; 0 leaves it to torch.
    """

    table: str = "results/table"
    pool: str = "default"
    output: str = "results/self_evaluator/scoring.json"
    split: str = "test"
    batch_size: int = 64
    batches: int = 3
    warm_up: int = 8
    metrics: list[str] = field(default_factory=list)
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "batches", "warm_up"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")


def measure(config: Config) -> None:
    """Generate, score, and write the figures."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    table = OutcomeTable.load(config.table)
    spec = load_pool(config.pool)
    table.check_pool(spec.names, spec.fingerprint)
    parts = _parts(config, table)
    pool = AdapterPool(spec)
    scorer = Scorer(config.metrics or DEFAULT_METRICS, Encoder(table.manifest.encoder))
    measured: list[Batch] = []
    with tqdm(total=sum(map(len, parts)) * len(spec.names), unit="answer") as bar:
        for name in spec.names:
            bar.set_description(name)
            measure_batch(pool, scorer, name, parts[0][: config.warm_up])
            for part in parts:
                measured.append(measure_batch(pool, scorer, name, part))
                bar.update(len(part))
    content = figures(measured, rng=np.random.default_rng(config.seed)) | {
        "batch_size": config.batch_size,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "table": table.fingerprint,
        "command": command_line(sys.argv),
        "commit": commit(),
    }
    path = Path(config.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"scoring over generation: {content['scoring_over_generation']} -> {path}")


def _parts(config: Config, table: OutcomeTable) -> list[list[Query]]:
    """Draw the queries of the batches from the split, without replacement."""
    if config.split not in table.splits:
        raise ValueError(f"split={config.split!r} holds no query: choose one of {table.splits}.")
    rows = np.flatnonzero(table.split == config.split)
    wanted = config.batches * config.batch_size
    if wanted > len(rows):
        raise ValueError(
            f"batches={config.batches} of batch_size={config.batch_size} need {wanted} queries, "
            f"the split has {len(rows)}: ask for fewer."
        )
    everything = queries_of(table)
    order = np.random.default_rng(config.seed).permutation(rows)[:wanted]
    drawn = [everything[row] for row in order]
    return [drawn[i : i + config.batch_size] for i in range(0, wanted, config.batch_size)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, measure, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
