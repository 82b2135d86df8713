"""The shipped adapters and the shipped table belong together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from routing_gym.adapters.spec import WEIGHTS_FILE, PoolSpec
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.queries.dataset import make_queries, verify
from routing_gym.queries.query import Query
from routing_gym.queries.splits import SPLIT_SHARES, SPLITS

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "adapters" / "weights"
ARMS = ("base", "reasoning", "code", "creative", "analysis")
CELLS_PER_ARM = 10

pytestmark = [
    pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the trained adapters are not here"),
    pytest.mark.skipif(not DEFAULT_TABLE.is_dir(), reason="the outcome table is not here"),
]


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return OutcomeTable.load(DEFAULT_TABLE)


@pytest.fixture(scope="module")
def spec() -> PoolSpec:
    return PoolSpec.from_yaml(REPOSITORY / "configs" / "pools" / "default.yaml")


def query_of(table: OutcomeTable, row: int) -> Query:
    return Query(
        query_id=table.query_id[row],
        text=table.text[row],
        domain=table.domain[row],
        task=table.task[row],
        complexity=int(table.complexity[row]),
        form=table.form[row],
        form_size=int(table.form_size[row]),
        reference=table.reference[row],
        split=table.split[row],
    )


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def test_the_pool_made_the_table(spec: PoolSpec, table: OutcomeTable) -> None:
    assert spec.names == ARMS
    table.check_pool(spec.names, spec.fingerprint)
    hashes = [adapter.sha256 if adapter.path else "" for adapter in spec.adapters]
    assert [record.sha256 for record in table.manifest.adapters] == hashes


@pytest.mark.parametrize("name", ARMS[1:])
def test_weights_are_small_and_in_half_precision(name: str) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    file = WEIGHTS / name / WEIGHTS_FILE
    assert file.stat().st_size <= 5_000_000
    tensors = safetensors.load_file(file)
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_adapters_differ(spec: PoolSpec) -> None:
    assert len({adapter.sha256 for adapter in spec.adapters}) == len(ARMS)


def test_the_table_is_large_enough_and_small_enough(table: OutcomeTable) -> None:
    assert table.responses.shape[0] >= 3000
    assert table.responses.shape[1] == 5
    assert megabytes(DEFAULT_TABLE) < 15
    counts = Counter(table.split.tolist())
    for name, share in zip(SPLITS, SPLIT_SHARES, strict=True):
        assert counts[name] / len(table) == pytest.approx(share, abs=0.03)


def test_the_queries_can_be_made_again(table: OutcomeTable) -> None:
    pytest.importorskip("reasoning_gym")
    mix = {str(name): int(count) for name, count in Counter(table.task.tolist()).items()}
    queries = make_queries(mix, seed=table.manifest.seeds["queries"])
    assert [q.text for q in queries] == table.text.tolist()
    assert [q.split for q in queries] == table.split.tolist()
    assert [q.reference for q in queries] == table.reference.tolist()


def test_embeddings_are_of_length_one(table: OutcomeTable) -> None:
    assert table.embeddings.shape == (len(table), 384)
    np.testing.assert_allclose(np.linalg.norm(table.embeddings, axis=1), 1.0, atol=2e-3)


def test_accuracy_is_the_verifiers(table: OutcomeTable) -> None:
    rows = np.random.default_rng(0).choice(len(table), size=200, replace=False)
    for row in rows:
        query = query_of(table, int(row))
        for arm in range(len(ARMS)):
            verdict = verify(query, table.responses[row, arm])
            found = (table.scores["accuracy"][row, arm], table.scores["accuracy_strict"][row, arm])
            assert found == (verdict.accuracy, verdict.strict), (query, table.responses[row, arm])


@pytest.mark.parametrize("name", ARMS[1:])
def test_every_adapter_leads_its_own_domain(table: OutcomeTable, name: str) -> None:
    rows = (table.domain == name) & (table.split == "test")
    means = dict(zip(ARMS, table.scores["accuracy"][rows].mean(axis=0).tolist(), strict=True))
    own = means.pop(name)
    assert own > max(means.values())
    assert own >= 2 * means["base"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_regenerated_cells_are_the_tables(
    spec: PoolSpec, table: OutcomeTable, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other batches round differently, so that a near-tie may fall the other way."""
    pytest.importorskip("peft")
    from routing_gym.adapters.pool import AdapterPool

    rng = np.random.default_rng(50)
    pool = AdapterPool(spec)
    differ = []
    for arm, name in enumerate(spec.names):
        rows = rng.choice(len(table), size=CELLS_PER_ARM, replace=False)
        answers = pool.generate(name, table.text[rows].tolist(), forms=table.form[rows].tolist())
        differ += [
            (name, table.query_id[row], table.responses[row, arm], answer.text)
            for row, answer in zip(rows, answers, strict=True)
            if answer.text != table.responses[row, arm]
        ]
    with capsys.disabled():
        print(f"\n{len(differ)} of {CELLS_PER_ARM * len(ARMS)} regenerated cells differ")
        for cell in differ:
            print(*map(repr, cell))
    assert len(differ) <= 2
