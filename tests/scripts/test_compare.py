from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.agents.knn import KNNAgent
from routing_gym.agents.random import RandomAgent
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.compare import main
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
QUICK = ["knn", "task_lookup", "best_single", "random", "oracle"]


class BrokenAgent(BestSingleAgent):
    """An agent whose training fails."""

    name = "broken"

    def _fit(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")


class DyingAgent(BestSingleAgent):
    """An agent that takes its process with it."""

    name = "dying"

    def _fit(self, *_: Any, **__: Any) -> None:
        os._exit(3)


class LopsidedAgent(RandomAgent):
    """An agent whose probabilities do not sum to one."""

    name = "lopsided"

    def probabilities(
        self, observations: np.ndarray, *, mask: np.ndarray | None = None
    ) -> np.ndarray:
        return np.full((len(observations), 4), 0.3)

    def decide(self, observations: np.ndarray, **options: Any) -> Any:
        return super(RandomAgent, self).decide(observations, **options)


class PickyAgent(KNNAgent):
    """An agent that one of its settings breaks."""

    name = "picky"

    def _fit(self, *parts: Any, **options: Any) -> None:
        if self.config.neighbours == (1,):
            raise RuntimeError("one neighbour is too lonely")
        super()._fit(*parts, **options)


def priced_table(seed: int) -> OutcomeTable:
    """The identity problem with adapters that cost more and more tokens."""
    made = identity_table(n=120, seed=seed)
    tokens = made.completion_tokens * np.arange(1, 5)
    return replace(made, completion_tokens=tokens)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=120).save(folder)
    return folder


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("priced")
    for seed, name in enumerate(("first", "second")):
        priced_table(seed).save(root / name)
    return {name: str(root / name) for name in ("first", "second")}


def run(
    tables: Path | dict[str, str], folder: Path, *more: str, agents: Sequence[str] = QUICK
) -> int:
    named = {"identity": str(tables)} if isinstance(tables, Path) else tables
    values = {
        "tables": json.dumps(named),
        "output": folder / "routing",
        "runs": folder / "runs",
        "pool": folder / "pool",
        "agents": json.dumps(list(agents)),
        "seeds": "[0, 1]",
        "resamples": 200,
        "workers": 1,
        "trials": 1,
        "search": "{}",
        "encoders": "{}",
        "shares": "[]",
        "options": "{}",
        "names": "{}",
    }
    arguments = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    return main([*arguments, *more])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_report_of_the_identity_problem(table: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "memory.json").write_text('{"pool_mb": 1, "separate_models_mb": 4}')
    assert run(table, tmp_path) == 0
    output = tmp_path / "routing"
    pictures = ("arm_usage", "comparison", "profiles", "reward_against_truth")
    assert {path.name for path in output.iterdir()} == {
        *("command.txt", "report.md", "runs.csv", "summary.json"),
        *(f"{name}.{kind}" for name in pictures for kind in ("png", "svg")),
    }
    figures = json.loads((output / "summary.json").read_text())
    assert figures["routing_accuracy"]["value"] > 0.9
    assert figures["accuracy_gain_over_best_single"]["value"] > 2
    assert figures["seconds_over_best_single"]["value"] == pytest.approx(1.0)
    assert figures["quality_gain_over_best_single"]["low"] > 0
    assert figures["memory_over_separate_models"] == 0.25
    assert "ppo_minus_best_single_low" not in figures
    assert "best_full_gap_closed" not in figures  # kNN is a baseline
    assert "| knn" in capsys.readouterr().out
    assert len(rows(output / "runs.csv")) == len(QUICK) * 2 * 2
    text = (output / "report.md").read_text()
    assert "`knn` trained on" in text
    assert "## Reward against truth" in text


def test_everything_on_two_tables(priced: dict[str, str], tmp_path: Path) -> None:
    agents = ["knn", "ridge", "linucb", "task_lookup", "best_single", "random", "oracle"]
    search = {"knn": {}, "ridge": {"penalties": [[0.1], [9]]}, "linucb": {"batch_size": [4, 8]}}
    more = ["--search", json.dumps(search), "--trials", "2", "--shares", "[0.25, 0.5]"]
    options = ["--options", '{"linucb": {"evaluate_every": 20}}']
    assert run(priced, tmp_path, *more, *options, agents=agents) == 0
    for name in priced:
        check_report(tmp_path / "routing" / name, agents)
        folder = tmp_path / "runs" / name
        assert len([*folder.glob("*.json")]) == len(agents) * 2 * 2
        assert len([*(folder / "tuning").glob("*.json")]) == 2 * 2 * 2
        full = ("knn", "ridge")
        assert len([*(folder / "shares").glob("*.json")]) == len(full) * 2 * 2
        events = {path.name for path in (folder / "tensorboard").iterdir()}
        assert len(events) == len(agents) * 2 * 2
        assert "linucb-self_evaluated-1" in events
    one, two = (tmp_path / "routing" / name / "summary.json" for name in priced)
    assert one.read_text() != two.read_text()


def check_report(output: Path, agents: list[str]) -> None:
    """Check the files of one table: complete, tidy and named."""
    text = (output / "report.md").read_text()
    pictures = set(re.findall(r"\]\((\w+)\.png\)", text))
    drawn = {path.stem for path in output.glob("*.png")}
    assert pictures == drawn == {path.stem for path in output.glob("*.svg")}
    assert drawn == {
        *("arm_usage", "comparison", "learning_curves", "profiles", "regret"),
        *("reward_against_truth", "trade_offs"),
    }
    found = ("The answer", "Interquartile means", "Regimes", "Probability of improvement")
    for section in (*found, "Learning curves", "Tuning"):
        assert f"\n## {section}\n" in text
    assert re.search(r"full information \(`ridge`\): .*(above|below) .*best_single", text)
    assert "\n## Failed runs\n" not in text
    runs = rows(output / "runs.csv")
    assert len(runs) == len(agents) * 2 * 2
    assert {run["agent"] for run in runs} == set(agents)
    linucb = [run for run in runs if run["agent"] == "linucb"]
    assert {run["outcomes"] for run in linucb} == {str(round(0.4 * 72 * 4))}
    assert all(0 <= float(run["entropy"]) <= 1 for run in runs)
    curves = rows(output / "curves.csv")
    assert {curve["agent"] for curve in curves} == {"knn", "ridge", "linucb"}
    assert {c["outcomes"] for c in curves if c["agent"] == "knn"} == {"72", "144", "288"}
    assert {bool(c["regret"]) for c in curves if c["feedback"] == "full"} == {False}
    trade_offs = rows(output / "trade_offs.csv")
    assert list(trade_offs[0]) == ["agent", "cost", "accuracy"]
    assert {row["agent"] for row in trade_offs} == set(agents)
    figures = json.loads((output / "summary.json").read_text())
    assert figures["best_bandit_over_full"]["value"] > 0.5
    assert isinstance(figures["best_full_gap_closed_low"], float)
    assert "trials: 2 (seeds 1000)" in (output / "command.txt").read_text()


def test_ppo_and_the_supervised_routers(table: Path, tmp_path: Path) -> None:
    options = {"gumbel": {"epochs": 3}, "softmax": {"epochs": 3}, "ppo": {"total_steps": 4096}}
    agents = ["ppo", "gumbel", "softmax"]
    assert run(table, tmp_path, "--options", json.dumps(options), agents=agents) == 0
    figures = json.loads((tmp_path / "routing" / "summary.json").read_text())
    for name in ("ppo_minus_best_single_low", "ppo_over_supervised", "gumbel_minus_softmax"):
        assert name in figures


def test_a_second_start_skips_finished_runs_and_a_third_repeats_the_second(
    table: Path, tmp_path: Path
) -> None:
    assert run(table, tmp_path, agents=["knn", "oracle"]) == 0
    assert "minutes: " in (tmp_path / "routing" / "command.txt").read_text()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.json")}
    assert len(times) == 8
    assert run(table, tmp_path, agents=["knn", "oracle", "random"]) == 0
    assert "minutes: " not in (tmp_path / "routing" / "command.txt").read_text()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(list((tmp_path / "runs").glob("*.json"))) == 12
    saved = tmp_path / "runs" / "config.yaml"
    assert yaml.safe_load(saved.read_text())["agents"] == ["knn", "oracle", "random"]
    before = (tmp_path / "routing" / "summary.json").read_text()
    assert main(["--config", str(saved)]) == 0
    assert (tmp_path / "routing" / "summary.json").read_text() == before


def test_a_failed_run_is_reported_and_the_exit_says_so(
    table: Path, tmp_path: Path, capsys: Capture
) -> None:
    names = {"broken": f"{__name__}:BrokenAgent", "lopsided": f"{__name__}:LopsidedAgent"}
    more = ["--names", json.dumps(names)]
    assert run(table, tmp_path, *more, agents=["knn", *names]) == 1
    error = capsys.readouterr().err
    assert "failed: broken / self_evaluated / seed 0: RuntimeError: out of luck\n" in error
    assert (
        "failed: lopsided / accuracy / seed 1: ValueError: probabilities[0] = [0.3, 0.3, 0.3, 0.3] "
        "is no distribution: give values of at least 0 that sum to 1.\n"
    ) in error
    text = (tmp_path / "routing" / "report.md").read_text()
    assert "## Failed runs" in text
    assert "out of luck" in text
    status = {run["agent"]: run["status"] for run in rows(tmp_path / "routing" / "runs.csv")}
    assert status == {"knn": "finished", "broken": "failed", "lopsided": "failed"}


def test_a_trial_that_fails_is_a_failed_run(table: Path, tmp_path: Path, capsys: Capture) -> None:
    names = {"picky": f"{__name__}:PickyAgent"}
    search = {"picky": {"neighbours": [[1], [3]]}}
    more = ["--names", json.dumps(names), "--search", json.dumps(search), "--trials", "3"]
    assert run(table, tmp_path, *more, agents=["picky"]) == 1
    assert "seed 1000: RuntimeError: one neighbour is too lonely" in capsys.readouterr().err
    assert "too lonely" in (tmp_path / "routing" / "report.md").read_text()


def test_a_process_that_dies_is_a_failed_run(table: Path, tmp_path: Path, capsys: Capture) -> None:
    names = json.dumps({"dying": f"{__name__}:DyingAgent"})
    more = ["--names", names, "--workers", "2", "--seeds", "[0]", "--rewards", '{"accuracy": {}}']
    assert run(table, tmp_path, *more, agents=["dying"]) == 1
    assert "failed: dying / accuracy / seed 0: WorkerDied: " in capsys.readouterr().err
    status = {run["agent"]: run["status"] for run in rows(tmp_path / "routing" / "runs.csv")}
    assert status == {"dying": "failed"}


def test_an_agent_is_trained_on_the_rewards_that_it_reads(table: Path, tmp_path: Path) -> None:
    rewards = ["--rewards", '{"first": {"accuracy": 1}, "second": {"accuracy": 2}}']
    more = ["--trained_on", '{"knn": ["first"]}', "--seeds", "[0]"]
    assert run(table, tmp_path, *rewards, *more, agents=["knn", "oracle"]) == 0
    found = [(row["agent"], row["trained_on"]) for row in rows(tmp_path / "routing" / "runs.csv")]
    assert found == [("knn", "first"), ("oracle", "first"), ("oracle", "second")]


def test_an_imported_table_has_no_default_reward(tmp_path: Path, capsys: Capture) -> None:
    lines = ["query_id,query,arm,score"]
    lines += [
        f"q{i},question {i},{arm},{int(i % 2 == n)}"
        for i in range(60)
        for n, arm in enumerate(("a", "b"))
    ]
    (tmp_path / "mine.csv").write_text("\n".join(lines), "utf-8")
    OutcomeTable.from_tidy(tmp_path / "mine.csv").save(tmp_path / "mine")
    assert run(tmp_path / "mine", tmp_path, agents=["knn", "best_single"]) == 1
    assert "has no metric quality" in capsys.readouterr().err
    remedy = ["--rewards", "{accuracy: {accuracy: 1}}"]
    assert run(tmp_path / "mine", tmp_path, *remedy, agents=["knn", "best_single"]) == 0


def test_a_comparison_in_which_all_fails(table: Path, tmp_path: Path) -> None:
    names = json.dumps({"broken": f"{__name__}:BrokenAgent"})
    assert run(table, tmp_path, "--names", names, agents=["broken"]) == 1
    assert json.loads((tmp_path / "routing" / "summary.json").read_text()) == {}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--tables", '{"t": "no/such/table"}'], 1, "no/such/table"),
        (["--tables", "{}"], 2, "tables is empty"),
        (["--agents", '["knnn"]'], 1, "unknown agent 'knnn'"),
        (["--agents", '["knn"]', "--options", '{"knn": {"neighbors": 3}}'], 1, "neighbors"),
        (["--rewards", '{"r": {"relevanse": 1}}'], 1, "relevanse"),
        (["--rewards", "{}"], 2, "rewards is empty"),
        (["--trained_on", '{"knn": ["luck"]}'], 2, "trained_on has ['luck'] for 'knn'"),
        (["--trained_on", '{"knnn": ["accuracy"]}'], 2, "trained_on has settings for 'knnn'"),
        (["--seeds", "[0, 0]"], 2, "seeds=[0, 0]"),
        (["--seeds", "many"], 2, "seeds"),
        (["--resamples", "10"], 2, "resamples=10"),
        (["--workers", "-1"], 2, "workers=-1"),
        (["--executor", "rey"], 2, "unknown executor 'rey'"),
        (["--trials", "0"], 2, "trials=0"),
        (["--trials", "2"], 1, "agent 'knn' has no search space"),
        (["--trials", "2", "--tuning_seeds", "[1, 7]"], 1, "tuning_seeds=[1, 7]"),
        (["--shares", "[1.5]"], 1, "shares=[1.5] must lie between 0 and 1"),
        (["--search", '{"knnn": {}}'], 2, "search has settings for 'knnn'"),
        (["--encoders", '{"knnn": "tfidf"}'], 2, "encoders has settings for 'knnn'"),
        (["--encoders", '{"knn": "tfidff"}'], 1, "unknown encoder 'tfidff'"),
        (["--trials", "3", "--search", '{"knn": {"neighbours": 3}}'], 1, "search of agent 'knn'"),
        (["--options", '{"ppoo": {}}'], 2, "options has settings for 'ppoo'"),
        (["--resample", "200"], 2, "resamples"),
        (["--config", "no.yaml"], 2, "no.yaml"),
    ],
)
def test_bad_input(
    more: list[str], code: int, message: str, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(table, tmp_path, *more) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "routing").exists()
    assert not list((tmp_path / "runs").glob("*.json"))


def test_a_table_with_one_arm(table: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(table, tmp_path / "narrow")
    manifest = tmp_path / "narrow" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["adapters"] = content["adapters"][:1]
    manifest.write_text(json.dumps(content))
    assert run(tmp_path / "narrow", tmp_path) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "must be at least two different, non-empty names" in error
    assert not (tmp_path / "runs").exists()


def test_help(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert "Training seeds" in capsys.readouterr().out
