"""Splits of any size that look like a routing table: for measuring speed, not agents' worth.

A query has 16 hidden traits, half of which say which of 8 topics it belongs to. Its embedding is a
linear image of the traits with noise, of norm 1; an adapter's reward is a logistic function of the
traits. So a router can learn almost all that there is to know, and the reward of every choice is
known exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from routing_gym.envs.data import RoutingData
from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from routing_gym.envs.table import OutcomeTable

TOPICS, TRAITS = 8, 16
CHUNK = 100_000  # queries made at once


class SyntheticProblem:
    """What the queries of all splits of one problem have in common.

    Parameters
    ----------
    seed
        Of the problem.
    dimensions
        D of the embeddings.
    arms
        K.
    """

    def __init__(self, *, seed: int, dimensions: int = 384, arms: int = 6) -> None:
        rng = np.random.default_rng([seed, 384])
        self._seed = seed
        self.adapters = tuple(f"adapter_{arm}" for arm in range(arms))
        self._topics = rng.normal(size=(TOPICS, TRAITS))
        self._topics[:, TRAITS // 2 :] = 0.0
        self._image = (rng.normal(size=(TRAITS, dimensions)) / 4).astype(np.float32)
        self._weights = rng.normal(size=(TRAITS, arms)) / 2
        self._bias = rng.normal(size=arms) / 2

    def split(self, queries: int, *, part: int = 0) -> RoutingData:
        """Draw a split, float32 throughout.

        Parameters
        ----------
        queries
            N, at least 1.
        part
            Which of the problem's splits; each has other queries.
        """
        chunks = list(self.chunks(queries, part=part))
        if len(chunks) == 1:
            return chunks[0]
        names = ("observations", "rewards", "accuracy", "query_ids", "tasks", "domains")
        joined = {name: np.concatenate([getattr(c, name) for c in chunks]) for name in names}
        return RoutingData(
            adapters=self.adapters,
            **joined,
            complexity=np.concatenate([c.complexity for c in chunks]),
            scores={
                name: np.concatenate([c.scores[name] for c in chunks]) for name in chunks[0].scores
            },
            costs={
                name: np.concatenate([c.costs[name] for c in chunks]) for name in chunks[0].costs
            },
        )

    def chunks(
        self, queries: int, *, part: int = 0, size: int = CHUNK, lean: bool = False
    ) -> Iterator[RoutingData]:
        """Draw a split piece by piece.

        Parameters
        ----------
        queries, part
            As for `split`.
        size
            Queries of a piece; the last may have fewer.
        lean
            Embeddings in float16, one score and no costs: for splits of many millions.
        """
        for start in range(0, queries, size):
            rng = np.random.default_rng([self._seed, part, start])
            yield self._chunk(start, min(size, queries - start), rng=rng, lean=lean)

    def table(self, queries: int) -> OutcomeTable:
        """Draw a whole table, with answers; 60 % of its queries are for training.

        Parameters
        ----------
        queries
            N, at least 10.
        """
        data = self.split(queries)
        shape = data.rewards.shape
        numbers = np.arange(queries)
        metrics = {name: MetricRecord() for name in ("quality", "relevance")}
        metrics["accuracy"] = MetricRecord(role="truth")
        return OutcomeTable(
            query_id=data.query_ids,
            text=np.char.mod("What is the answer to query number %d?", numbers),
            domain=data.domains,
            task=data.tasks,
            complexity=data.complexity,
            split=np.array(["train", "validation", "test", "train", "train"])[numbers % 5],
            form=np.full(queries, "word"),
            form_size=np.ones(queries, dtype=np.int64),
            reference=np.full(queries, "{}"),
            scores={name: data.rewards for name in metrics},
            prompt_tokens=data.costs["prompt_tokens"].astype(np.int32),
            completion_tokens=data.costs["completion_tokens"].astype(np.int32),
            seconds=data.costs["seconds"],
            finished=np.ones(shape, dtype=np.bool_),
            responses=np.char.mod("The answer is %d.", np.arange(data.rewards.size)).reshape(shape),
            embeddings=data.observations,
            manifest=Manifest(
                adapters=tuple(
                    AdapterRecord(name, f"{arm:064x}") for arm, name in enumerate(self.adapters)
                ),
                metrics=metrics,
                base_model="none",
                encoder="synthetic",
                pool_fingerprint="synthetic",
                seeds={"table": self._seed},
            ),
        )

    def _chunk(
        self, start: int, queries: int, *, rng: np.random.Generator, lean: bool
    ) -> RoutingData:
        """Draw consecutive queries."""
        topics = rng.integers(TOPICS, size=queries)
        traits = self._topics[topics] + 0.7 * rng.normal(size=(queries, TRAITS))
        vectors = traits.astype(np.float32) @ self._image
        vectors += np.float32(0.3) * rng.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        logits = traits @ self._weights + self._bias
        rewards = (1 / (1 + np.exp(-logits))).astype(np.float32)
        tokens = rng.integers(8, 64, size=rewards.shape).astype(np.float32)
        costs = {
            "prompt_tokens": tokens,
            "completion_tokens": tokens,
            "seconds": tokens / np.float32(32),
        }
        names = np.array([f"t{topic}" for topic in range(TOPICS)])[topics]
        return RoutingData(
            adapters=self.adapters,
            observations=vectors.astype(np.float16) if lean else vectors,
            rewards=rewards,
            accuracy=rewards,
            query_ids=np.char.mod("q%08d", np.arange(start, start + queries)),
            tasks=names,
            domains=names,
            complexity=np.ones(queries, dtype=np.int64),
            scores={"quality": rewards} if lean else {"quality": rewards, "accuracy": rewards},
            costs={} if lean else costs,
        )
