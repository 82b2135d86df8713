"""What an OpenAI-compatible server sends, read without being changed."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing_gym.serving.backend import (
    BackendBusy,
    BackendError,
    BackendEvicted,
    BackendRefused,
    Piece,
    Usage,
)

SOURCE = "the upstream server"
LONGEST_EVENT = 4 * 2**20
"""Bytes of one event, or of one body, beyond which a server is no longer believed."""
DONE = b"data: [DONE]\n\n"
_EVENT_END = re.compile(rb"\r?\n\r?\n|\r\r")
_LONGEST_END = 4
_LONGEST_MESSAGE = 300
_LONGEST_WAIT = 3600.0


class EventSplitter:
    """Cuts a stream of bytes into server-sent events, each with the empty line that ends it."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def unfinished(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._held.strip())

    def feed(self, data: bytes) -> list[bytes]:
        """Add what has arrived; return the events that it completes, unchanged.

        Raises
        ------
        BackendError
            If one event is longer than `LONGEST_EVENT`.
        """
        searched = max(0, len(self._held) - _LONGEST_END + 1)
        self._held += data
        events, start = [], 0
        for end in _EVENT_END.finditer(self._held, searched):
            events.append(bytes(self._held[start : end.end()]))
            start = end.end()
        del self._held[:start]
        if len(self._held) > LONGEST_EVENT:
            raise BackendError(f"the upstream server sent an event of over {LONGEST_EVENT} bytes.")
        return events


@dataclass(frozen=True)
class Speaker:
    """Who is to answer, and whose name an answer may not carry.

    Parameters
    ----------
    adapter
        Whose answer it is, for the error's sentence.
    others
        Names of the server's other models, the base's among them. A name that is none of them is
        accepted: some servers sign with a path.
    """

    adapter: str
    others: frozenset[str] = frozenset()

    def check(self, model: object) -> None:
        """Refuse an answer that another model signs.

        Raises
        ------
        BackendEvicted
            If it does.
        """
        if isinstance(model, str) and model in self.others:
            raise BackendEvicted(
                f"{SOURCE} answered as {model!r} for adapter {self.adapter!r}, which it seems to "
                "have lost: load the adapter there again."
            )


def event_data(event: bytes) -> bytes | None:
    """Join an event's data lines; None if it has none, as a comment that keeps a connection."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line[:5] == b"data:"]
    return b"\n".join(lines) if lines else None


def piece_of_event(event: bytes, speaker: Speaker | None = None) -> Piece:
    """Read one event; its bytes stay beside what was read.

    Parameters
    ----------
    event
        With the empty line that ends it.
    speaker
        Who is to answer; None does not ask.

    Raises
    ------
    BackendError
        If it is no chunk of a chat completion, reports an error, or is another model's.
    """
    data = event_data(event)
    if data is None or data.strip() == b"[DONE]":
        return Piece(raw=event)
    content = _object(data, "an event")
    if speaker is not None:
        speaker.check(content.get("model"))
    choice = _choice(content, needed=False)
    delta = choice.get("delta")
    return _piece(content, choice, delta if isinstance(delta, Mapping) else {}, event)


def piece_of_body(body: bytes, speaker: Speaker | None = None) -> Piece:
    """Read a whole chat completion; its bytes stay beside what was read.

    Parameters
    ----------
    body
        A JSON object.
    speaker
        Who is to answer; None does not ask.

    Raises
    ------
    BackendError
        If it is none, reports an error, or is another model's.
    """
    content = _object(body, "an answer")
    if speaker is not None:
        speaker.check(content.get("model"))
    choice = _choice(content, needed=True)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise BackendError("the upstream server sent an answer without a message.")
    piece = _piece(content, choice, message, body)
    return piece if piece.finish_reason else _replaced(piece, "stop")


def listed_models(body: bytes) -> list[Mapping[str, Any]]:
    """Read the entries of a server's list of models.

    Raises
    ------
    BackendError
        If it is none.
    """
    data = _object(body, "a list of models").get("data")
    if not isinstance(data, list):
        raise BackendError("the upstream server sent a list of models without `data`.")
    return [entry for entry in data if isinstance(entry, Mapping) and "id" in entry]


def refusal(status: int, headers: Mapping[str, str], body: bytes, *, hidden: str) -> BackendError:
    """Turn a status that is no success into the error that our client gets.

    Parameters
    ----------
    status, headers, body
        What the upstream server answered.
    hidden
        The key; it is cut out of the server's message.
    """
    said = _message(body)
    if hidden:
        said = said.replace(hidden, "***")
    said = f": {said}" if said else ""
    if status == 429:
        wait = _retry_after(headers.get("retry-after", ""))
        return BackendBusy(f"the upstream server is busy{said}.", retry_after=wait)
    if status in (401, 403):
        return BackendError(f"the upstream server refused our key ({status}): check it.")
    if status == 404:
        return BackendError(f"the upstream server has no such model or path{said}.")
    if 400 <= status < 500 and status not in (407, 408, 425):
        return BackendRefused(f"the upstream server refused the request{said}.", status=status)
    return BackendError(f"the upstream server answered with status {status}{said}.")


def _object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object that is not a report of an error."""
    try:
        content = json.loads(data)
    except ValueError:
        raise BackendError(f"the upstream server sent {what} of broken JSON.") from None
    if not isinstance(content, dict):
        raise BackendError(f"the upstream server sent {what} that is no JSON object.")
    if content.get("error"):
        said = _message(data)
        raise BackendError(f"the upstream server reported an error{': ' if said else ''}{said}.")
    return content


def _choice(content: Mapping[str, Any], *, needed: bool) -> Mapping[str, Any]:
    """Find the first of the choices; of several answers only that one is read here."""
    choices = content.get("choices")
    if not isinstance(choices, list) or (needed and not choices):
        raise BackendError("the upstream server sent an answer without choices.")
    own = [c for c in choices if isinstance(c, Mapping) and c.get("index", 0) == 0]
    return own[0] if own else {}


def _piece(
    content: Mapping[str, Any], choice: Mapping[str, Any], part: Mapping[str, Any], raw: bytes
) -> Piece:
    """Put text, finish reason and usage into a piece."""
    text, reason = part.get("content"), choice.get("finish_reason")
    return Piece(
        text=text if isinstance(text, str) else "",
        finish_reason=str(reason) if reason else None,
        usage=_usage(content.get("usage")),
        raw=raw,
    )


def _replaced(piece: Piece, reason: str) -> Piece:
    return Piece(text=piece.text, finish_reason=reason, usage=piece.usage, raw=piece.raw)


def _usage(content: object) -> Usage | None:
    """Read the counts of tokens, if they are counts."""
    if not isinstance(content, Mapping):
        return None
    counts = [content.get(name) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (c if isinstance(c, int) and c >= 0 else 0 for c in counts)
    return Usage(read, written)


def _message(body: bytes) -> str:
    """Find the sentence in an error's body, shortened and on one line."""
    try:
        content = json.loads(body)
    except ValueError:
        return ""
    for name in ("error", "message", "detail"):
        if isinstance(content, Mapping):
            content = content.get(name, content)
    said = content if isinstance(content, str) else ""
    return " ".join(said.split())[:_LONGEST_MESSAGE].rstrip(".")


def _retry_after(value: str) -> float:
    """Read a Retry-After header, seconds or a date; 1 s if it is neither."""
    try:
        wait = float(value)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            wait = 1.0
    return min(max(wait, 0.0), _LONGEST_WAIT) if wait == wait else 1.0
