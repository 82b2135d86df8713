"""Let every adapter answer every query, score the answers, and write the outcome table.

The answers come from this process, from local processes, from a Ray cluster, or from the server
that the pool file names. They are the same wherever they come from, and a run that was killed goes
on from those that are on disk.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.encoder import EMBEDDED_ENCODER, Encoder
from routing_gym.adapters.generation import FREE_BUDGET, TOKEN_BUDGETS
from routing_gym.adapters.judgement import LIKELIHOOD, Judge, base_judges
from routing_gym.adapters.judgement import P_TRUE as JUDGED
from routing_gym.adapters.pools import load_pool, open_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.token_signals import adapter_signals
from routing_gym.envs.collection import assemble, collect_all
from routing_gym.envs.collection_parts import Answering
from routing_gym.envs.collection_passes import (
    LIKELIHOODS,
    P_TRUE,
    collect_judgements,
    collect_signals,
)
from routing_gym.envs.executor import EXECUTORS, open_executor
from routing_gym.envs.scoring import TABLE_METRICS
from routing_gym.queries.dataset import make_queries
from routing_gym.queries.registry import resolve
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
        CPU threads; 0 leaves it to torch, and is 1 for each of several workers.
    executor
        Where answers are made: "local" or "ray".
    workers
        Parts of `flush_rows` rows that are answered at once, each by a copy of the pool; 0 is one
        per core, on Ray of the whole cluster. One local worker is this process.
    worker_gpus
        GPUs of each worker on Ray.
    ray_address
        Of the Ray cluster: "auto" for the one that runs on this machine, "ray://host:10001", or ""
        to start one here for as long as the collection takes.
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
    executor: str = "local"
    workers: int = 1
    worker_gpus: float = 0.0
    ray_address: str = ""

    def __post_init__(self) -> None:
        resolve(EXECUTORS, self.executor, kind="executor")
        for name in ("threads", "workers", "worker_gpus"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 0.")


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
    held = HeldPool(spec)
    cells = _answers(config, held, queries, names)
    if config.only:
        held.close()
        print(f"answers of {', '.join(names)} are in {config.work}; run without --only to finish.")
        return
    if spec.server is None:
        cells = _with_signals(config, held.open(), queries, cells)
    judges, dtype = base_judges(spec if spec.server is None else held.open()), held.dtype()
    if judges.note:
        print(f"the table has no {LIKELIHOOD} and {JUDGED}: {judges.note}.")
    if spec.server is None:
        held.close()  # the base model is loaded once more, without adapters
    _write(config, spec, queries, cells, judges=judges.of, encoder=encoder, dtype=dtype)
    held.close()


class HeldPool:
    """A pool that this process opens when it needs it, once.

    Parameters
    ----------
    spec
        The pool.
    """

    def __init__(self, spec: PoolSpec) -> None:
        self.spec = spec
        self._pool: Any = None

    def open(self) -> Any:
        """Return the pool."""
        if self._pool is None:
            self._pool = open_pool(self.spec)
        return self._pool

    def dtype(self) -> str:
        """Name the weights' number format, as far as it is known here."""
        if self.spec.server is not None:
            return "the server's"
        pool = self.open()
        pool.activate(self.spec.names[0])
        return str(pool.model.dtype).removeprefix("torch.")

    def close(self) -> None:
        """Give it up."""
        if self._pool is not None and self.spec.server is not None:
            self._pool.close()
        self._pool = None


def _answers(
    config: Config, held: HeldPool, queries: Sequence[Any], names: Sequence[str]
) -> dict[str, Any]:
    """Collect the answers: here an adapter after the other, elsewhere all in one go."""
    several = config.workers != 1 or config.executor != "local"
    executor = open_executor(
        config.executor,
        workers=config.workers,
        threads=config.threads or int(several),
        ray_address=config.ray_address,
        gpus=config.worker_gpus,
    )
    if not several:
        held.open()  # a pool that cannot answer fails before anything is written
    opening = partial(open_pool, held.spec) if several else held.open
    save_resolved(config, Path(config.work))
    cells: dict[str, Any] = {}
    total = len(queries) * len(names)
    with closing(executor), tqdm(total=total, unit="answer", smoothing=0.05) as bar:
        for group in [list(names)] if several else [[name] for name in names]:
            bar.set_description(", ".join(group))
            cells |= collect_all(
                held.spec,
                group,
                queries,
                work=Answering(opening, config.batch_size),
                executor=executor,
                folder=Path(config.work),
                flush_rows=config.flush_rows,
                on_rows=bar.update,
            )
    return cells


def _with_signals(
    config: Config, pool: Any, queries: Sequence[Any], cells: dict[str, Any]
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
    judges: Mapping[str, Judge],
    encoder: Encoder,
    dtype: str,
) -> None:
    """Score, verify, embed and save."""
    judged = _judgements(config, queries, cells, judges)
    unasked = {LIKELIHOOD, JUDGED} - set(judges)
    metrics = [name for name in TABLE_METRICS if name not in unasked]
    with tqdm(total=len(queries) * len(cells), unit="answer", desc="scoring") as bar:
        table = assemble(
            queries,
            cells,
            pool=spec,
            evaluator=SelfEvaluator(metrics, encoder=encoder),
            likelihoods=judged.get(LIKELIHOOD),
            p_true=judged.get(JUDGED),
            encode=encoder.encode,
            encoder=config.encoder,
            generation=_generation(config, spec, dtype),
            seeds={"queries": config.seed},
            versions={name: importlib.metadata.version(name) for name in PACKAGES},
            on_rows=bar.update,
        )
    saved = table.save(config.output, overwrite=config.overwrite, embedding_dtype="float16")
    print(
        f"{saved!r} -> {config.output}\n"
        f"`quality` is learned from it: python scripts/train_quality.py --table {config.output}"
    )


def _judgements(
    config: Config, queries: Sequence[Any], cells: dict[str, Any], judges: Mapping[str, Judge]
) -> dict[str, np.ndarray]:
    """Let the base model judge: metric -> float64 (N, K)."""
    found = {}
    for metric, judge in judges.items():
        file = {LIKELIHOOD: LIKELIHOODS, JUDGED: P_TRUE}[metric]
        with tqdm(total=len(queries), unit="query", desc=file, smoothing=0.05) as bar:
            found[metric] = collect_judgements(
                queries, cells, judge=judge, path=Path(config.work) / file, on_rows=bar.update
            )
    return found


def _generation(config: Config, spec: PoolSpec, dtype: str) -> dict[str, Any]:
    """Describe how the answers were made."""
    server = spec.server
    return {
        "decoding": "greedy",
        "dtype": dtype,
        "token_budgets": TOKEN_BUDGETS | {"": FREE_BUDGET},
        "batch_size": config.batch_size,
        "flush_rows": config.flush_rows,
        "processor": platform.machine(),
        **({} if server is None else {"prompt": server.prompt, "judge": server.judge}),
    }


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
