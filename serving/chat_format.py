"""Answers in OpenAI's form: whole bodies, server-sent events, and requests for a back end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from routing_gym.serving.backend import ChatRequest, Message, Piece, Usage
from routing_gym.serving.decisions import Choice
from routing_gym.serving.errors import dump_json
from routing_gym.serving.protocol import ChatCompletionRequest
from routing_gym.serving.settings import ServeConfig

DONE = b"data: [DONE]\n\n"
_OURS = frozenset(
    (
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "stop",
        "seed",
        "stream",
        "n",
    )
)


class AnswerFormat:
    """Writes one answer's JSON.

    Parameters
    ----------
    adapter
        Who answers.
    identity
        Of the answer.
    created
        UNIX time in seconds.
    include_usage
        Whether a stream ends with the tokens that were used.
    """

    def __init__(
        self, adapter: str, *, identity: str, created: int, include_usage: bool = False
    ) -> None:
        self._adapter = adapter
        self._identity = identity
        self._created = created
        self._include_usage = include_usage
        self._began = False
        name = json.dumps(adapter, ensure_ascii=False)
        self._named = (f'"model":{name}'.encode(), f'"model": {name}'.encode())

    def events(self, piece: Piece) -> bytes:
        """Return the events that bring a piece to the client; may be none."""
        if piece.raw is not None:
            return self._relayed_event(piece.raw)
        events = b""
        if not self._began and (piece.text or piece.finish_reason):
            self._began = True
            events += self._chunk({"role": "assistant", "content": ""})
        if piece.text:
            events += self._chunk({"content": piece.text})
        if piece.finish_reason:
            events += self._chunk({}, finish_reason=piece.finish_reason)
        return events

    def ending(self, usage: Usage | None, *, relayed: bool) -> bytes:
        """Return the last events; a relayed stream has brought its own."""
        if relayed:
            return b""
        last = b""
        if self._include_usage:
            last = _event(self._head("chat.completion.chunk") | {"choices": [], **_usage(usage)})
        return last + DONE

    def body(self, pieces: list[Piece]) -> bytes:
        """Return the whole answer."""
        if len(pieces) == 1 and pieces[0].raw is not None:
            return self._renamed(pieces[0].raw)
        reasons = [piece.finish_reason for piece in pieces if piece.finish_reason]
        text = "".join(piece.text for piece in pieces)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": reasons[-1] if reasons else None,
        }
        return dump_json(
            self._head("chat.completion") | {"choices": [choice], **_usage(usage_of(pieces))}
        )

    def _head(self, kind: str) -> dict[str, Any]:
        """Return the fields that every object begins with."""
        return {
            "id": self._identity,
            "object": kind,
            "created": self._created,
            "model": self._adapter,
        }

    def _chunk(self, delta: Mapping[str, str], *, finish_reason: str | None = None) -> bytes:
        """Return one event with a part of the answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        content = self._head("chat.completion.chunk") | {"choices": [choice]}
        if self._include_usage:
            content["usage"] = None
        return _event(content)

    def _relayed_event(self, event: bytes) -> bytes:
        """Relay an upstream event as it is, unless it calls the adapter by another name."""
        if any(name in event for name in self._named) or b'"model"' not in event:
            return event
        lines = []
        for line in event.splitlines():
            if line.startswith(b"data:"):
                line = b"data: " + self._renamed(line.removeprefix(b"data:"))
            lines.append(line)
        return b"\n".join(lines).rstrip(b"\n") + b"\n\n"

    def _renamed(self, raw: bytes) -> bytes:
        """Put the adapter's name into an upstream object."""
        if any(name in raw for name in self._named):
            return raw
        try:
            content = json.loads(raw)
        except ValueError:
            return raw
        if not isinstance(content, dict):
            return raw
        return dump_json(content | {"model": self._adapter})


def error_event(body: Mapping[str, Any]) -> bytes:
    """Return the event that ends a stream which has failed."""
    return _event(body)


def usage_of(pieces: list[Piece]) -> Usage | None:
    """Return the tokens of an answer; None if the back end did not count them."""
    counted = [piece.usage for piece in pieces if piece.usage is not None]
    return counted[-1] if counted else None


def decision_headers(adapter: str, choice: Choice | None) -> dict[str, str]:
    """Name who answers, and if it was decided, how."""
    headers = {"x-adapter-id": header_value(adapter)}
    if choice is not None:
        headers |= {
            "x-decision-id": choice.decision_id,
            "x-propensity": repr(choice.propensity),
            "x-policy-version": header_value(choice.policy_version),
        }
    return headers


def header_value(text: str) -> str:
    """Return a text as a header may hold it."""
    return text if text.isascii() and text.isprintable() else quote(text)


def routed_text(body: ChatCompletionRequest) -> str | None:
    """Return the text of the last user message; None if there is no user message."""
    for message in reversed(body.messages):
        if message.role == "user":
            return _text(message.content)
    return None


def backend_request(
    body: ChatCompletionRequest, content: Mapping[str, Any], config: ServeConfig
) -> ChatRequest:
    """Turn a client's request into a back end's.

    Parameters
    ----------
    body
        The validated request.
    content
        The JSON object that it was made from.
    config
        Limits and defaults of the tokens.
    """
    asked = body.max_completion_tokens or body.max_tokens or config.default_max_tokens
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return ChatRequest(
        messages=tuple(
            Message(message.role, _text(message.content), _payload(raw))
            for message, raw in zip(body.messages, content["messages"], strict=True)
        ),
        max_tokens=min(asked, config.max_tokens),
        temperature=body.temperature or 0.0,
        stop=tuple(stop),
        seed=body.seed,
        streaming=bool(body.stream),
        extra={name: value for name, value in content.items() if name not in _OURS},
    )


def _text(content: str | list[Any] | None) -> str:
    """Return a message's text; of several parts, those that are text, a line each."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content if part.type == "text")


def _payload(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a message as it was sent, if role and text do not say all of it."""
    if raw.keys() <= {"role", "content"} and isinstance(raw.get("content"), str):
        return None
    return raw


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Return the field ``usage``; null if the back end did not count."""
    if usage is None:
        return {"usage": None}
    read, written = usage.prompt_tokens, usage.completion_tokens
    total = read + written
    return {"usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": total}}


def _event(content: Any) -> bytes:
    """Return one server-sent event."""
    return b"data: " + dump_json(content) + b"\n\n"
