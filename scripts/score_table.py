"""Score the answers of a table again, with the present metrics and without generating anew.

Reads the stored answers under the adapters that gave them (token signals) and under the base model
(P(True), base likelihood), going on where a killed run stopped, and replaces the metric columns.
Accuracy, answers, measurements and embeddings stay as they are.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.adapters.encoder import Encoder
from routing_gym.adapters.likelihood import BaseLikelihood
from routing_gym.adapters.p_true import PTrue
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.token_signals import TokenSignals, adapter_signals
from routing_gym.envs.collection_files import Cell
from routing_gym.envs.collection_passes import (
    LIKELIHOODS,
    P_TRUE,
    Judge,
    Reader,
    collect_judgements,
    collect_signals,
)
from routing_gym.envs.scoring import (
    answers_of,
    cells_of,
    columns_to_score,
    metric_records,
    queries_of,
    score_in_parts,
    stored_judgement,
    with_scores,
)
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.scripts.command import run_command

PACKAGES = ("torch", "transformers", "peft", "sentence-transformers", "numpy")
PASSES: dict[str, tuple[str, Callable[[str], Judge]]] = {
    "p_true": (P_TRUE, PTrue),
    "base_likelihood": (LIKELIHOODS, BaseLikelihood),
}
"""Column -> the file of its pass, and what makes the judge of a base model's name."""

Cells = dict[str, dict[str, Cell]]


@dataclass(frozen=True)
class Config:
    """Settings of one scoring.

    Parameters
    ----------
    table
        Folder of the table.
    output
        Folder of the scored table; the table's own folder replaces it, whole or not at all.
    overwrite
        Replace another table that is already at the output.
    pool
        Name of the pool that made the table, or the path of its pool file.
    keep
        Score columns that stay as they are. A learned column (quality) that is not kept is left
        out, since it was made from the replaced columns: train it again.
    only
        Run only the passes of these adapters, or p_true or base_likelihood, and stop before the
        table; several processes can share the work so. Empty does all that is missing.
    work
        Folder of the passes so far; a run that was killed goes on from it.
    flush_rows
        Answers (of p_true and base_likelihood: queries) between writes to disk.
    threads
        CPU threads; 0 leaves it to torch.
    """

    table: str = "results/table"
    output: str = "results/table"
    overwrite: bool = False
    pool: str = "default"
    keep: list[str] = field(default_factory=list)
    only: list[str] = field(default_factory=list)
    work: str = "runs/score"
    flush_rows: int = 64
    threads: int = 0


def score(config: Config) -> None:
    """Run the passes that are missing; write the table when all are there."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    table = OutcomeTable.load(config.table)
    spec = load_pool(config.pool)
    table.check_pool(spec.names, spec.fingerprint)
    names = columns_to_score(table, config.keep)
    in_place = Path(config.output).resolve() == Path(config.table).resolve()
    if Path(config.output).exists() and not (in_place or config.overwrite or config.only):
        raise ValueError(f"{config.output} exists: give another --output or --overwrite true.")
    for part in config.only:
        if part not in PASSES:
            spec.position(part)
    queries, cells = queries_of(table), cells_of(table)
    for name in config.only or spec.names:
        if name in cells:
            cells[name] = _signals(config, spec, name, queries, cells[name])
    judgements = {
        name: _judgement(config, spec, table, name, queries=queries, cells=cells)
        for name in PASSES
        if name in (config.only or PASSES)
    }
    if config.only:
        print(f"{', '.join(config.only)}: done, in {config.work}; run without --only to finish.")
        return
    scored = _scored(config, table, names, queries, cells, judgements=judgements)
    exact = np.array_equal(table.embeddings.astype(np.float16), table.embeddings)
    saved = scored.save(
        config.output, overwrite=True, embedding_dtype="float16" if exact else "float32"
    )
    print(f"{saved!r} with {', '.join(saved.scores)} -> {config.output}")


def _signals(
    config: Config, spec: PoolSpec, name: str, queries: Sequence[Query], cells: dict[str, Cell]
) -> dict[str, Cell]:
    """Read one adapter's answers token by token."""
    with tqdm(total=len(queries), unit="answer", desc=name, smoothing=0.05) as bar:
        return collect_signals(
            spec,
            name,
            queries,
            cells,
            read=_reader(spec, name),
            folder=Path(config.work),
            flush_rows=config.flush_rows,
            on_rows=bar.update,
        )


@cache
def _loaded(spec: PoolSpec) -> AdapterPool:
    """Load a pool when it is first needed: not at all if every pass is done."""
    return AdapterPool(spec)


def _reader(spec: PoolSpec, name: str) -> Reader:
    """Make the function that reads answers under one adapter."""

    def read(
        queries: Sequence[str], responses: Sequence[str], finished: Sequence[bool]
    ) -> list[TokenSignals]:
        return adapter_signals(_loaded(spec), name, queries, responses, finished)

    return read


def _judgement(
    config: Config,
    spec: PoolSpec,
    table: OutcomeTable,
    name: str,
    *,
    queries: Sequence[Query],
    cells: Cells,
) -> np.ndarray:
    """Let the base model judge every answer; a kept column already holds what it said."""
    if name in config.keep:
        return stored_judgement(table, name)
    file, judge = PASSES[name]
    with tqdm(total=len(queries), unit="query", desc=name, smoothing=0.05) as bar:
        return collect_judgements(
            queries,
            cells,
            judge=judge(spec.base_model),
            path=Path(config.work) / file,
            flush_queries=config.flush_rows,
            on_rows=bar.update,
        )


def _scored(
    config: Config,
    table: OutcomeTable,
    names: Sequence[str],
    queries: Sequence[Query],
    cells: Cells,
    *,
    judgements: dict[str, np.ndarray],
) -> OutcomeTable:
    """Compute the metric columns and put them into the table."""
    evaluator = SelfEvaluator(names, encoder=Encoder(table.manifest.encoder))
    answers = answers_of(
        queries, cells, likelihoods=judgements["base_likelihood"], p_true=judgements["p_true"]
    )
    with tqdm(total=len(answers), unit="answer", desc="scoring") as bar:
        columns = score_in_parts(evaluator, answers, on_rows=bar.update)
    return with_scores(
        table,
        {name: values.reshape(len(table), -1) for name, values in columns.items()},
        records=metric_records(evaluator),
        keep=config.keep,
        note=_note(config, table, names, cells),
    )


def _note(
    config: Config, table: OutcomeTable, names: Sequence[str], cells: Cells
) -> dict[str, Any]:
    """Say in the manifest what was computed after the answers were generated, and how."""
    same = [
        len(cells[name][query_id].token_log_probs or ()) == count
        for name, counts in zip(table.adapters, table.completion_tokens.T, strict=True)
        for query_id, count in zip(table.query_id, counts, strict=True)
    ]
    return {
        "metrics": list(names),
        "kept": sorted(config.keep),
        "from_table": table.fingerprint,
        "token_signals": "the stored answers, read under the adapters that gave them",
        "answers_with_as_many_tokens_as_generated": round(float(np.mean(same)), 4),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config,
        score,
        description=__doc__,
        default_config="configs/score_table.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
