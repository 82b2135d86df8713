"""Let every adapter answer every query, score the answers, and write the outcome table."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.encoder import EMBEDDED_ENCODER, Encoder
from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS
from routing_gym.adapters.likelihood import BaseLikelihood
from routing_gym.adapters.p_true import PTrue
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.token_signals import adapter_signals
from routing_gym.envs.collection import assemble, collect_answers
from routing_gym.envs.collection_passes import (
    LIKELIHOODS,
    P_TRUE,
    collect_judgements,
    collect_signals,
)
from routing_gym.envs.scoring import TABLE_METRICS
from routing_gym.queries.dataset import make_queries
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.scripts.command import run_command, save_resolved

PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "reasoning-gym", "numpy")


@dataclass(frozen=True)
class Config:
    """Settings of one collection.

    Parameters
    ----------
    pool
        Name of a pool (default, llama3, mistral, phi3), or the path of a pool file.
    mix
        Task -> number of queries.
    seed
        Seed of the queries and their splits.
    only
        Collect the answers of these adapters and stop before the table; several processes can share
        the work so. Empty collects all that is missing and writes the table.
    work
        Folder of the answers so far; a run that was killed goes on from it.
    output
        Folder of the finished table.
    overwrite
        Replace a table that is already there.
    encoder
        Encoder of the queries: the embedded all-MiniLM-L6-v2, a folder, or an id.
    batch_size
        Rows per generated batch.
    flush_rows
        Rows between writes to disk.
    threads
        CPU threads; 0 leaves it to torch.
    """

    pool: str = "default"
    mix: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    only: list[str] = field(default_factory=list)
    work: str = "runs/collect"
    output: str = "runs/table"
    overwrite: bool = False
    encoder: str = EMBEDDED_ENCODER
    batch_size: int = 64
    flush_rows: int = 128
    threads: int = 0


def collect(config: Config) -> None:
    """Collect what is missing; write the table when every answer is there."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    if Path(config.output).exists() and not (config.overwrite or config.only):
        raise ValueError(f"{config.output} exists: give another --output or --overwrite true.")
    spec = load_pool(config.pool)
    names = config.only or list(spec.names)
    for name in names:
        spec.position(name)
    queries = make_queries(config.mix, seed=config.seed)
    encoder = Encoder(config.encoder)
    if not config.only:
        encoder.load()  # an unavailable encoder fails before hours of generation
    pool = AdapterPool(spec)
    save_resolved(config, Path(config.work))
    cells = {}
    with tqdm(total=len(queries) * len(names), unit="answer", smoothing=0.05) as bar:
        for name in names:
            bar.set_description(name)
            cells[name] = collect_answers(
                pool,
                name,
                queries,
                folder=Path(config.work),
                batch_size=config.batch_size,
                flush_rows=config.flush_rows,
                on_rows=bar.update,
            )
    if config.only:
        print(f"answers of {', '.join(names)} are in {config.work}; run without --only to finish.")
        return
    cells = _with_signals(config, pool, queries, cells)
    pool.activate(pool.spec.names[0])
    dtype = str(pool.model.dtype).removeprefix("torch.")
    del pool  # the base model is loaded once more, without adapters
    _write(config, spec, queries, cells, encoder=encoder, dtype=dtype)


def _with_signals(
    config: Config, pool: AdapterPool, queries: Sequence[Any], cells: dict[str, Any]
) -> dict[str, Any]:
    """Read the answers of former versions, which did not record their token signals."""
    with tqdm(total=len(queries) * len(cells), unit="answer", desc="token signals") as bar:
        return {
            name: collect_signals(
                pool.spec,
                name,
                queries,
                own,
                read=partial(adapter_signals, pool, name),
                folder=Path(config.work),
                on_rows=bar.update,
            )
            for name, own in cells.items()
        }


def _write(
    config: Config,
    spec: PoolSpec,
    queries: Sequence[Any],
    cells: dict[str, Any],
    *,
    encoder: Encoder,
    dtype: str,
) -> None:
    """Score, verify, embed and save."""
    judgements: dict[str, np.ndarray] = {}
    for file, judge in (
        (LIKELIHOODS, BaseLikelihood(spec.base_model)),
        (P_TRUE, PTrue(spec.base_model)),
    ):
        with tqdm(total=len(queries), unit="query", desc=file, smoothing=0.05) as bar:
            judgements[file] = collect_judgements(
                queries, cells, judge=judge, path=Path(config.work) / file, on_rows=bar.update
            )
    with tqdm(total=len(queries) * len(cells), unit="answer", desc="scoring") as bar:
        table = assemble(
            queries,
            cells,
            pool=spec,
            evaluator=SelfEvaluator(TABLE_METRICS, encoder=encoder),
            likelihoods=judgements[LIKELIHOODS],
            p_true=judgements[P_TRUE],
            encode=encoder.encode,
            encoder=config.encoder,
            generation={
                "decoding": "greedy",
                "dtype": dtype,
                "token_budgets": TOKEN_BUDGETS | {"": FREE_BUDGET},
                "batch_size": config.batch_size,
                "flush_rows": config.flush_rows,
                "processor": platform.machine(),
            },
            seeds={"queries": config.seed},
            versions={name: importlib.metadata.version(name) for name in PACKAGES},
            on_rows=bar.update,
        )
    saved = table.save(config.output, overwrite=config.overwrite, embedding_dtype="float16")
    print(
        f"{saved!r} -> {config.output}\n"
        f"`quality` is learned from it: python scripts/train_quality.py --table {config.output}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config,
        collect,
        description=__doc__,
        default_config="configs/collect_outcomes.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
