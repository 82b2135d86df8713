from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents.knn import KNNAgent
from routing_gym.benchmark.off_policy_files import read_log, write_log
from routing_gym.scripts.evaluate_offline import main
from tests.benchmark.off_policy_logs import logged
from tests.serving.decision_rows import records_of, written
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]


def lopsided(observations: np.ndarray) -> np.ndarray:
    """A policy whose probabilities do not sum to one."""
    return np.full((len(observations), 4), 0.3)


def backwards(observations: np.ndarray) -> np.ndarray:
    """A policy that avoids the adapter that the embedding points to."""
    best = observations[:, :4].argmax(axis=1)
    return (1 - np.eye(4)[best]) / 3


def narrow(observations: np.ndarray) -> np.ndarray:
    """A policy for fewer adapters."""
    return np.full((len(observations), 2), 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a saved agent, one of another pool, and logs."""
    root = tmp_path_factory.mktemp("offline")
    table = identity_table(n=300)
    table.save(root / "table")
    train, validation = table.data("train"), table.data("validation")
    agent = KNNAgent()
    agent.train(train, validation=validation, seed=0)
    pool = table.manifest.pool_fingerprint
    agent.save(root / "run" / "policy", metadata={"pool_fingerprint": pool})
    agent.save(root / "foreign", metadata={"pool_fingerprint": "another"})
    other = identity_table(n=300, k=3)
    third = KNNAgent()
    third.train(other.data("train"), validation=other.data("validation"), seed=0)
    third.save(root / "three")
    test = table.data("test")
    log = logged(test, decisions=900, pool=pool)
    write_log(log, root / "log.jsonl")
    write_log(log, root / "log.parquet")
    greedy = np.tile([0.997, 0.001, 0.001, 0.001], (len(test), 1))
    write_log(logged(test, greedy, decisions=900, pool=pool), root / "greedy.jsonl")
    rows = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    bare = [{k: v for k, v in row.items() if k != "embedding"} for row in rows]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    none = [{k: v for k, v in row.items() if k != "propensity"} for row in rows]
    (root / "none.jsonl").write_text("".join(json.dumps(row) + "\n" for row in none))
    zero = [*rows[:3], rows[3] | {"propensity": 0}, *rows[4:]]
    (root / "zero.jsonl").write_text("".join(json.dumps(row) + "\n" for row in zero))
    given = [(str(n), float(r), "user") for n, r in zip(log.decision_ids, log.rewards, strict=True)]
    written(str(root / "log.db"), records_of(log), given)
    assert log.query_ids is not None
    texts = dict(zip(table.query_id, table.text, strict=True))
    hashes = [hashlib.sha256(texts[name].encode()).hexdigest() for name in log.query_ids]
    records = [
        dataclasses.replace(decision, query_hash=text, embedding=None)
        for decision, text in zip(records_of(log), hashes, strict=True)
    ]
    written(str(root / "hashes.db"), records, given)
    return root


def run(folder: Path, output: Path, *more: str, log: str = "log.jsonl") -> int:
    paths = ["--log", str(folder / log), "--output", str(output)]
    return main([*paths, "--resamples", "200", "--folds", "3", *more])


def value(output: Path) -> dict[str, float]:
    figure: dict[str, float] = json.loads((output / "summary.json").read_text())["value"]
    return figure


@pytest.mark.parametrize("log", ["log.jsonl", "log.parquet", "log.db"])
def test_a_saved_agent_on_a_log(folder: Path, tmp_path: Path, capsys: Capture, log: str) -> None:
    assert run(folder, tmp_path / "out", "--run", str(folder / "run"), log=log) == 0
    truth = float(identity_table(n=300).data("test").rewards.max(axis=1).mean())
    found = value(tmp_path / "out")
    assert found["low"] <= truth <= found["high"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "command.txt",
        "config.yaml",
        "evaluation.json",
        "report.md",
        "summary.json",
    ]
    shown = capsys.readouterr().out
    assert "knn (greedy) would have earned" in shown
    assert "**knn (greedy) would have been better than the logged policy**" in shown
    assert "| ips" in (tmp_path / "out" / "report.md").read_text()


def test_fixed_policies(folder: Path, tmp_path: Path) -> None:
    rewards = identity_table(n=300).data("test").rewards
    for policy, truth in (("uniform", rewards.mean()), ("adapter_2", rewards[:, 2].mean())):
        assert run(folder, tmp_path / policy, "--policy", policy) == 0
        found = value(tmp_path / policy)
        assert found["low"] <= truth <= found["high"]
    assert run(folder, tmp_path / "logged", "--policy", "logged") == 0
    summary = json.loads((tmp_path / "logged" / "summary.json").read_text())
    assert summary["snips"]["value"] == pytest.approx(summary["logged_reward"]["value"])


def test_a_table_supplies_the_embeddings(folder: Path, tmp_path: Path) -> None:
    agent = ["--run", str(folder / "run")]
    assert run(folder, tmp_path / "a", *agent) == 0
    more = ["--table", str(folder / "table")]
    assert run(folder, tmp_path / "b", *agent, *more, log="rows.jsonl") == 0
    assert value(tmp_path / "a") == pytest.approx(value(tmp_path / "b"))


def test_a_table_knows_its_queries_by_their_hash(folder: Path, tmp_path: Path) -> None:
    agent = ["--run", str(folder / "run")]
    assert run(folder, tmp_path / "a", *agent, log="log.db") == 0
    more = ["--table", str(folder / "table")]
    assert run(folder, tmp_path / "b", *agent, *more, log="hashes.db") == 0
    assert value(tmp_path / "a") == pytest.approx(value(tmp_path / "b"))


def test_several_policies_are_ranked(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    policies = f"[uniform, adapter_1, {folder / 'run'}, logged, '{__name__}:backwards']"
    more = ["--policies", policies, "--rewards", "user", "--pool", "identity-4"]
    assert run(folder, tmp_path / "out", *more, log="log.db") == 0
    shown = capsys.readouterr().out
    assert "**knn (greedy) would have been better than the logged policy**, by +" in shown
    assert f"Worse than the logged policy: {__name__}:backwards" in shown
    assert "| logged policy" in shown
    output = tmp_path / "out"
    summary = json.loads((output / "summary.json").read_text())
    assert summary["knn_greedy_minus_logged"]["low"] > 0
    content = json.loads((output / "comparison.json").read_text())
    judged = {policy["target"]: policy["judgement"] for policy in content["policies"]}
    assert judged == {
        "knn (greedy)": "better",
        "uniform": "cannot tell",
        "always adapter_1": "cannot tell",
        f"{__name__}:backwards": "worse",
    }
    before = (output / "summary.json").read_text()
    assert main(["--config", str(output / "config.yaml")]) == 0
    assert (output / "summary.json").read_text() == before


def test_one_refused_policy_does_not_spoil_the_ranking(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    policies = f"[{folder / 'run'}, adapter_0]"
    assert run(folder, tmp_path / "a", "--policies", policies, log="greedy.jsonl") == 0
    assert "Refused: knn (greedy): the weights average" in capsys.readouterr().out
    policies = f"[{folder / 'run'}]"
    assert run(folder, tmp_path / "b", "--policies", policies, log="greedy.jsonl") == 1
    assert "The log cannot tell which policy" in capsys.readouterr().out


def test_two_runs_of_one_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    policies = f"[{folder / 'run'}, {folder / 'run' / 'policy'}]"
    assert run(folder, tmp_path / "out", "--policies", policies) == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert sorted(policy["target"] for policy in content["policies"]) == [
        f"knn (greedy) of {folder / 'run'}",
        f"knn (greedy) of {folder / 'run' / 'policy'}",
    ]


def test_passwords_do_not_enter_the_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, url = read_log(folder / "log.db"), "postgresql://me:secret@host/decisions"
    monkeypatch.setattr("routing_gym.scripts.evaluate_offline.read_log", lambda *_: log)
    arguments = ["--log", url, "--policy", "uniform", "--output", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["scripts/evaluate_offline.py", *arguments])
    assert main() == 0
    for path in (tmp_path / "out").iterdir():
        assert "secret" not in path.read_text()
    assert "me:***@host" in (tmp_path / "out" / "command.txt").read_text()


def test_little_overlap_is_refused_with_a_reason(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "out"
    assert run(folder, output, "--run", str(folder / "run"), log="greedy.jsonl") == 1
    assert "**Refused**: the weights average" in capsys.readouterr().out
    content = json.loads((output / "evaluation.json").read_text())
    assert content["estimates"] == []
    assert "explore more" in content["refusals"][0]


def test_the_configuration_reads_again(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path / "out", "--policy", "uniform", "--model", "mean") == 0
    before = (tmp_path / "out" / "summary.json").read_text()
    assert main(["--config", str(tmp_path / "out" / "config.yaml")]) == 0
    assert (tmp_path / "out" / "summary.json").read_text() == before


@pytest.mark.parametrize(
    ("more", "log", "code", "message"),
    [
        (["--run", "{}/three"], "log.jsonl", 1, "is for adapters ('adapter_0', 'adapter_1'"),
        (
            ["--run", "{}/foreign"],
            "log.jsonl",
            1,
            "is for pool 'another', the log for 'identity-4'",
        ),
        (["--run", "{}/nothing"], "log.jsonl", 1, "nothing"),
        (["--run", "{}/run"], "rows.jsonl", 1, "the log holds none: log 'embedding'"),
        (["--run", "{}/run"], "none.jsonl", 1, "line 1: lacks 'propensity'"),
        (["--run", "{}/run"], "zero.jsonl", 1, "propensity 0.0 is not in (0, 1]"),
        (["--policy", "unifrom"], "log.jsonl", 1, "did you mean 'uniform'?"),
        (["--policy", "{}:lopsided"], "log.jsonl", 1, "is no distribution"),
        (["--policy", "{}:narrow"], "log.jsonl", 1, "returned shape"),
        (["--policy", "uniform"], "missing.jsonl", 1, "does not exist"),
        ([], "log.jsonl", 2, "give exactly one of --run FOLDER"),
        (["--policy", "uniform", "--policies", "[uniform]"], "log.jsonl", 2, "give exactly one of"),
        (["--policies", "[uniform, uniform]"], "log.jsonl", 1, "must be different ones"),
        (["--policies", "[logged]"], "log.jsonl", 1, "'logged', which is always ranked"),
        (["--policies", "[uniform, unifrom]"], "log.jsonl", 1, "did you mean 'uniform'?"),
        (["--policy", "uniform", "--rewards", "users"], "log.db", 2, "rewards='users' must be one"),
        (["--policy", "uniform", "--rewards", "user"], "log.jsonl", 1, "only a database has parts"),
        (["--policy", "uniform", "--pool", "x"], "log.db", 1, "holds no decision pool='x'"),
        (["--policy", "uniform", "--rewards", "self_evaluation"], "log.db", 1, "wait for feedback"),
        (["--policy", "uniform", "--decisions", "eager"], "log.jsonl", 2, "'greedy' or 'sampled'"),
        (["--policy", "uniform", "--model", "rigde"], "log.jsonl", 2, "model='rigde' is unknown"),
        (["--policy", "uniform", "--min_effective", "1"], "log.jsonl", 2, "must be at least 2"),
    ],
)
def test_bad_input_is_one_sentence(
    folder: Path,
    tmp_path: Path,
    capsys: Capture,
    more: list[str],
    log: str,
    code: int,
    message: str,
) -> None:
    place = {"--policy": __name__, "--run": str(folder)}
    filled = [text.format(place.get(more[i - 1], "")) for i, text in enumerate(more)]
    assert run(folder, tmp_path / "out", *filled, log=log) == code
    assert message in capsys.readouterr().err


def test_a_log_is_needed(capsys: Capture) -> None:
    assert main(["--policy", "uniform"]) == 2
    assert "log is missing" in capsys.readouterr().err


def test_a_sampled_agent_is_another_policy(folder: Path, tmp_path: Path) -> None:
    more = ["--run", str(folder / "run"), "--decisions", "sampled"]
    assert run(folder, tmp_path / "out", *more) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "knn (sampled)" in text
