from __future__ import annotations

import gc
import json
import logging
import pickle
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from routing_gym.rewards.judge import LLMJudge
from routing_gym.rewards.judge_errors import KeyRefusedError
from routing_gym.rewards.judge_settings import JudgeSettings
from tests.rewards.judge_server import (
    KEY,
    LYON,
    PARIS,
    JudgeServer,
    Make,
    Step,
    error,
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


def secrets(text: str) -> bool:
    return "very-secret" in text


def test_the_key_is_nowhere(
    make: Make,
    server: JudgeServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    server.steps.extend(
        [
            Step(content=rate(4, reason=f"you are {KEY}")),
            Step(content=KEY),
            Step(status=429, body=error(KEY)),
            Step(status=400, body=error(KEY)),
        ]
    )
    judge = make(threads=1, cache=tmp_path)
    ratings = judge.rate(numbered(6))
    server.steps.append(Step(status=401, body=error(KEY, "invalid_api_key")))
    with pytest.raises(KeyRefusedError) as raised:
        judge.rate([LYON])
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert ratings[0].verdict.reason == "you are [key]"
    assert len(list(tmp_path.rglob("*.json"))) == 5
    kept = [path.read_text() for path in tmp_path.rglob("*.json")]
    out, err = capsys.readouterr()
    stack = "".join(traceback.TracebackException.from_exception(raised.value).format())
    shown = [repr(judge), repr(judge.settings), repr(ratings), repr(raised.value), stack, out, err]
    pickles = [str(pickle.dumps(thing)) for thing in (ratings, judge.settings, raised.value)]
    assert caplog.records
    for text in (*kept, *shown, *pickles, caplog.text, json.dumps(server.seen[-1].body)):
        assert not secrets(text)


def test_no_exception_leads_to_the_key(make: Make, server: JudgeServer) -> None:
    server.steps.append(Step(status=403, body=error(KEY)))
    with pytest.raises(KeyRefusedError) as raised:
        make().rate([PARIS])
    link: BaseException | None = raised.value
    while link is not None:
        assert not hasattr(link, "request")
        assert not hasattr(link, "response")
        assert not secrets(repr(vars(link)))
        link = link.__cause__ or link.__context__


def test_nothing_that_stays_holds_the_key(make: Make, server: JudgeServer) -> None:
    judge = make()
    judge.rate([PARIS])
    gc.collect()
    found: list[Any] = [judge]
    known: set[int] = set()
    while found:
        thing = found.pop()
        if id(thing) in known or isinstance(thing, (type, type(sys))) or callable(thing):
            continue
        known.add(id(thing))
        assert not (isinstance(thing, str) and secrets(thing))
        found.extend(gc.get_referents(thing))
    assert len(known) > 10


def test_a_judge_can_be_pickled(server: JudgeServer) -> None:
    judge = LLMJudge(JudgeSettings(model="m", base_url=server.url))
    judge.rate([LYON])
    copy = pickle.loads(pickle.dumps(judge))
    assert not secrets(str(pickle.dumps(judge)))
    assert copy.rate([PARIS])[0].rating == 5
    assert copy.spending.requests == 2
