from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from routing_gym.benchmark.routellm_study import RouterSpec
from routing_gym.scripts import report_routellm
from routing_gym.scripts.report_routellm import main
from tests.benchmark.test_routellm_study import published

Capture = pytest.CaptureFixture[str]
ROUTERS = (
    '{"task_lookup": {"agent": "task_lookup", "encoder": "surface"}, '
    '"stack": {"agent": "ridge", "encoder": "tfidf+surface"}}'
)


def arguments(folder: Path) -> list[str]:
    pq.write_table(published(), folder / "routellm_small.parquet")
    return [
        *("--tables", str(folder), "--names", "[small]", "--seeds", "[0, 1, 2]"),
        *("--routers", ROUTERS, "--output", str(folder / "report"), "--runs", str(folder / "runs")),
        *("--cache", str(folder / "cache"), "--drawn", "[]"),
    ]


def test_report(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    call = arguments(tmp_path)
    assert main(call) == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *(
            "command.txt",
            "config.yaml",
            "pgr_small.png",
            "pgr_small.svg",
            "report.md",
            "runs.csv",
            "summary.json",
        ),
    }
    figures = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert set(figures["apgr_small"]) == {"value", "low", "high"}
    assert figures["apgr_small"]["value"] > 0.7
    assert figures["leaks"] == 0
    assert figures["texts_small"] == 120
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| task_lookup* |" in text
    assert text.splitlines()[2].startswith("**small**: `stack`, which reads the text alone")
    assert "Texts that stand on both sides of a draw, over all seeds: 0." in text
    assert "120 queries; weak `cheap` 0.500" in text
    assert len((tmp_path / "report" / "runs.csv").read_text().splitlines()) == 1 + 3 * 4
    assert "apgr_small" in capsys.readouterr().out

    monkeypatch.setattr(report_routellm, "run_seed", None)  # finished seeds are not run again
    assert main([*call, "--output", str(tmp_path / "again")]) == 0
    assert json.loads((tmp_path / "again" / "summary.json").read_text()) == figures


def test_only_what_decides_an_outcome_is_hashed() -> None:
    def hashed(**options: Any) -> set[str]:
        files = report_routellm.source_files({"x": RouterSpec(**options)})
        return {"/".join(path.parts[-2:]) for path in files}

    simple = hashed(agent="ridge", encoder="surface")
    assert {"agents/ridge.py", "agents/value_agent.py", "agents/agent.py"} <= simple
    assert {"adapters/surface.py", "adapters/encoder.py"} <= simple
    assert {"benchmark/routellm_study.py", "benchmark/routellm_table.py"} <= simple
    assert not simple & {"agents/__init__.py", "agents/knn.py", "adapters/embedding.py"}
    assert "adapters/tfidf.py" not in simple
    joined = hashed(agent="forest", encoder="tfidf+surface")
    assert {"agents/forest.py", "adapters/tfidf.py"} <= joined
    assert "agents/ridge.py" not in joined


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--seeds", "[1, 1]"], 2, "must be different integers"),
        (["--headline", "other"], 2, "headline='other' is not among the routers"),
        (["--drawn", "[other]"], 2, "names 'other', which is not among the routers"),
        (["--names", "[]"], 2, "names is empty"),
        (["--names", "[mmlu]"], 1, "does not exist: pass --tables"),
        (["--routers", '{"stack": {"agent": "rigde"}}'], 1, "unknown agent 'rigde'"),
        (["--routers", '{"stack": {"agnet": "ridge"}}'], 2, "router 'stack' has 'agnet'"),
    ],
)
def test_refuses(
    extra: list[str], code: int, message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main([*arguments(tmp_path), *extra]) == code
    assert message in capsys.readouterr().err
