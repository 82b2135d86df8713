"""The paraphraser: a real server on loopback, a cache that pays once, failures that end in None."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routing_gym.rewards.judge_errors import JudgeError
from routing_gym.rewards.judge_settings import JudgeSettings
from routing_gym.rewards.paraphraser import Paraphraser, paraphraser_settings
from tests.rewards.judge_server import KEY, JudgeServer, Step

pytest.importorskip("openai")


def kindly(body: dict[str, Any]) -> str:
    return f'"Kindly: {body["messages"][-1]["content"]}"'


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer(kindly) as running:
        yield running


def make(server: JudgeServer, folder: Path, **settings: Any) -> Paraphraser:
    values = {"url": server.url, "model": "m", "attempts": 2, **settings}
    made = paraphraser_settings(values, cache=str(folder / "replies"))
    return Paraphraser(made, sleep=lambda seconds: None)


def test_texts_come_back_in_other_words(server: JudgeServer, tmp_path: Path) -> None:
    scribe = make(server, tmp_path)
    assert scribe.name == "m"
    assert scribe(["One?", "Two?", "One?"]) == ["Kindly: One?", "Kindly: Two?", "Kindly: One?"]
    assert len(server.seen) == 2
    assert "response_format" not in server.seen[0].body


def test_replies_are_paid_for_once(server: JudgeServer, tmp_path: Path) -> None:
    first = make(server, tmp_path)(["One?"])
    assert make(server, tmp_path)(["One?"]) == first
    assert len(server.seen) == 1
    make(server, tmp_path, model="other")(["One?"])
    assert len(server.seen) == 2


def test_a_request_that_fails_gives_none(server: JudgeServer, tmp_path: Path) -> None:
    server.steps.extend([Step(status=500), Step(status=500)])
    scribe = make(server, tmp_path, threads=1)
    assert scribe(["One?", "Two?"]) == [None, "Kindly: Two?"]
    server.steps.append(Step(status=503))  # once is waited for
    assert scribe(["One?"]) == ["Kindly: One?"]
    server.steps.append(Step(finish_reason="length"))
    assert scribe(["Three?"]) == [""]


def test_a_dead_server_ends_the_run(server: JudgeServer, tmp_path: Path) -> None:
    server.steps.extend(Step(status=500) for _ in range(20))
    with pytest.raises(JudgeError, match="3 paraphrases failed one after the other"):
        make(server, tmp_path, give_up_after=3, threads=1)(["a?", "b?", "c?", "d?"])


def test_a_refused_key_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-wrong-and-secret")
    with JudgeServer(kindly, key=KEY) as server, pytest.raises(JudgeError, match="A_KEY") as caught:
        make(server, tmp_path, key_variable="A_KEY")(["One?"])
    assert "sk-wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "m"}, "needs both"),
        ({"url": "http://127.0.0.1:1/v1"}, "needs both"),
        ({"url": "http://127.0.0.1:1/v1", "model": "m", "retries": 1}, "unknown setting 'retries'"),
        ({"url": "ftp://x", "model": "m"}, "not a server's URL"),
    ],
)
def test_bad_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paraphraser_settings(values, cache="")


def test_settings_are_the_judges() -> None:
    made = paraphraser_settings({"url": "http://127.0.0.1:1/v1", "model": "m"}, cache="c")
    assert isinstance(made, JudgeSettings)
    assert (made.structured, made.cache, made.url) == ("none", "c", "http://127.0.0.1:1/v1")
