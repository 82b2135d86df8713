"""Small bundles, made in a second: an agent on the identity problem, seen through its texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.adapters.embedding import make_encoder
from routing_gym.agents import make_agent
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import DEFAULT_REWARD
from routing_gym.scripts.training_run import load_problem, observed
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.bundle_manifest import MANIFEST_FILE
from routing_gym.serving.policy_export import ExportOptions, ExportSource, export_bundle
from tests.synthetic import identity_table

SPLITS = ("train", "validation", "test")
ENCODER = "position"  # the texts end in the number of the right adapter


def small_source(
    folder: Path, *, agent: str = "ridge", encoder: str = ENCODER, n: int = 200, **options: Any
) -> ExportSource:
    """Train an agent on the texts of the identity problem; its table is written to the folder."""
    table: OutcomeTable = identity_table(n=n).save(folder / "table")
    problem = load_problem(folder / "table", {})
    made = make_encoder(encoder)
    made.fit([str(text) for text in table.text[table.split == "train"]])
    splits = observed(problem, made)
    learner = make_agent(agent, **options)
    learner.train(splits.train, validation=splits.validation, seed=0)
    learner.metadata = problem.metadata | {"encoder": made.name}
    return ExportSource(
        agent=learner,
        encoder=made,
        splits=splits,
        texts={name: [str(text) for text in table.text[table.split == name]] for name in SPLITS},
        adapter_hashes={record.name: record.sha256 for record in table.manifest.adapters},
    )


def small_bundle(
    folder: Path, *, export: ExportOptions | None = None, **source: Any
) -> PolicyBundle:
    """Export such an agent to ``folder / "bundle"``."""
    options = export or ExportOptions(resamples=100)
    return export_bundle(small_source(folder, **source), folder / "bundle", options)


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    """Change entries of a manifest, dotted by "__", without renewing its seal."""
    content = json.loads((folder / MANIFEST_FILE).read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / MANIFEST_FILE).write_text(json.dumps(content))


def texts(count: int, *, adapters: int = 4) -> list[str]:
    """Texts of the identity problem that no table holds."""
    numbers = np.arange(count)
    return [f"Query number {1000 + i} is for adapter {i % adapters}." for i in numbers]


REWARD = dict(DEFAULT_REWARD.weights)
