"""Data of open queries: the pool's best answer to each, by the quality model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.envs.best_of_n import BestAnswer, best_of_n
from routing_gym.queries.near_duplicates import Encode, Thresholds
from routing_gym.queries.open_queries import OPEN_TASK, read_open_queries, screen
from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample
from routing_gym.queries.synthesis import MadeData
from routing_gym.rewards.asked_form import asked_form
from routing_gym.rewards.evaluator import SelfEvaluator

GENERATOR, VERSION = "routing_gym.scripts.open_data", 1
REJECTED = "no answer good enough"


@dataclass(frozen=True)
class OpenData:
    """How open queries are answered.

    Parameters
    ----------
    pool
        Name or file of the pool.
    adapters
        Who answers; empty takes all of the pool.
    n
        Answers of each adapter.
    quality
        Calibrated probability of being right below which no answer is kept.
    temperature
        Divides the logits.
    batch_size
        Rows per generated batch.

    Raises
    ------
    ValueError
        If n is below 1 or the quality is no share.
    """

    pool: str = "default"
    adapters: list[str] = field(default_factory=list)
    n: int = 4
    quality: float = 0.6
    temperature: float = 0.8
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.quality <= 1:
            raise ValueError(
                f"open.n={self.n} must be at least 1, open.quality={self.quality} in [0, 1]."
            )


def answer_open(
    path: str,
    config: OpenData,
    *,
    adapter: str,
    limit: int,
    seed: int,
    evaluation: Sequence[Query],
    thresholds: Thresholds,
    encode: Encode,
    work: Path,
) -> MadeData:
    """Answer the queries of a file and keep the best answers.

    Parameters
    ----------
    path
        See `read_open_queries`.
    config
        How they are answered.
    adapter
        Whom the data is for.
    limit
        Queries that are answered at most.
    seed
        Draws the answers.
    evaluation, thresholds, encode
        What the queries must stay away from, see `screen`.
    work
        Folder of the answers so far.

    Raises
    ------
    ValueError
        If no query is left.
    """
    kept, dropped = screen(
        read_open_queries(path, domain=adapter), evaluation, thresholds=thresholds, encode=encode
    )
    queries = [_with_form(query) for query, _ in kept[:limit]]
    if not queries:
        raise ValueError(f"{path} holds no query that may be used ({dict(dropped)}): give others.")
    spec = load_pool(config.pool)
    names = config.adapters or list(spec.names)
    with tqdm(total=len(queries) * len(names), unit="query", smoothing=0.05) as bar:
        best = best_of_n(
            AdapterPool(spec),
            names,
            queries,
            scorer=SelfEvaluator(["quality"]),
            folder=work,
            n=config.n,
            seed=seed,
            threshold=config.quality,
            temperature=config.temperature,
            batch_size=config.batch_size,
            on_rows=bar.update,
        )
    nearest = {query.query_id: near for query, near in kept}
    samples = [
        _sample(query, best[query.query_id], nearest[query.query_id], config, seed)
        for query in queries
        if query.query_id in best
    ]
    if not samples:
        raise ValueError(
            f"none of {len(queries)} queries has an answer of quality {config.quality:g}: lower "
            "open.quality, or raise open.n."
        )
    dropped[REJECTED] = len(queries) - len(samples)
    return MadeData(tuple(samples), {OPEN_TASK: dropped}, {})


def _with_form(query: Query) -> Query:
    """Read the asked form from the text."""
    asked = asked_form(query.text)
    return dataclasses.replace(query, form=asked.form, form_size=asked.size)


def _sample(
    query: Query, best: BestAnswer, nearest: dict[str, object], config: OpenData, seed: int
) -> Sample:
    """Make a sample of a query and its best answer."""
    answer = {
        "source": "best_of_n",
        "n": best.drawn,
        "quality": best.quality,
        "adapter": best.adapter,
        "pool": config.pool,
        "temperature": config.temperature,
    }
    provenance = {
        "generator": GENERATOR,
        "version": VERSION,
        "seed": seed,
        "complexity": query.complexity,
        "region": OPEN_TASK,
        "answer": answer,
        "content_held_out": False,
        "nearest": nearest,
    }
    return Sample(query, best.response, provenance)
