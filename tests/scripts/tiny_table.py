"""A pool of two tiny arms and a table that names it, for commands that need both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.manifest import AdapterRecord, MetricRecord
from routing_gym.envs.table import OutcomeTable
from tests.adapters.tiny import TEXTS, save_tiny_adapter, save_tiny_model
from tests.synthetic import identity_table

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
ANSWERS = ("Paris", "1, 2, 3", "The river and the lantern.", "")


def save_tiny_pool(folder: Path) -> Path:
    """Write a base, an adapter and the file of their pool."""
    base = save_tiny_model(folder / "base")
    save_tiny_adapter(folder / "one", base, seed=1)
    path = folder / "pool.yaml"
    path.write_text(
        yaml.safe_dump({"base_model": str(base), "adapters": {"base": None, "one": "one"}})
    )
    return path


def table_of_pool(pool_file: Path, *, n: int = 10) -> OutcomeTable:
    """Make a table of a pool of two arms, with the metrics of another time and a learned one."""
    spec = PoolSpec.from_yaml(pool_file)
    made = identity_table(n=n, k=2)
    metrics = {**made.manifest.metrics, "quality": MetricRecord()}
    return replace(
        made,
        text=np.array([f"{TEXTS[i % 4]} {i}" for i in range(n)]),
        responses=np.array([[ANSWERS[(i + arm) % 4] for arm in range(2)] for i in range(n)]),
        embeddings=made.embeddings.astype(np.float16),
        scores={**made.scores, "quality": made.scores["safety"]},
        manifest=replace(
            made.manifest,
            adapters=tuple(
                AdapterRecord(a.name, a.sha256 if a.path else "") for a in spec.adapters
            ),
            metrics=metrics,
            encoder=ENCODER,
            pool_fingerprint=spec.fingerprint,
            generation={"decoding": "greedy"},
        ),
    )
