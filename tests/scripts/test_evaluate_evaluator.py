from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.adversarial import AdversarialPair, write_pairs
from routing_gym.rewards.metric import Answer
from routing_gym.scripts import evaluate_evaluator, train_quality
from routing_gym.scripts.evaluate_evaluator import main
from tests.benchmark.judged import judged_table

Capture = pytest.CaptureFixture[str]
AGENTS = ["knn", "task_lookup", "best_single", "random", "oracle"]


class HashEncoder:
    """Embeds texts by their letters, without a model."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.count(letter) for letter in "adefimnoprstuwxy"] for text in texts])
        return (counts + 0.01).astype(np.float32) / np.linalg.norm(
            counts + 0.01, axis=1, keepdims=True
        ).astype(np.float32)


@contextmanager
def without_models() -> Iterator[None]:
    """Embed texts by their letters in both commands."""
    with pytest.MonkeyPatch.context() as patch:
        for command in (evaluate_evaluator, train_quality):
            patch.setattr(command, "Encoder", HashEncoder)
        yield


def adversarial_pairs(table: OutcomeTable) -> list[AdversarialPair]:
    """Make two pairs of each of some test queries, with everything measured."""
    pairs = []
    for number, row in enumerate(np.flatnonzero(table.split == "test")[:20]):
        for rule, wrong in (("echo", str(table.text[row])), ("run_on", "right, and more")):
            sides = {
                side: Answer(
                    query=str(table.text[row]),
                    response=text,
                    completion_tokens=len(text),
                    seconds=0.1,
                    log_likelihood=-0.5,
                    p_true=0.5,
                    token_log_probs=(-0.1, -0.2),
                    token_entropies=(0.3, 0.4),
                )
                for side, text in (("right_answer", "right"), ("wrong_answer", wrong))
            }
            pairs.append(
                AdversarialPair(
                    pair_id=f"{number}-{rule}",
                    rule=rule,
                    made="rule",
                    query_id=str(table.query_id[row]),
                    domain=str(table.domain[row]),
                    task=str(table.task[row]),
                    adapter_right="adapter_0",
                    adapter_wrong="adapter_0",
                    **sides,
                )
            )
    return pairs


def disputed_table() -> OutcomeTable:
    """Turn some verdicts round, so that no model can be right on all answers."""
    table = judged_table()
    truth = table.scores["accuracy"]
    turned = np.random.default_rng(0).random(truth.shape) < 0.08
    scores = {**table.scores, "accuracy": np.where(turned, 1 - truth, truth)}
    return dataclasses.replace(table, scores=scores)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a table, its quality model, pairs and measured times."""
    folder = tmp_path_factory.mktemp("inputs")
    disputed_table().save(folder / "table")
    with without_models():
        arguments = ["--table", folder / "table", "--output", folder / "quality"]
        arguments += ["--work", folder / "work", "--epochs", 10, "--folds", 2]
        arguments += ["--query_axes", 4, "--response_axes", 4]
        assert train_quality.main([str(argument) for argument in arguments]) == 0
    table = OutcomeTable.load(folder / "table")
    write_pairs(adversarial_pairs(table), folder / "adversarial.parquet")
    times = {"scoring_over_generation": {"value": 0.05, "low": 0.04, "high": 0.06}, "answers": 64}
    (folder / "scoring.json").write_text(json.dumps(times))
    return folder


def run(inputs: Path, output: Path, *more: str) -> int:
    paths = {
        "table": inputs / "table",
        "quality": inputs / "quality",
        "work": inputs / "work",
        "adversarial": inputs / "adversarial.parquet",
        "scoring": inputs / "scoring.json",
        "samples": inputs / "samples.parquet",
        "output": output / "self_evaluator",
        "runs": output / "runs",
    }
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    quick = ["--agents", json.dumps(AGENTS), "--kept_agent", "knn", "--seeds", "[0, 1]"]
    return main([*arguments, *quick, "--resamples", "100", *more])


@pytest.fixture(scope="module")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a report, in a folder that holds another file."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "self_evaluator").mkdir()
    (folder / "self_evaluator" / "judge.json").write_text("{}")
    with without_models():
        assert run(inputs, folder) == 0
    return folder


def test_figures(finished: Path) -> None:
    figures = json.loads((finished / "self_evaluator" / "summary.json").read_text())
    for name in ("auroc_overall", "auroc_domain_min", "auroc_plain", "auroc_best_single_metric",
                 "adversarial_right", "ece", "ece_before", "conformal_coverage",
                 "conformal_mean_size", "error_auroc", "error_auroc_mc_dropout",
                 "error_auroc_ensemble", "error_auroc_token_entropy", "accuracy_kept",
                 "accuracy_kept_min", "scoring_over_generation", "reward_hacking_quality",
                 "reward_hacking_plain_sum", "reward_hacking_oracle"):  # fmt: skip
        assert set(figures[name]) == {"value", "low", "high"}, name
    assert figures["auroc_overall"]["value"] > 0.75  # but for the turned verdicts it would be 1
    assert figures["accuracy_kept"] == figures["accuracy_kept_knn"]
    assert "answers" not in figures
    assert "consistency_agreement" not in figures


def test_folder(finished: Path, inputs: Path) -> None:
    output = finished / "self_evaluator"
    pictures = ("accuracy_kept", "adversarial", "hacking", "ranking", "reliability", "reward_gap",
                "risk_coverage", "set_sizes")  # fmt: skip
    assert {path.name for path in output.iterdir()} == {
        *("command.txt", "judge.json", "report.md", "summary.json"),
        *(f"{name}.{kind}" for name in pictures for kind in ("png", "svg")),
    }
    assert "No further answers were sampled" in (output / "report.md").read_text()
    table = OutcomeTable.load(inputs / "table")
    assert f"table: {table.fingerprint}" in (output / "command.txt").read_text()
    saved = yaml.safe_load((finished / "runs" / "config.yaml").read_text())
    assert saved["agents"] == AGENTS


def test_a_second_start_keeps_runs_and_uses_sampled_answers(
    finished: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_evaluator, "evaluator_plots", lambda report: {})
    shutil.copytree(finished, tmp_path / "again")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "again/runs").glob("*-*.json")}
    assert len(times) == len(AGENTS) * 3 * 2
    table = OutcomeTable.load(inputs / "table").where(split="test")
    rows = [
        {"query_id": query_id, "adapter": adapter, "sample": number, "response": f"say {number}"}
        for query_id in table.query_id
        for adapter in table.adapters
        for number in range(2)
    ]
    for row, response in zip(rows[:60:2], table.responses.ravel(), strict=False):
        row["response"] = response
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "samples.parquet")
    samples = ["--samples", str(tmp_path / "samples.parquet")]
    with without_models():
        assert run(inputs, tmp_path / "again", *samples) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    before, after = (
        json.loads((folder / "self_evaluator" / "summary.json").read_text())
        for folder in (finished, tmp_path / "again")
    )
    assert after["consistency_answers"] == len(rows) / 2
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("adversarial", "scripts/make_adversarial.py"),
        ("scoring", "scripts/measure_scoring.py"),
        ("quality", "scripts/train_quality.py"),
        ("table", "nowhere"),
    ],
)
def test_a_missing_input_names_what_makes_it(
    missing: str, message: str, inputs: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(inputs, tmp_path, f"--{missing}", str(tmp_path / "nowhere")) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "self_evaluator").exists()
    assert not (tmp_path / "runs").exists()


def test_pairs_of_train_queries_are_refused(inputs: Path, tmp_path: Path, capsys: Capture) -> None:
    table = OutcomeTable.load(inputs / "table")
    strange = OutcomeTable.load(inputs / "table").subset(table.split != "validation")
    split = np.where(strange.split == "train", "test", "train").astype(object)
    pairs = adversarial_pairs(dataclasses.replace(strange, split=split))
    write_pairs(pairs, tmp_path / "pairs.parquet")
    assert run(inputs, tmp_path, "--adversarial", str(tmp_path / "pairs.parquet")) == 1
    assert "20 queries outside the test split" in capsys.readouterr().err


def test_a_column_of_another_model_is_refused(
    inputs: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(inputs / "table", tmp_path / "table")
    judged_table().save(tmp_path / "table", overwrite=True)  # its quality is not the model's
    assert run(inputs, tmp_path, "--table", str(tmp_path / "table")) == 1
    assert "away from what the quality model predicts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--resamples", "10"], "resamples=10"),
        (["--level", "1.5"], "level=1.5"),
        (["--passes", "1"], "passes=1"),
        (["--seeds", "[0, 0]"], "seeds=[0, 0]"),
        (["--kept_agent", "ppo"], "'ppo' has settings"),
        (["--resample", "200"], "resamples"),
    ],
)
def test_bad_settings(
    more: list[str], message: str, inputs: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(inputs, tmp_path, *more) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
