"""Tables whose gaps are planted, region by region."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routing_gym.envs.table import OutcomeTable
from tests.synthetic import identity_table

OTHERS = 0.1  # how often the other adapters are right


@dataclass(frozen=True)
class Part:
    """One task: how many queries, how often its own adapter is right, what its score says."""

    task: str
    queries: int
    right: float = 0.8
    score: float | None = None  # None: calibrated
    own: int = 0
    domain: str = "made"


def planted_table(parts: Sequence[Part], *, seed: int = 0, adapters: int = 3) -> OutcomeTable:
    """Make a table in which only each task's own adapter is often right."""
    rng = np.random.default_rng(seed)
    total = sum(part.queries for part in parts)
    own = np.concatenate([np.full(part.queries, part.own) for part in parts])
    right = np.concatenate([np.full(part.queries, part.right) for part in parts])
    said = np.concatenate(
        [np.full(p.queries, p.right if p.score is None else p.score) for p in parts]
    )
    hit = own[:, None] == np.arange(adapters)
    truth = rng.random((total, adapters)) < np.where(hit, right[:, None], OTHERS)
    which = np.repeat(np.arange(len(parts)), [part.queries for part in parts])
    points = np.eye(len(parts), max(len(parts), 8))[which]
    base = identity_table(n=total, k=adapters, seed=seed)
    scores = dict(base.scores) | {
        "accuracy": truth.astype(np.float32),
        "quality": np.where(hit, said[:, None], OTHERS).astype(np.float32),
    }
    return dataclasses.replace(
        base,
        task=np.array([parts[i].task for i in which], dtype=object),
        domain=np.array([parts[i].domain for i in which], dtype=object),
        text=np.array([f"{parts[i].task} number {row}" for row, i in enumerate(which)], object),
        complexity=1 + np.arange(total) % 3,
        scores=scores,
        embeddings=points + rng.normal(scale=0.05, size=points.shape),
    )


def tasks(count: int, *, queries: int = 40, right: float = 0.8) -> list[Part]:
    """List equal tasks in two domains."""
    return [Part(f"task_{i}", queries, right, domain=f"domain_{i % 2}") for i in range(count)]
