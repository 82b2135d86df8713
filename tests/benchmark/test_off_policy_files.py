from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.benchmark.off_policy_files import read_log, write_log
from routing_gym.benchmark.off_policy_log import LoggedDecision, feedback_line
from tests.agents.problems import by_hand
from tests.benchmark.off_policy_logs import TIME, logged

DATA = by_hand([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
ROW: dict[str, Any] = {
    "decision_id": "d1",
    "time": TIME,
    "adapters": ["a", "b"],
    "pool_fingerprint": "pool",
    "policy_version": "v1",
    "action": 1,
    "adapter": "b",
    "propensity": 0.25,
    "reward": 1.0,
}
OTHER = ROW | {"decision_id": "d2"}
CONTEXT: dict[str, Any] = {"embedding": [0.1, 0.2], "encoder": "one"}


def written(folder: Path, *rows: dict[str, Any] | str) -> Path:
    path = folder / "log.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_log_survives_the_disk(tmp_path: Path, suffix: str) -> None:
    log = logged(DATA, np.array([[0.3, 0.7]] * 3), decisions=20)
    log.rewards[3] = np.nan
    log.fallbacks[5] = True
    write_log(log, tmp_path / f"log{suffix}")
    again = read_log(tmp_path / f"log{suffix}")
    assert again.adapters == log.adapters
    assert again.pool_fingerprint == log.pool_fingerprint
    for name in ("decision_ids", "times", "policy_versions", "actions", "fallbacks", "query_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))
    for name in ("propensities", "rewards", "all_propensities", "observations"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))
    assert again.queries is None


def test_embeddings_keep_every_bit(tmp_path: Path) -> None:
    log = logged(DATA, decisions=4)
    assert log.observations is not None
    log.observations[:] = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    write_log(log, tmp_path / "log.jsonl")
    np.testing.assert_array_equal(read_log(tmp_path / "log.jsonl").observations, log.observations)


def test_one_decision_as_a_server_writes_it(tmp_path: Path) -> None:
    decision = LoggedDecision(
        decision_id="d9",
        time="2025-01-31T12:00:00Z",
        adapters=("a", "b"),
        pool_fingerprint="pool",
        policy_version="v1",
        action=1,
        propensity=float("nan"),
        fallback=True,
        query="What is 2 + 2?",
    )
    log = read_log(written(tmp_path, ROW, decision.to_json()))
    assert log.decision_ids.tolist() == ["d1", "d9"]
    assert log.fallbacks.tolist() == [False, True]
    assert log.queries is not None
    assert log.queries.tolist() == ["", "What is 2 + 2?"]
    assert log.rewarded.tolist() == [True, False]


def test_feedback_arrives_later_and_the_last_counts(tmp_path: Path) -> None:
    bare = {name: value for name, value in ROW.items() if name != "reward"}
    path = written(
        tmp_path, bare, OTHER | {"reward": None}, feedback_line("d1", 0.2), feedback_line("d1", 0.8)
    )
    log = read_log(path)
    assert log.rewards[0] == 0.8
    assert np.isnan(log.rewards[1])


def test_the_name_of_the_adapter_suffices(tmp_path: Path) -> None:
    named = {name: value for name, value in ROW.items() if name != "action"}
    assert read_log(written(tmp_path, named, "", OTHER)).actions.tolist() == [1, 1]


def test_eligible_adapters_survive_the_disk(tmp_path: Path) -> None:
    path = written(tmp_path, ROW | {"eligible": [False, True]}, OTHER | {"eligible": [True, True]})
    log = read_log(path)
    assert log.eligible is not None
    assert log.eligible.tolist() == [[False, True], [True, True]]
    write_log(log, tmp_path / "again.parquet")
    again = read_log(tmp_path / "again.parquet").eligible
    np.testing.assert_array_equal(again, log.eligible)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_encoder_survives_the_disk(tmp_path: Path, suffix: str) -> None:
    log = read_log(written(tmp_path, ROW | CONTEXT, OTHER | CONTEXT))
    assert log.encoder == "one"
    write_log(log, tmp_path / f"again{suffix}")
    assert read_log(tmp_path / f"again{suffix}").encoder == "one"
    assert read_log(written(tmp_path, ROW)).encoder == ""
    assert read_log(written(tmp_path, ROW | {"encoder": "one"}, OTHER)).encoder == ""


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{not json"], r"log.jsonl, line 1: is not JSON"),
        (["[1]"], "line 1: is not a JSON object"),
        (
            [ROW, without("propensity") | {"decision_id": "d2"}],
            "line 2: lacks 'propensity', the pr",
        ),
        ([without("time")], "line 1: lacks 'time'"),
        ([without("decision_id")], "lacks 'decision_id'"),
        ([without("pool_fingerprint")], "lacks 'pool_fingerprint'"),
        ([ROW | {"adapters": "ab"}], "adapters='ab' is no list"),
        ([ROW | {"adapters": ["b"], "action": 0}], "with one arm there is nothing to route"),
        ([ROW | {"adapter": "c"}], "adapter='c' is unknown: the pool's are"),
        ([ROW | {"action": 0}], "action=0 is 'a', but adapter='b'"),
        ([ROW | {"action": 7}], "action=7 is no position 0 to 1"),
        ([ROW | {"eligible": [True, False]}], "action 1 was not eligible"),
        ([ROW | {"eligible": [True]}], "eligible has 1 entries, not 2"),
        ([{k: v for k, v in ROW.items() if k not in ("action", "adapter")}], "lacks 'action'"),
        ([ROW | {"propensity": 0}], r"log.jsonl: decision 'd1': propensity 0.0 is not in \(0, 1\]"),
        ([ROW | {"propensity": 1.01}], "propensity 1.01 is not in"),
        ([ROW | {"propensity": float("nan")}], "propensity=nan is no number"),
        ([ROW | {"propensity": "high"}], "propensity='high' is no number"),
        ([ROW | {"reward": "good"}], "reward='good' is no number"),
        ([ROW, ROW], "decision_id 'd1' occurs 2 times"),
        ([ROW, OTHER | {"pool_fingerprint": "new"}], "line 2: pool 'new' .* split the log by pool"),
        ([ROW | {"time": "yesterday"}], "time='yesterday' is not ISO 8601"),
        ([ROW | {"time": "2025-01-31T12:00:00"}], "with an offset"),
        ([ROW | {"fallback": "no"}], "fallback='no' must be true or false"),
        ([ROW | {"propensities": [0.75, 0.35]}], "propensities sum to 1.1, not to 1"),
        ([ROW | {"propensities": [0.75]}], "propensities has 1 entries, not 2"),
        ([ROW | {"propensities": [0.25, 0.75]}], "propensity 0.25 is not that of its action"),
        ([ROW, OTHER | {"propensities": [0.75, 0.25]}], "line 2: 'propensities' is given in some"),
        (
            [ROW | {"embedding": [0.1]}, OTHER | {"embedding": [0.1, 0.2]}],
            "embedding has 2 entries",
        ),
        ([ROW | {"embedding": ["x"]}], "embedding holds something that is no number"),
        ([ROW | CONTEXT, OTHER | CONTEXT | {"encoder": "two"}], "mixes encoders 'one', 'two'"),
        ([ROW | CONTEXT, OTHER | {"embedding": [0.1, 0.2]}], "mixes encoders 'unknown', 'one'"),
        ([ROW | {"encoder": 3}], "line 1: encoder=3 is no text"),
        ([ROW | {"query": 3}], "line 1: query=3 is no text"),
        ([ROW, feedback_line("d7", 1.0)], "line 2: feedback for decision 'd7', which is not"),
        ([feedback_line("d7", 1.0)], "holds no decision"),
    ],
)
def test_faults_name_the_line(
    tmp_path: Path, rows: list[dict[str, Any] | str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_log(written(tmp_path, *rows))


def test_faults_of_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing.jsonl' does not exist"):
        read_log(tmp_path / "nothing.jsonl")
    with pytest.raises(ValueError, match=r"must end in .jsonl or .parquet"):
        read_log(tmp_path / "log.csv")
    (tmp_path / "log.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="is no Parquet file"):
        read_log(tmp_path / "log.parquet")
