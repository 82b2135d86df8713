from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from routing_gym.rewards.judge import LLMJudge
from routing_gym.rewards.judge_errors import JudgeError, KeyRefusedError
from routing_gym.rewards.judge_settings import JudgeSettings
from routing_gym.rewards.metric import Answer
from tests.rewards.judge_server import (
    KEY,
    LYON,
    PARIS,
    QUERY,
    JudgeServer,
    Make,
    Step,
    knows_paris,
    make_judge,
    numbered,
    rate,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with JudgeServer(knows_paris, key=KEY) as running:
        yield running


@pytest.fixture
def make(server: JudgeServer) -> Make:
    return partial(make_judge, server)


def test_a_malformed_answer_is_asked_again(make: Make, server: JudgeServer) -> None:
    server.steps.extend([Step(content="Four of five!"), Step(content=rate(9))])
    judge = make()
    (rating,) = judge.rate([PARIS])
    assert (rating.rating, rating.verdict.asks) == (5, 3)
    assert rating.verdict.prompt_tokens == 300
    *_, said, again = server.seen[1].body["messages"]
    assert said == {"role": "assistant", "content": "Four of five!"}
    assert "no whole JSON object" in again["content"]
    assert judge.spending.requests == 3


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (Step(content="Four!"), "no valid verdict in 3 asks; the last time it holds no whole"),
        (Step(content=rate("4")), "not one of 1, 2, 3, 4, 5"),
        (Step(content='{"reason": "x", "rat', finish_reason="length"), "limit of tokens"),
        (Step(refusal="I must not."), "declined"),
    ],
)
def test_what_stays_malformed_failed(
    step: Step, match: str, make: Make, server: JudgeServer
) -> None:
    server.steps.extend([step] * 3)
    judge = make(threads=1)
    broken, fine = judge.rate([PARIS, LYON])
    assert (broken.rating, broken.score) == (None, None)
    assert match in broken.verdict.failure
    assert fine.rating == 2
    assert len(server.seen) == 4
    assert judge.spending.failed == 1


def test_a_failure_is_not_cached(make: Make, server: JudgeServer, tmp_path: Path) -> None:
    server.steps.extend([Step(content="?")] * 3)
    judge = make(cache=tmp_path)
    assert judge.rate([PARIS])[0].rating is None
    assert list(tmp_path.rglob("*.json")) == []
    assert judge.rate([PARIS])[0].rating == 5


def test_a_dead_server_stops_the_run(make: Make, server: JudgeServer) -> None:
    server.steps.extend([Step(status=503)] * 100)
    with pytest.raises(JudgeError, match=r"5 verdicts failed one after the other.*HTTP 503"):
        make(attempts=2, give_up_after=5, threads=1).rate(numbered(50))
    assert len(server.seen) == 10


def test_single_failures_do_not(make: Make, server: JudgeServer) -> None:
    server.steps.extend([Step(status=400), Step()] * 4)
    judge = make(give_up_after=2, threads=1)
    ratings = judge.rate(numbered(8))
    assert [r.rating for r in ratings] == [None, 5] * 4
    assert judge.spending.failed == 4


def test_threads_are_used_and_bounded(make: Make, server: JudgeServer) -> None:
    server.steps.extend([Step(delay=0.05)] * 16)
    seen: list[int] = []
    ratings = make(threads=4).rate(numbered(16), on_done=seen.append)
    assert [r.rating for r in ratings] == [5] * 16
    assert 2 <= server.most_at_once <= 4
    assert seen == [1] * 16


def test_order_is_kept_under_trouble(make: Make, server: JudgeServer) -> None:
    trouble = [Step(status=429), Step(content="?"), Step(delay=0.02), Step(drop=True), Step()]
    server.steps.extend(trouble * 6)
    answers = [Answer(QUERY, f"{i} " + "x " * (i % 4)) for i in range(40)]
    ratings = make(threads=8, asks=7, attempts=20).rate(answers)
    assert [r.rating for r in ratings] == [2 + i % 4 for i in range(40)]


def test_a_refused_key_stops_all(make: Make, server: JudgeServer, tmp_path: Path) -> None:
    server.key = "another"
    with pytest.raises(KeyRefusedError, match="refused the key of the environment variable"):
        make(threads=4, cache=tmp_path).rate(numbered(40))
    assert len(server.seen) <= 8
    assert list(tmp_path.rglob("*.json")) == []


def test_a_stopped_run_does_not_wait(server: JudgeServer) -> None:
    server.steps.extend([Step(status=429, headers={"Retry-After": "60"}), Step(status=403)])
    judge = LLMJudge(JudgeSettings(model="m", base_url=server.url, threads=2))
    start = time.monotonic()
    with pytest.raises(KeyRefusedError):
        judge.rate(numbered(9))
    assert time.monotonic() - start < 30
    assert len(server.seen) == 2


def test_what_is_paid_for_when_a_run_stops_is_kept(
    make: Make, server: JudgeServer, tmp_path: Path
) -> None:
    server.steps.extend([Step(delay=0.3), Step(status=403)])
    judge = make(threads=2, cache=tmp_path, prompt_price=1.0)
    with pytest.raises(KeyRefusedError):
        judge.rate(numbered(9))
    assert len(server.seen) == 2
    assert len(list(tmp_path.rglob("*.json"))) == 1
    assert judge.spending.cost == pytest.approx(100e-6)


def test_an_interrupted_run_keeps_what_it_has(
    make: Make, server: JudgeServer, tmp_path: Path
) -> None:
    def interrupt(done: int, count: list[int] = []) -> None:  # noqa: B006
        count.append(done)
        if len(count) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(threads=1, cache=tmp_path).rate(numbered(9), on_done=interrupt)
    assert len(list(tmp_path.rglob("*.json"))) == 3
    make(cache=tmp_path).rate(numbered(9))
    assert len(server.seen) == 9
