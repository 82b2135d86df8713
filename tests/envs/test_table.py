"""Tables in memory: what they hold, how they are cut and priced, and what they refuse."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from routing_gym.envs.errors import TableError
from routing_gym.envs.manifest import AdapterRecord, MetricRecord
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.reward import RewardFunction
from tests.synthetic import identity_table


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return identity_table(n=40, k=4, d=8)


def changed(values: np.ndarray, index: Any, value: Any) -> np.ndarray:
    """Copy an array with one entry replaced."""
    copied = values.copy()
    copied[index] = value
    return copied


def test_identity_problem_is_what_it_says(table: OutcomeTable) -> None:
    data = table.data("train")
    right = data.accuracy.argmax(axis=1)
    np.testing.assert_array_equal(data.rewards.argmax(axis=1), right)
    np.testing.assert_array_equal(data.observations[:, :4].argmax(axis=1), right)
    np.testing.assert_allclose(np.linalg.norm(data.observations, axis=1), 1, rtol=1e-6)


def test_arrays_are_typed_and_read_only(table: OutcomeTable) -> None:
    assert table.scores["relevance"].dtype == np.float32
    assert table.prompt_tokens.dtype == np.int32
    assert table.text.dtype == object
    with pytest.raises(ValueError, match="read-only"):
        table.seconds[0, 0] = 1.0


def test_the_callers_arrays_stay_writable() -> None:
    table = identity_table(n=20)
    mine = table.seconds.copy()
    dataclasses.replace(table, seconds=mine)
    mine[0, 0] = 3.0


def test_data_prices_a_split_exactly(table: OutcomeTable) -> None:
    data = table.data("test", RewardFunction({"relevance": 3.0, "tokens": 1.0}))
    rows = np.flatnonzero(table.split == "test")
    expected = (3 * table.scores["relevance"][rows] + 1 - table.scores["tokens"][rows]) / 4
    np.testing.assert_allclose(data.rewards, expected, rtol=1e-6)
    assert data.rewards.dtype == np.float32
    assert list(data.query_ids) == list(table.query_id[rows])
    assert data.query_ids.dtype.kind == "U"
    np.testing.assert_array_equal(data.costs["seconds"], table.seconds[rows])
    np.testing.assert_array_equal(data.costs["completion_tokens"], table.completion_tokens[rows])
    data.rewards[0, 0] = 0.0  # the agent's own copy


def test_data_takes_weights_and_the_default_reward(table: OutcomeTable) -> None:
    np.testing.assert_array_equal(
        table.data("train", {"accuracy": 2.0}).rewards, table.data("train").accuracy
    )


def test_data_refuses(table: OutcomeTable) -> None:
    with pytest.raises(ValueError, match=r"split='dev' holds no query: choose one of .*'test'"):
        table.data("dev")
    with pytest.raises(ValueError, match=r"'relevanse'.*did you mean 'relevance'"):
        table.data("train", {"relevanse": 1.0})


def test_where_and_subset(table: OutcomeTable) -> None:
    tests = table.where(split="test", complexity=(1, 2))
    assert set(tests.split) == {"test"}
    assert set(tests.complexity) <= {1, 2}
    assert table.subset(np.array([3, 1])).query_id.tolist() == ["q00003", "q00001"]
    with pytest.raises(ValueError, match="unknown column 'colour'"):
        table.where(colour="red")
    with pytest.raises(ValueError, match="no query has"):
        table.where(task="cooking")
    with pytest.raises(TableError, match="query_id occurs 2 times"):
        table.subset(np.array([1, 1]))
    with pytest.raises(TableError, match="has no rows"):
        table.subset(np.zeros(len(table), dtype=bool))


def test_fingerprint_follows_the_content(table: OutcomeTable) -> None:
    assert identity_table(n=40, k=4, d=8).fingerprint == table.fingerprint
    changes: list[dict[str, Any]] = [
        {"responses": changed(table.responses, (2, 1), "other")},
        {"seconds": changed(table.seconds, (2, 1), 9.0)},
        {"scores": {**table.scores, "safety": changed(table.scores["safety"], (0, 0), 0.5)}},
        {"manifest": dataclasses.replace(table.manifest, pool_fingerprint="other")},
    ]
    prints = {dataclasses.replace(table, **change).fingerprint for change in changes}
    assert len(prints | {table.fingerprint}) == 5


def test_survives_pickle_and_copy(table: OutcomeTable) -> None:
    assert pickle.loads(pickle.dumps(table)).fingerprint == table.fingerprint
    assert copy.deepcopy(table).fingerprint == table.fingerprint
    assert "40 queries {'train': 24, 'validation': 6, 'test': 10}" in repr(table)


def test_check_pool(table: OutcomeTable) -> None:
    table.check_pool(table.adapters, "identity-4")
    with pytest.raises(TableError, match="collect a new table with this pool"):
        table.check_pool(table.adapters[::-1], "identity-4")
    with pytest.raises(TableError, match="the weights differ"):
        table.check_pool(table.adapters, "another")


def faults() -> list[tuple[str, Any, str]]:
    """Name each kind of faulty column, how to make it, and the message that it earns."""
    cell = r"outcomes\.parquet, query 'q00002' with adapter 'adapter_1': "
    row = r"queries\.parquet, row 2 \(query 'q00002'\): "

    def edit(name: str, index: Any, value: Any) -> Any:
        return lambda t: {name: changed(getattr(t, name), index, value)}

    def score(name: str, value: float) -> Any:
        return lambda t: {"scores": {**t.scores, name: changed(t.scores[name], (2, 1), value)}}

    return [
        ("NaN score", score("relevance", np.nan), cell + "score 'relevance' is nan, not a number"),
        ("infinite score", score("safety", np.inf), cell + "score 'safety' is inf"),
        ("high score", score("accuracy", 1.5), cell + r"score 'accuracy' is 1.5, outside \[0, 1\]"),
        ("low score", score("tokens", -0.1), cell + r"score 'tokens' is -0.1.*, outside"),
        ("NaN seconds", edit("seconds", (2, 1), np.nan), cell + "seconds is nan"),
        ("negative tokens", edit("prompt_tokens", (2, 1), -1), cell + "prompt_tokens is -1"),
        ("no response", edit("responses", (2, 1), None), cell + "response is None, not a str"),
        ("empty query", edit("text", 2, "  \n"), row + "text is an empty query; remove"),
        ("text is no str", edit("text", 2, None), row + "text is None, not a str"),
        ("empty id", edit("query_id", 2, ""), r"row 2 \(query ''\): query_id is empty"),
        ("doubled id", edit("query_id", 3, "q00002"), row + "query_id occurs 2 times"),
        ("unknown split", edit("split", 2, "dev"), row + "split is 'dev'; use one of"),
        ("unknown level", edit("complexity", 2, 4), row + "complexity is 4"),
        ("NaN embedding", edit("embeddings", (2, 0), np.nan), r"row 2 \(query 'q00002'\) is not f"),
        ("few embeddings", lambda t: {"embeddings": t.embeddings[1:]}, r"not \(40, D\); embed"),
        ("short column", lambda t: {"task": t.task[1:]}, r"task has shape \(39,\), not \(40,\)"),
        ("short cells", lambda t: {"seconds": t.seconds[:, 1:]}, r"seconds has shape \(40, 3\)"),
        (
            "undescribed score",
            lambda t: {"scores": {**t.scores, "wit": t.seconds}},
            "score 'wit' is only in one",
        ),
        (
            "other arms",
            lambda t: {
                "manifest": dataclasses.replace(
                    t.manifest, adapters=(*t.manifest.adapters, AdapterRecord("fifth"))
                )
            },
            r"has shape \(40, 4\), not \(N, K\) = \(40, 5\)",
        ),
        (
            "narrow range",
            lambda t: {
                "manifest": dataclasses.replace(
                    t.manifest, metrics={**t.manifest.metrics, "safety": MetricRecord(high=0.5)}
                )
            },
            r"score 'safety' is 0\.\d+, outside \[0, 0.5\]",
        ),
    ]


@pytest.mark.parametrize(
    ("change", "message"), [f[1:] for f in faults()], ids=[f[0] for f in faults()]
)
def test_refuses(table: OutcomeTable, change: Any, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        dataclasses.replace(table, **change(table))
    assert caught.value.remedy


def test_refuses_one_text_in_two_splits(table: OutcomeTable) -> None:
    train = int(np.flatnonzero(table.split == "train")[0])
    test = int(np.flatnonzero(table.split == "test")[0])
    text = changed(table.text, test, f"  {table.text[train].upper()}!?")
    with pytest.raises(TableError, match=rf"{table.query_id[test]}.*in split 'test'.*'train'"):
        dataclasses.replace(table, text=text)


def test_allows_one_text_twice_in_one_split(table: OutcomeTable) -> None:
    first, second = np.flatnonzero(table.split == "train")[:2]
    dataclasses.replace(table, text=changed(table.text, second, table.text[first]))


def test_the_error_survives_a_worker_process() -> None:
    error = TableError("here", "is wrong", "repair it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "here: is wrong; repair it."
