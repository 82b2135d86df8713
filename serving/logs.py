"""Structured logs: one JSON object a line, with request ids, without prompts or keys.

Nothing that a client sent is ever logged, except the request id (restricted to harmless
characters) and the route's template. Exceptions are logged by their type and place, not by their
message, which may quote an input.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

NAME = "routing_gym.serving"
_OWN = Path(__file__).resolve().parents[1]
_logger = logging.getLogger(NAME)


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: time, level, event, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            entry |= describe(record.exc_info[1])
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure(level: str = "info", *, stream: TextIO | None = None) -> logging.Handler:
    """Send the server's and uvicorn's events to a stream as JSON lines.

    Parameters
    ----------
    level
        Least severe events that are written.
    stream
        By default stderr.

    Returns
    -------
    logging.Handler
        What writes; `logging.Logger.removeHandler` undoes it.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in (NAME, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    # Its lines hold whole URLs; ours name the route instead.
    logging.getLogger("uvicorn.access").disabled = True
    return handler


def log(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Write an event.

    Parameters
    ----------
    event
        What happened, in a few fixed words.
    level
        Its severity, a constant of `logging`.
    **fields
        Numbers, names and ids; nothing that a client wrote.
    """
    if _logger.isEnabledFor(level):
        _logger.log(level, event, extra={"fields": fields})


def log_exception(event: str, error: BaseException, **fields: Any) -> None:
    """Write an event with the type and place of an exception, at the level of errors."""
    log(event, level=logging.ERROR, **fields, **describe(error))


def describe(error: BaseException) -> dict[str, str]:
    """Name an exception's type and where it was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if frame.filename.startswith(str(_OWN))] or list(frames)
    where = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "unknown"
    return {"error": type(error).__name__, "where": where}


def _event(record: logging.LogRecord) -> str:
    """Return the message of our own or of uvicorn's record; of others only where they are from."""
    if record.name == NAME:
        return str(record.msg)
    if record.exc_info or not isinstance(record.msg, str):
        return "exception"
    return record.getMessage()
