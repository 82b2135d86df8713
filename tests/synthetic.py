"""Small synthetic tables on which the right choice is known."""

from __future__ import annotations

import numpy as np

from routing_gym.envs.manifest import AdapterRecord, Manifest, MetricRecord
from routing_gym.envs.table import OutcomeTable

DOMAINS = ("reasoning", "code", "creative", "analysis")
QUALITIES = ("relevance", "coherence", "completeness", "factuality", "safety", "quality")
COSTS = ("tokens", "seconds")
TRUTHS = ("accuracy", "accuracy_strict")


def identity_table(n: int = 400, k: int = 4, d: int = 16, seed: int = 0) -> OutcomeTable:
    """Make the identity problem: the embedding says which adapter is right, and it alone is.

    Query i belongs to adapter ``i % k``: its embedding is that adapter's direction plus noise,
    its task is ``task_<adapter>``. The right adapter has accuracy 1 and qualities of about .9,
    every other accuracy 0 and qualities of about .3; the costs do not depend on the adapter.

    Parameters
    ----------
    n
        Queries, at least 10 so that every split (60/15/25 %) has some.
    k
        Adapters, 2 <= k <= d, named ``adapter_0`` onwards.
    d
        Length of an embedding; embeddings have norm 1.
    seed
        Equal seeds give equal tables.
    """
    if n < 10 or not 2 <= k <= d:
        raise ValueError(f"n={n}, k={k}, d={d} must satisfy n >= 10 and 2 <= k <= d.")
    rng = np.random.default_rng(seed)
    right = np.arange(n) % k
    hit = right[:, None] == np.arange(k)  # (N, K)
    embeddings = np.eye(k, d)[right] + rng.normal(scale=0.1, size=(n, d))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    completion_tokens = np.broadcast_to(rng.integers(5, 60, size=(n, 1)), (n, k))
    seconds = completion_tokens / 100.0
    scores = {
        name: np.where(hit, 0.9, 0.3) + rng.uniform(-0.05, 0.05, (n, k)) for name in QUALITIES
    }
    scores |= {"tokens": completion_tokens / 100, "seconds": seconds}
    scores |= {name: hit.astype(np.float32) for name in TRUTHS}
    return OutcomeTable(
        query_id=np.array([f"q{i:05d}" for i in range(n)]),
        text=np.array([f"Query number {i} is for adapter {right[i]}." for i in range(n)]),
        domain=np.array([DOMAINS[arm % len(DOMAINS)] for arm in right]),
        task=np.array([f"task_{arm}" for arm in right]),
        complexity=1 + rng.integers(3, size=n),
        split=_splits(n, rng),
        form=np.full(n, "word"),
        form_size=np.ones(n, dtype=np.int64),
        reference=np.full(n, "{}"),
        scores=scores,
        prompt_tokens=np.full((n, k), 12),
        completion_tokens=completion_tokens,
        seconds=seconds,
        finished=np.ones((n, k), dtype=np.bool_),
        responses=np.array([[f"answer {arm} to {i}" for arm in range(k)] for i in range(n)]),
        embeddings=embeddings,
        manifest=identity_manifest(k, seed),
    )


def identity_manifest(k: int = 4, seed: int = 0) -> Manifest:
    """Describe the identity problem with k adapters."""
    metrics = {name: MetricRecord() for name in QUALITIES}
    metrics |= {name: MetricRecord(direction="lower", role="cost") for name in COSTS}
    metrics |= {name: MetricRecord(role="truth") for name in TRUTHS}
    return Manifest(
        adapters=tuple(AdapterRecord(f"adapter_{arm}", f"{arm:064x}") for arm in range(k)),
        metrics=metrics,
        base_model="none",
        encoder="identity",
        pool_fingerprint=f"identity-{k}",
        seeds={"table": seed},
    )


def _splits(n: int, rng: np.random.Generator) -> np.ndarray:
    """Share n queries out as 60 % train, 15 % validation and 25 % test, in random order."""
    train, validation = round(0.60 * n), round(0.15 * n)
    names = ["train"] * train + ["validation"] * validation + ["test"] * (n - train - validation)
    return rng.permutation(np.array(names, dtype=object))
