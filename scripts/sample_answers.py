"""Draw further answers to some of a table's queries, at random.

They measure how far adapters agree with themselves. The queries are a seeded random subset of the
validation and the test split; every adapter of the pool answers each of them several times.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.benchmark.provenance import command_line, commit
from routing_gym.envs.collection_samples import collect_samples
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.command import run_command


@dataclass(frozen=True)
class Config:
    """Settings of one sampling.

    Parameters
    ----------
    table
        Folder of the outcome table.
    pool
        Name of the pool that made the table, or the path of its pool file.
    output
        Parquet file with the columns query_id, adapter, sample (0 to k - 1) and response.
    work
        Folder of the samples so far; a run that was killed goes on from it.
    validation, test
        Queries of each split.
    k
        Answers per query and adapter.
    temperature
        Divides the logits; 1 draws from the model's own distribution.
    seed
        Chooses the queries and draws the answers.
    only
        Sample these adapters and stop before the output; several processes can share the work so.
    batch_size
        Rows per generated batch.
    flush_queries
        Queries between writes to disk.
    threads
        CPU threads; 0 leaves it to torch.
    """

    table: str = "results/table"
    pool: str = "default"
    output: str = "results/self_evaluator/samples.parquet"
    work: str = "runs/samples"
    validation: int = 20
    test: int = 60
    k: int = 5
    temperature: float = 1.0
    seed: int = 0
    only: list[str] = field(default_factory=list)
    batch_size: int = 64
    flush_queries: int = 12
    threads: int = 0


def sample(config: Config) -> None:
    """Sample what is missing; write the file when every adapter is done."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    table = OutcomeTable.load(config.table)
    spec = load_pool(config.pool)
    table.check_pool(spec.names, spec.fingerprint)
    names = config.only or list(spec.names)
    arms = np.array([spec.position(name) for name in names])
    rows = chosen_rows(
        table, {"validation": config.validation, "test": config.test}, seed=config.seed
    )
    everything = queries_of(table)
    queries = [everything[row] for row in rows]
    seconds = float(table.seconds[np.ix_(rows, arms)].sum()) * config.k
    print(
        f"{len(rows)} queries x {len(names)} adapters x {config.k} samples: about "
        f"{seconds / 60:.0f} minutes, by the seconds that the table's own answers took."
    )
    pool, samples = AdapterPool(spec), {}
    with tqdm(total=len(queries) * len(names), unit="query", smoothing=0.05) as bar:
        for name in names:
            bar.set_description(name)
            samples[name] = collect_samples(
                pool,
                name,
                queries,
                folder=Path(config.work),
                k=config.k,
                seed=config.seed,
                temperature=config.temperature,
                batch_size=config.batch_size,
                flush_queries=config.flush_queries,
                on_rows=bar.update,
            )
    if config.only:
        print(f"samples of {', '.join(names)} are in {config.work}; run without --only to finish.")
        return
    _write(config, table, [q.query_id for q in queries], samples)


def chosen_rows(table: OutcomeTable, counts: dict[str, int], *, seed: int) -> np.ndarray:
    """Choose queries of each split at random, without replacement: sorted row numbers, int64 (n,).

    Raises
    ------
    ValueError
        If a count is negative or above the queries of its split, or all are 0.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for split, count in counts.items():
        rows = np.flatnonzero(table.split == split)
        if not 0 <= count <= len(rows):
            raise ValueError(
                f"{split}={count}: the table has {len(rows)} queries of that split; ask for at "
                "most as many."
            )
        parts.append(rng.permutation(rows)[:count])
    chosen = np.sort(np.concatenate(parts))
    if not len(chosen):
        raise ValueError(f"{counts} chooses no query: ask for at least 1.")
    return chosen


def _write(
    config: Config,
    table: OutcomeTable,
    query_ids: Sequence[str],
    samples: dict[str, dict[str, list[str]]],
) -> None:
    """Write the file, whole or not at all, with its provenance in its metadata."""
    rows = [
        {"query_id": query_id, "adapter": name, "sample": number, "response": text}
        for query_id in query_ids
        for name, own in samples.items()
        for number, text in enumerate(own[query_id])
    ]
    content = pa.Table.from_pylist(rows).replace_schema_metadata(
        {
            "command": command_line(sys.argv),
            "commit": commit(),
            "table": table.fingerprint,
            "pool": table.manifest.pool_fingerprint,
            "temperature": str(config.temperature),
            "seed": str(config.seed),
        }
    )
    path = Path(config.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    pq.write_table(content, unfinished, compression="zstd", compression_level=9)
    os.replace(unfinished, path)
    print(f"{len(rows)} samples -> {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(Config, sample, description=__doc__, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
