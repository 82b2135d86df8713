"""`make_adversarial` from the command line, on a small table of two tiny arms."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from routing_gym.adapters.spec import PoolSpec
from routing_gym.envs.manifest import AdapterRecord
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import make_examples, verify
from routing_gym.queries.query import Query
from routing_gym.rewards.adversarial import AdversarialPair, read_pairs
from routing_gym.scripts.make_adversarial import main
from tests.adapters.tiny import save_tiny_adapter, save_tiny_model
from tests.synthetic import identity_table

for package in ("transformers", "peft"):
    pytest.importorskip(package)

Capture = pytest.CaptureFixture[str]
TASKS = ("ordering", "keywords", "dates", "repeated", "extraction", "capitals")


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    base = save_tiny_model(folder / "base")
    save_tiny_adapter(folder / "one", base, seed=1)
    path = folder / "pool.yaml"
    path.write_text(
        yaml.safe_dump({"base_model": str(base), "adapters": {"base": None, "one": "one"}})
    )
    return path


@pytest.fixture(scope="module")
def table(pool_file: Path) -> OutcomeTable:
    """Let arm "one" be right on every query, and the base on none."""
    examples = make_examples(TASKS, 60, seed=0)
    queries = [example.query for example in examples]
    spec, plain = PoolSpec.from_yaml(pool_file), identity_table(60, k=2)
    records = tuple(AdapterRecord(a.name, a.sha256 if a.path else "") for a in spec.adapters)
    names = ("query_id", "text", "domain", "task", "complexity", "form", "form_size", "reference")
    responses = [["I am afraid that I do not know.", example.target] for example in examples]
    return dataclasses.replace(
        plain,
        **{name: np.array([getattr(query, name) for query in queries]) for name in names},
        split=np.array(["test"] * 50 + ["train"] * 10),
        responses=np.array(responses, dtype=object),
        scores={**plain.scores, "accuracy": np.tile([0.0, 1.0], (60, 1))},
        manifest=dataclasses.replace(
            plain.manifest, adapters=records, pool_fingerprint=spec.fingerprint
        ),
    )


@pytest.fixture(scope="module")
def argv(
    table: OutcomeTable, pool_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    folder = tmp_path_factory.mktemp("tables") / "table"
    table.save(folder)
    cells = '{"real": 1, "content": 2, "dressed": 1, "void": 1}'
    return ["--table", str(folder), "--pool", str(pool_file), "--per_cell", cells]


@pytest.fixture(scope="module")
def made(argv: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out") / "pairs.parquet"
    assert main([*argv, "--output", str(path)]) == 0
    return path


def queries_of(table: OutcomeTable) -> dict[str, Query]:
    names = ("query_id", "text", "domain", "task")
    return {
        table.query_id[row]: Query(
            **{name: getattr(table, name)[row] for name in names}, reference=table.reference[row]
        )
        for row in range(len(table))
    }


@pytest.fixture(scope="module")
def pairs(made: Path) -> list[AdversarialPair]:
    return read_pairs(made)


def test_pairs_are_verified_and_tempt(pairs: list[AdversarialPair], table: OutcomeTable) -> None:
    queries = queries_of(table)
    assert len(pairs) > 30
    assert {pair.domain for pair in pairs} == {"reasoning", "creative", "analysis", "general"}
    for pair in pairs:
        query = queries[pair.query_id]
        assert pair.right_answer.query == query.text
        assert verify(query, pair.right).accuracy == 1.0
        assert verify(query, pair.wrong).accuracy == 0.0
        assert pair.tempts


def test_every_text_is_measured(pairs: list[AdversarialPair]) -> None:
    for pair in pairs:
        for answer in (pair.right_answer, pair.wrong_answer):
            assert answer.token_log_probs is not None
            assert answer.token_entropies is not None
            assert len(answer.token_log_probs) == len(answer.token_entropies) > 0
            assert answer.p_true is not None
            assert answer.log_likelihood is not None
            assert answer.seconds > 0
            assert np.isfinite(answer.log_likelihood) == bool(answer.response)


def test_made_texts_are_read_and_priced_as_their_right_answer(
    pairs: list[AdversarialPair],
) -> None:
    for pair in (pair for pair in pairs if pair.made == "rule"):
        right, wrong = pair.right_answer, pair.wrong_answer
        assert pair.adapter_wrong == pair.adapter_right == "one"
        assert wrong.finished
        assert wrong.token_log_probs is not None
        assert wrong.completion_tokens == len(wrong.token_log_probs)
        speed = right.seconds / (right.prompt_tokens + right.completion_tokens)
        worked = wrong.prompt_tokens + wrong.completion_tokens
        assert wrong.seconds == pytest.approx(speed * worked, rel=1e-5)


def test_real_wrong_answers_are_another_arms(pairs: list[AdversarialPair]) -> None:
    real = [pair for pair in pairs if pair.made == "real"]
    assert {pair.rule for pair in real} >= {"longer_arm"}
    assert {(pair.adapter_right, pair.adapter_wrong) for pair in real} == {("one", "base")}


def test_the_seed_decides(made: Path, argv: list[str], tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "again.parquet"
    assert main([*argv, "--output", str(path)]) == 0
    assert "pairs -> " in capsys.readouterr().out
    assert pq.read_table(path).equals(pq.read_table(made))
    assert main([*argv, "--output", str(path), "--seed", "1"]) == 0
    assert not pq.read_table(path).equals(pq.read_table(made))
    assert b"split: test" in pq.read_schema(path).metadata[b"provenance"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--table", "no/such/table"], 1, "no/such/table"),
        (["--split", "validation"], 1, "split='validation' holds no query"),
        (["--pool", "nowhere.yaml"], 1, "nowhere.yaml does not exist"),
        (["--per_cell", "{real: 1}"], 1, "give real, content, dressed, void"),
        (["--variants", "0"], 2, "variants=0"),
        (["--batch_size", "0"], 2, "batch_size=0"),
        (["--variant", "1"], 2, "'variants'"),
    ],
)
def test_bad_input(
    more: list[str], code: int, message: str, argv: list[str], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "pairs.parquet"
    assert main([*argv, "--output", str(path), *more]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not path.exists()
