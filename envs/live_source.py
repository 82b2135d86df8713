"""What a live environment plays on: queries without answers, and the pool that will answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.collection import Pool
from routing_gym.envs.data import RoutingData
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable, as_reward
from routing_gym.queries.query import Query
from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.reward import RewardFunction


def unanswered(
    queries: Sequence[Query], *, embeddings: np.ndarray, adapters: Sequence[str]
) -> RoutingData:
    """Make the data of queries that nobody has answered.

    Parameters
    ----------
    queries
        N queries.
    embeddings
        float (N, D).
    adapters
        K names of a pool, in their order.

    Returns
    -------
    RoutingData
        Its rewards and accuracies, which are unknown, are 0.
    """
    unknown = np.zeros((len(queries), len(adapters)), dtype=np.float32)
    return RoutingData(
        adapters=tuple(adapters),
        observations=np.asarray(embeddings, dtype=np.float32),
        rewards=unknown,
        accuracy=unknown,
        query_ids=np.array([query.query_id for query in queries]),
        tasks=np.array([query.task for query in queries]),
        domains=np.array([query.domain for query in queries]),
        complexity=np.array([query.complexity for query in queries], dtype=np.int64),
    )


def live_options(
    table: OutcomeTable | str | os.PathLike[str] | None,
    data: RoutingData | None,
    *,
    split: str,
    reward: RewardFunction | Mapping[str, float] | None,
    options: Mapping[str, Any],
) -> tuple[RoutingData, dict[str, Any]]:
    """Turn what the environments are given into data without outcomes and scenario options.

    Raises
    ------
    ValueError
        If both data and a table are given, the split holds no query, or a pool is impossible.
    """
    if "price" in options:
        raise ValueError("unknown option 'price': pass the weights of the scores as reward.")
    chosen = {**options, "price": as_reward(reward)}
    if data is not None:
        if table is not None:
            raise ValueError("data are given, so a table is not read: pass one of the two.")
        return data, chosen
    if "queries" in options:
        raise ValueError("queries come with the table: give them with data in its place.")
    if not isinstance(table, OutcomeTable):
        table = OutcomeTable.load(Path(DEFAULT_TABLE if table is None else table))
    if split not in table.splits:
        raise ValueError(f"split={split!r} holds no query: choose one of {table.splits}.")
    rows = np.flatnonzero(table.split == split)
    queries = [query for query in queries_of(table) if query.split == split]
    spec, _ = opened_pool(options.get("pool", "default"))
    blank = unanswered(queries, embeddings=table.embeddings[rows], adapters=spec.names)
    return blank, {**chosen, "queries": queries}


def opened_pool(pool: Any) -> tuple[Any, Callable[[], Pool]]:
    """Return a pool's spec and what makes it, without loading a model.

    Raises
    ------
    ValueError
        If the name is unknown, or it is nothing that generates.
    """
    if isinstance(pool, str):
        pool = load_pool(pool)
    if isinstance(pool, PoolSpec):
        return pool, partial(shared_pool, pool)
    if not (hasattr(pool, "generate") and hasattr(getattr(pool, "spec", None), "names")):
        raise ValueError(
            f"pool={pool!r} is a {type(pool).__name__}: give a pool's name, a PoolSpec, or an "
            "object with generate(name, texts, forms=, batch_size=) and spec.names."
        )
    return pool.spec, lambda: pool


def texts_of(data: RoutingData, queries: Sequence[Query] | None) -> list[Query]:
    """Find the queries of data, in the order of the data.

    Raises
    ------
    ValueError
        If there are none, or one is missing.
    """
    if queries is None:
        raise ValueError("data hold no texts to answer: pass their queries too, or a table.")
    known = {query.query_id: query for query in queries}
    missing = [name for name in data.query_ids.tolist() if name not in known]
    if missing:
        raise ValueError(f"queries lack the text of {missing[0]!r}, which is in the data: add it.")
    return [known[name] for name in data.query_ids.tolist()]


@lru_cache(maxsize=1)
def shared_pool(spec: PoolSpec) -> Pool:
    """Load a pool once for all environments; the language model takes half a gigabyte."""
    from routing_gym.adapters.pool import AdapterPool

    return AdapterPool(spec)


@lru_cache(maxsize=4)
def shared_evaluator(metrics: tuple[str, ...]) -> SelfEvaluator:
    """Make a self-evaluator once for all environments; its models load when first needed."""
    return SelfEvaluator(metrics)
