from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from routing_gym.rewards.evaluator import SelfEvaluator
from routing_gym.rewards.judge import position_bias
from routing_gym.rewards.judge_errors import JudgeError
from routing_gym.rewards.metric import Answer
from routing_gym.rewards.registry import DEFAULT_METRICS
from tests.rewards.judge_server import (
    KEY,
    LONG,
    LYON,
    PARIS,
    QUERY,
    JudgeServer,
    Make,
    Step,
    choose,
    error,
    knows_paris,
    make_judge,
    sections,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with JudgeServer(knows_paris, key=KEY) as running:
        yield running


@pytest.fixture
def make(server: JudgeServer) -> Make:
    return partial(make_judge, server)


def test_ratings_by_the_rubric(make: Make) -> None:
    first, second, third = make().rate([PARIS, LYON, LONG])
    assert [r.rating for r in (first, second, third)] == [5, 2, 3]
    assert [r.score for r in (first, second, third)] == [1.0, 0.25, 0.5]
    assert first.verdict.reason == "because"
    assert (first.verdict.prompt_tokens, first.verdict.completion_tokens) == (100, 10)


def test_no_reference_and_no_adapter_reach_the_server(make: Make, server: JudgeServer) -> None:
    make().rate([PARIS])
    assert sections(server.seen[0].body) == {"question": QUERY, "answer": "Paris."}
    assert set(server.seen[0].body) == {
        "model", "messages", "temperature", "max_tokens", "response_format"
    }  # fmt: skip


def test_it_is_a_metric(make: Make) -> None:
    evaluator = SelfEvaluator([make(), "safety"])
    scores = evaluator.evaluate_batch([PARIS, LYON])
    assert scores["judge"].tolist() == [1.0, 0.25]
    assert evaluator.directions["judge"] == "higher"
    assert evaluator.evaluate_batch([])["judge"].shape == (0,)


def test_it_is_a_metric_by_name(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "judge.yaml"
    settings.write_text(yaml.safe_dump({"judge": {"model": "m", "base_url": server.url}}))
    monkeypatch.setenv("ROUTING_GYM_JUDGE", str(settings))
    metrics = yaml.safe_load("metrics: [safety, 'routing_gym.rewards.judge:LLMJudge']")["metrics"]
    scores = SelfEvaluator(metrics).evaluate(query=QUERY, response="Paris.")
    assert scores == {"safety": 1.0, "judge": 1.0}
    assert not any("judge" in name for name in DEFAULT_METRICS)


def test_a_metric_makes_nothing_up(make: Make, server: JudgeServer) -> None:
    server.steps.append(Step(status=400, body=error("no")))
    with pytest.raises(JudgeError, match=r"no verdict on 1 of 2 answers \(\d: HTTP 400: no\)"):
        make(threads=1).score([PARIS, LYON])


def test_nothing_to_judge(make: Make, server: JudgeServer) -> None:
    assert make().score([]).shape == (0,)
    assert make().compare([]) == []
    assert server.seen == []


def test_the_right_answer_wins_in_both_orders(make: Make, server: JudgeServer) -> None:
    judge = make(threads=1)
    one, other = judge.compare([(PARIS, LYON), (LYON, PARIS)])
    assert (one.winner, other.winner) == ("first", "second")
    assert not one.disagree
    assert one.favoured is None
    # The second pair's orders are those of the first, each asked once.
    assert [sections(seen.body)["answer A"] for seen in server.seen] == ["Paris.", "Lyon."]


def test_orders_that_disagree_are_a_tie(make: Make) -> None:
    (preference,) = make().compare([(LYON, LONG)])
    assert (preference.forward.value, preference.backward.value) == ("A", "A")
    assert (preference.winner, preference.disagree, preference.favoured) == ("tie", True, "A")


def test_position_bias_by_hand(make: Make, server: JudgeServer) -> None:
    orders = ["A", "A", "B", "B", "A", "B", "tie", "tie", "A", "tie", "broken", "A"]
    server.steps.extend(Step(content=choose(winner)) for winner in orders)
    pairs = [(Answer(QUERY, f"{i}"), Answer(QUERY, f"{i}'")) for i in range(6)]
    preferences = make(threads=1, asks=1).compare(pairs)
    assert [p.winner for p in preferences] == ["tie", "tie", "first", "tie", "tie", None]
    bias = position_bias(preferences)
    assert bias.compared == 5
    assert bias.disagreement == pytest.approx(3 / 5)
    assert (bias.favours_first, bias.favours_second) == pytest.approx((0.2, 0.2))
    assert bias.rate == pytest.approx(0.4)


def test_position_bias_of_nothing() -> None:
    assert np.isnan(position_bias([]).rate)


def test_answers_to_different_queries(make: Make, server: JudgeServer) -> None:
    with pytest.raises(ValueError, match="different queries"):
        make().compare([(PARIS, Answer("Another?", "Paris."))])
    assert server.seen == []


@pytest.mark.parametrize("package", ["openai", "tenacity"])
def test_a_missing_extra(package: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install routing-gym\[judge\]"):
        make().rate([PARIS])
