"""What the tests of deployments share: a policy for the embedded pool, trained here in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="session")
def real_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a ridge on an eighth of the embedded table and export it; returns its folder."""
    pytest.importorskip("onnx")
    from routing_gym.adapters.embedding import make_encoder
    from routing_gym.agents import make_agent
    from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
    from routing_gym.scripts.training_run import load_problem, observed
    from routing_gym.serving.policy_export import ExportOptions, ExportSource, export_bundle

    if not DEFAULT_TABLE.is_dir():
        pytest.skip("the outcome table is not here")
    folder = tmp_path_factory.mktemp("policy")
    table = OutcomeTable.load(DEFAULT_TABLE)
    table = table.subset(np.arange(0, len(table), 8)).save(folder / "table")
    texts = {name: [str(text) for text in table.text[table.split == name]] for name in SPLITS}
    encoder = make_encoder("tfidf")
    encoder.fit(texts["train"])
    problem = load_problem(folder / "table", {})
    splits = observed(problem, encoder)
    agent = make_agent("ridge")
    agent.train(splits.train, validation=splits.validation, seed=0)
    agent.metadata = problem.metadata | {"encoder": encoder.name}
    source = ExportSource(
        agent=agent,
        encoder=encoder,
        splits=splits,
        texts=texts,
        adapter_hashes={record.name: record.sha256 for record in table.manifest.adapters},
    )
    export_bundle(source, folder / "bundle", ExportOptions(resamples=100))
    return folder / "bundle"
