"""`compare_training` from the command line: one study on a tiny model, and how it is resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routing_gym.queries.dataset import make_queries
from routing_gym.scripts import compare_training
from routing_gym.scripts.compare_training import main
from tests.adapters.tiny import save_tiny_adapter, save_tiny_model
from tests.synthetic import identity_table

for package in ("trl", "peft", "datasets", "reasoning_gym"):
    pytest.importorskip(package)

Capture = pytest.CaptureFixture[str]
COLUMNS = ("text", "domain", "task", "complexity", "form", "form_size", "reference")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of a base and an adapter, and a table of two tasks, all of it validation."""
    folder = tmp_path_factory.mktemp("comparison")
    base = save_tiny_model(folder / "base")
    save_tiny_adapter(folder / "reasoning", base, seed=1)
    pool = {"base_model": str(base), "adapters": {"base": None, "reasoning": "reasoning"}}
    (folder / "pool.yaml").write_text(yaml.safe_dump(pool))
    queries = make_queries({"turns": 6, "ordering": 4}, seed=0)
    table = identity_table(n=10, k=2)
    table = replace(
        table,
        query_id=np.array([query.query_id for query in queries]),
        split=np.array(["validation"] * 8 + ["test", "train"]),
        **{name: np.array([getattr(query, name) for query in queries]) for name in COLUMNS},
    )
    table.save(folder / "table")
    return folder


def command(folder: Path, tmp_path: Path, **changes: Any) -> list[str]:
    options: dict[str, Any] = {
        "studies": "[reasoning:turns]",
        "table": folder / "table",
        "pool": folder / "pool.yaml",
        "runs": tmp_path / "runs",
        "output": tmp_path / "results" / "training",
        "budget": 1e-6,
        "pilot_updates": 1,
        "examples": 4,
        "held_out": 3,
        "batch_size": 2,
        "prompts": 2,
        "generations": 2,
        "max_tokens": 3,
        "resamples": 20,
    } | changes
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def test_a_run_and_its_resumption(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = command(folder, tmp_path, arms="[sft, grpo]")
    assert main(first) == 0
    report = tmp_path / "results" / "training"
    summary = json.loads((report / "summary.json").read_text())
    assert summary["turns_sft_updates"] == summary["turns_grpo_updates"] == 1
    assert summary["turns_sft_queries"] == summary["turns_grpo_queries"] == 2
    assert 0 < summary["turns_grpo_generated_tokens"] <= 2 * 2 * 3
    assert {"value", "low", "high"} == set(summary["turns_grpo_minus_sft"])
    text = (report / "report.md").read_text()
    assert "Queries: 6 validation, 3 made, 2 others." in text
    names = {path.name for path in report.iterdir()}
    assert {"accuracy.png", "others.png", "rewards.png", "command.txt", "config.yaml"} <= names
    assert "turns: start answers" in capsys.readouterr().out

    trained: list[str] = []
    for name in ("train_grpo", "train_adapter"):
        real = getattr(compare_training, name)

        def noted(*args: Any, real: Any = real, **options: Any) -> Any:
            trained.append(str(options["output"].relative_to(tmp_path / "runs")))
            return real(*args, **options)

        monkeypatch.setattr(compare_training, name, noted)
    assert main(first) == 0
    assert trained == []
    assert json.loads((report / "summary.json").read_text()) == summary
    assert main(command(folder, tmp_path)) == 0  # with the arm that is missing
    arm = "reasoning-turns/sft_then_grpo"
    assert trained == [f"{arm}/0-sft", f"{arm}/1-grpo"]
    summary = json.loads((report / "summary.json").read_text())
    assert summary["turns_sft_then_grpo_queries"] == 4


def test_what_is_trained_on_is_not_asked(folder: Path, tmp_path: Path) -> None:
    from routing_gym.adapters.pools import load_pool
    from routing_gym.envs.table import OutcomeTable

    config = compare_training.Config(examples=40, held_out=10)
    study = compare_training.prepare(
        config,
        "reasoning:turns",
        table=OutcomeTable.load(folder / "table"),
        pool=load_pool(str(folder / "pool.yaml")),
    )
    seen = {example.query.text.casefold() for example in study.examples}
    asked = [query for queries in study.asked.values() for query in queries]
    assert len(seen) == 40
    assert not seen & {query.text.casefold() for query in asked}
    assert {query.split for query in study.asked["validation"]} == {"validation"}
    assert {query.task for query in study.asked["others"]} == {"ordering"}
    assert not seen & {example.query.text.casefold() for example in study.probes}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"studies": "[reasoning:rhyme]"}, 2, "'reasoning:rhyme' is no adapter:task"),
        ({"studies": "[poetry:rhyme]"}, 2, "domain='poetry' has no task"),
        ({"arms": "[ppo]"}, 2, "give some of sft, grpo, sft_then_grpo"),
        ({"arms": "[]"}, 2, "give some of sft"),
        ({"budget": 0}, 2, "budget=0.0: give more than 0"),
        ({"examples": 1}, 2, "examples=1 do not fill one update: give at least 2"),
        ({"studies": "[code:lists]"}, 1, "unknown adapter 'code': the pool has base, reasoning"),
        ({"generations": 1}, 1, "generations=1: give at least 2"),
    ],
)
def test_runs_that_cannot_be(
    folder: Path,
    tmp_path: Path,
    capsys: Capture,
    changes: dict[str, Any],
    code: int,
    words: str,
) -> None:
    assert main(command(folder, tmp_path, **changes)) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
