from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing_gym.scripts.judge_answers import main
from tests.rewards.judge_server import JudgeServer, Step, choose, rate, sections
from tests.synthetic import identity_table

Capture = pytest.CaptureFixture[str]
KEY = "sk-very-secret-0123456789"


def right(question: str, answer: str) -> bool:
    """Tell whether an answer of the identity problem names the query's adapter."""
    return re.search(r"adapter (\d+)", question)[1] == re.search(r"answer (\d+)", answer)[1]


def brain(body: dict[str, Any]) -> str:
    shown = sections(body)
    question = shown.pop("question")
    verdicts = [right(question, answer) for answer in shown.values()]
    if len(verdicts) == 1:
        return rate(5 if verdicts[0] else 2)
    return choose("A" if verdicts[0] else "B")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "identity"
    identity_table(n=80).save(folder)
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with JudgeServer(brain, key=KEY) as running:
        yield running


def run(table: Path, server: JudgeServer, folder: Path, *more: str, **judge: Any) -> int:
    settings = {"model": "m", "base_url": server.url, "cache": str(folder / "cache")} | judge
    return main(
        [
            *("--table", str(table), "--output", str(folder / "judge"), "--resamples", "200"),
            *("--answers", "40", "--pairs", "10", "--judge", json.dumps(settings), *more),
        ]
    )


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "judge" / "summary.json").read_text())
    return content


def test_a_judge_that_knows(
    table: Path, server: JudgeServer, tmp_path: Path, capsys: Capture
) -> None:
    assert run(table, server, tmp_path, prompt_price=2.0) == 0
    assert sorted(path.name for path in (tmp_path / "judge").iterdir()) == [
        "command.txt",
        "config.yaml",
        "pairs.csv",
        "ratings.csv",
        "report.md",
        "summary.json",
    ]
    figures = summary(tmp_path)
    for name in ("judge_kappa", "judge_accuracy", "judge_auroc", "pair_right", "pair_kappa"):
        assert figures[name]["value"] == 1.0
    assert figures["position_bias"]["value"] == 0
    assert (figures["answers_judged"], figures["pairs_judged"]) == (40, 10)
    assert figures["requests"] == 60
    assert figures["cost"] == pytest.approx(60 * 100 * 2e-6)
    out = capsys.readouterr().out
    assert "60 verdicts of m" in out
    assert "0 in the cache, 60 requests" in out
    assert "`judge_kappa`" in out


def test_a_judge_that_guesses(table: Path, server: JudgeServer, tmp_path: Path) -> None:
    def guess(body: dict[str, Any]) -> str:
        shown = sections(body)
        if len(shown) == 3:
            return choose("A")
        return rate(5 if int(re.findall(r"\d+", shown["question"])[0]) % 8 < 4 else 1)

    server.brain = guess
    assert run(table, server, tmp_path) == 0
    figures = summary(tmp_path)
    assert figures["judge_kappa"]["low"] < 0 < figures["judge_kappa"]["high"]
    assert figures["judge_auroc"]["low"] < 0.5 < figures["judge_auroc"]["high"]
    assert figures["position_bias"]["value"] == figures["favours_first"]["value"] == 1.0
    assert (figures["pair_right"]["value"], figures["pair_tie"]["value"]) == (0.0, 1.0)


def test_the_judge_sees_no_reference(table: Path, server: JudgeServer, tmp_path: Path) -> None:
    assert run(table, server, tmp_path) == 0
    for seen in server.seen:
        assert set(sections(seen.body)) <= {"question", "answer", "answer A", "answer B"}
        assert "adapter_" not in json.dumps(seen.body)


def test_a_second_start_costs_nothing(
    table: Path, server: JudgeServer, tmp_path: Path, capsys: Capture
) -> None:
    assert run(table, server, tmp_path, prompt_price=2.0) == 0
    first = summary(tmp_path)
    assert run(table, server, tmp_path, prompt_price=2.0) == 0
    second = summary(tmp_path)
    assert len(server.seen) == 60
    assert (second["cost"], second["requests"], second["cached"]) == (0, 0, 60)
    assert second["cost_without_cache"] == first["cost_without_cache"] == first["cost"]
    assert second["judge_kappa"] == first["judge_kappa"]
    assert "60 in the cache, 0 requests" in capsys.readouterr().out


def test_a_stopped_run_goes_on(
    table: Path, server: JudgeServer, tmp_path: Path, capsys: Capture
) -> None:
    prices = {"prompt_price": 1000.0, "completion_price": 0.0}
    assert run(table, server, tmp_path, **prices, budget=2.0) == 1
    assert "budget of 2 does not allow another request" in capsys.readouterr().err
    assert not (tmp_path / "judge").exists()
    before = len(server.seen)
    assert 10 < before < 20
    assert run(table, server, tmp_path, **prices) == 0
    assert len(server.seen) == 60
    assert summary(tmp_path)["cached"] == before


def test_a_dry_run_asks_nothing(
    table: Path, server: JudgeServer, tmp_path: Path, capsys: Capture
) -> None:
    assert run(table, server, tmp_path, "--dry_run", "true", prompt_price=2.0) == 0
    assert server.seen == []
    assert list(tmp_path.iterdir()) == []
    out = capsys.readouterr().out
    assert re.search(
        r"60 requests, at most about \d+ prompt .* at most about 0\.0\d+ in money", out
    )
    assert run(table, server, tmp_path, "--dry_run", "true") == 0
    assert "set judge.prompt_price" in capsys.readouterr().out


def test_failures_are_reported(
    table: Path, server: JudgeServer, tmp_path: Path, capsys: Capture
) -> None:
    server.steps.extend([Step(status=400)] * 2)
    assert run(table, server, tmp_path) == 1
    figures = summary(tmp_path)
    assert (figures["answers_judged"], figures["answers_failed"]) == (38, 2)
    assert "failed: 2 x HTTP 400: status 400" in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "judge" / "ratings.csv").open()))
    assert sorted(row["rating"] for row in rows)[:3] == ["", "", "2"]
    assert "| failed |" in (tmp_path / "judge" / "report.md").read_text()


def test_a_judge_that_never_answers(table: Path, server: JudgeServer, tmp_path: Path) -> None:
    server.brain = lambda body: "no comment"
    assert run(table, server, tmp_path, asks=1, give_up_after=1000) == 1
    figures = summary(tmp_path)
    assert (figures["answers_failed"], figures["pairs_failed"]) == (40, 10)
    assert "judge_kappa" not in figures


def test_the_key_is_nowhere(
    table: Path, server: JudgeServer, tmp_path: Path, capsys: Capture
) -> None:
    server.steps.extend([Step(content=rate(3, reason=KEY)), Step(content=KEY)])
    assert run(table, server, tmp_path) == 0
    server.key = "another"
    assert run(table, server, tmp_path, model="n") == 1
    out, err = capsys.readouterr()
    assert "refused the key of the environment variable OPENAI_API_KEY" in err
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("[key]" in text for text in texts)
    for text in (out, err, *texts):
        assert KEY not in text


def test_the_configuration_reads_again(table: Path, server: JudgeServer, tmp_path: Path) -> None:
    assert run(table, server, tmp_path) == 0
    saved = tmp_path / "judge" / "config.yaml"
    assert yaml.safe_load(saved.read_text())["judge"]["model"] == "m"
    before = summary(tmp_path)["judge_kappa"]
    assert main(["--config", str(saved)]) == 0
    assert summary(tmp_path)["judge_kappa"] == before
    assert len(server.seen) == 60


def test_single_settings_on_the_command_line(
    table: Path, server: JudgeServer, tmp_path: Path
) -> None:
    arguments = ["--table", str(table), "--output", str(tmp_path / "judge"), "--answers", "5"]
    judge = ["--judge.model", "m", "--judge.base_url", server.url, "--judge.threads", "2"]
    cache = ["--judge.cache", "", "--pairs", "0"]
    assert main([*arguments, *judge, *cache, "--resamples", "100"]) == 0
    assert len(server.seen) == 5
    assert not (tmp_path / "judge" / "pairs.csv").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--table", "no/such/table"], 1, "no/such/table"),
        (["--split", "tset"], 1, "split='tset' holds no query"),
        (["--answers", "0", "--pairs", "0"], 2, "nor both 0"),
        (["--answers", "-1"], 2, "answers=-1"),
        (["--right_from", "6"], 2, "right_from=6"),
        (["--resamples", "5"], 2, "resamples=5"),
        (["--judge", "{}"], 2, "the judge has no model"),
        (["--judge", '{"model": "m", "api_key": "sk-secret"}'], 2, "unknown setting 'api_key'"),
        (["--judge", '{"model": "m", "budget": 1}'], 2, "no effect without prices"),
        (["--answer", "5"], 2, "answers"),
    ],
)
def test_bad_input(
    more: list[str], code: int, message: str, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["--table", str(table), "--output", str(tmp_path / "judge"), *more]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert "sk-secret" not in error
    assert not (tmp_path / "judge").exists()
