from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from routing_gym.serving.logs import NAME, configure, log, log_exception


@pytest.fixture
def lines() -> Any:
    stream = io.StringIO()
    handler = configure("debug", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    for name in (NAME, "uvicorn"):
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).propagate = True


def test_an_event_is_one_json_object(lines: Any) -> None:
    log("request", request_id="r-1", seconds=0.5)
    (line,) = lines()
    assert line["event"] == "request"
    assert (line["request_id"], line["seconds"], line["level"]) == ("r-1", 0.5, "info")
    assert line["time"].endswith("+00:00")


def test_exceptions_show_type_and_place_and_no_message(lines: Any) -> None:
    try:
        raise RuntimeError("the prompt was: secret")
    except RuntimeError as error:
        log_exception("failed", error, request_id="r-1")
        logging.getLogger("uvicorn.error").error("Exception\n", exc_info=error)
    first, second = lines()
    assert first["error"] == second["error"] == "RuntimeError"
    assert first["where"].startswith("test_logs.py:")
    assert "secret" not in json.dumps([first, second])


def test_other_loggers_are_left_alone(lines: Any) -> None:
    logging.getLogger("some.library").error("hello")
    assert lines() == []
