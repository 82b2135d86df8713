"""Asking a model over the OpenAI chat protocol: patiently, and without ever showing the key.

The official client speaks; it is asked not to try again on its own, because its waiting can be
neither interrupted nor tested. Its exceptions hold the request, and with that the key: none of them
leaves this module, not even as the context of another.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routing_gym.adapters.http_retry import CallError, parse_retry_after, patient
from routing_gym.rewards.judge_cost import Tokens
from routing_gym.rewards.judge_errors import (
    FormatRefusedError,
    JudgeError,
    KeyRefusedError,
)
from routing_gym.rewards.judge_settings import JudgeSettings

if TYPE_CHECKING:
    import openai
    import tenacity

FORMATS = ("json_schema", "json_object", "none")
FORMAT_WORDS = re.compile(r"response.?format|json.?(?:schema|object|mode)|structured", re.I)
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
BAD_SAMPLE = ("json_validate_failed",)  # Groq reports a malformed answer of its model so
LONGEST_MESSAGE = 200
SHORTEST_SECRET = 8  # "EMPTY" and the like are no secrets, and may stand in any text


@dataclass(frozen=True)
class Reply:
    """What the server answered to one request.

    Parameters
    ----------
    text
        The model's words; may be empty.
    tokens
        What the server charged; None if it does not say.
    complaint
        Why the text is not usable whatever it says; "" if it may be.
    """

    text: str
    tokens: Tokens | None = None
    complaint: str = ""


class ChatClient:
    """A connection to the judge's server, for a ``with`` block; threads may share it.

    Parameters
    ----------
    settings
        Server, model, patience.
    sleep
        Waits for a number of seconds; None waits until then or until `stop`.
    """

    def __init__(
        self, settings: JudgeSettings, *, sleep: Callable[[float], object] | None = None
    ) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        auto = settings.structured == "auto"
        self._formats = FORMATS if auto else (settings.structured,)
        self._format = 0
        self._hidden = ""
        self._client: openai.OpenAI | None = None

    def __repr__(self) -> str:
        return f"ChatClient(model={self._settings.model!r}, url={self._settings.url!r})"

    def __enter__(self) -> ChatClient:
        client_class = _openai().OpenAI
        key = self._settings.read_key()
        self._hidden = key if len(key) >= SHORTEST_SECRET else ""
        self._client = client_class(
            api_key=key or "EMPTY",
            base_url=self._settings.url,
            timeout=self._settings.timeout,
            max_retries=0,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        self._client, self._hidden = None, ""

    def stop(self) -> None:
        """Let no further request go out, and end the waiting of those that wait."""
        self._stopped.set()

    def ask(
        self, messages: Sequence[Mapping[str, str]], *, schema: Mapping[str, Any], name: str
    ) -> Reply:
        """Send one request, again where that may help.

        Parameters
        ----------
        messages
            ``role`` and ``content`` each.
        schema, name
            JSON schema of the wanted answer, and what it is called.

        Raises
        ------
        CallError
            If this request came to nothing.
        JudgeError
            If no other will come to anything: a refused key, an unknown model.
        """
        while True:
            level = self._format
            form = response_format(self._formats[level], schema=schema, name=name)
            try:
                return self._retrying()(self._send, messages, form)
            except FormatRefusedError:
                if level + 1 == len(self._formats):
                    raise
            self._format = max(self._format, level + 1)

    def _retrying(self) -> tenacity.Retrying:
        """Exponential back-off with jitter, or what the server asks for, a bounded number of times.

        Both have an upper bound, `longest_wait`.
        """
        _tenacity()  # its absence is told as the judge's
        settings = self._settings
        return patient(settings.attempts, longest_wait=settings.longest_wait, sleep=self._sleep)

    def _send(self, messages: Sequence[Mapping[str, str]], form: dict[str, Any]) -> Reply:
        """Send one request once."""
        if self._stopped.is_set() or self._client is None:
            raise CallError("the run was stopped")
        openai = _openai()
        fault: Exception
        try:
            completion = self._client.chat.completions.create(
                model=self._settings.model,
                messages=messages,  # type: ignore[arg-type]
                extra_body={**self._settings.request, **form},
            )
            return self._read(completion)
        except openai.APIStatusError as error:
            fault = self._status_fault(error)
        except openai.APITimeoutError:
            seconds = self._settings.timeout
            fault = CallError(f"the server did not answer within {seconds:g} s", again=True)
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            fault = CallError(f"no connection to {self._settings.url} ({cause})", again=True)
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            fault = CallError(
                f"the answer is no chat completion ({type(error).__name__})", again=True
            )
        # Outside of the handler, so that the client's exception is not the context of this one.
        raise fault

    def _read(self, completion: Any) -> Reply:
        """Take the text and the tokens out of an answer that the client did not validate."""
        choices = getattr(completion, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if message is None:
            raise CallError("the answer is no chat completion", again=True)
        tokens = _tokens(getattr(completion, "usage", None))
        refusal, content = getattr(message, "refusal", None), getattr(message, "content", None)
        if refusal and not content:
            return Reply("", tokens, "the model declined to judge")
        if not isinstance(content, str):
            return Reply("", tokens, "it holds no text")
        cut = getattr(choice, "finish_reason", None) == "length"
        complaint = "it broke off at the limit of tokens (see request.max_tokens)" if cut else ""
        return Reply(self._hide(content), tokens, complaint)

    def _status_fault(self, error: openai.APIStatusError) -> Exception:
        """Turn an HTTP status into an error of ours."""
        status, settings = error.status_code, self._settings
        if status in (401, 403):
            return KeyRefusedError(_key_sentence(settings, status, sent=bool(settings.read_key())))
        said = self._hide(_message(error))[:LONGEST_MESSAGE]
        if status in (400, 404, 415, 422, 501) and FORMAT_WORDS.search(said):
            return FormatRefusedError(f"HTTP {status}: {said}")
        if status == 404:
            return JudgeError(
                f"{settings.url} does not know the model {settings.model!r}, or is no chat server "
                f"(HTTP 404: {said}): check model and base_url."
            )
        if error.code in NO_MONEY:
            return JudgeError(f"the account at {settings.url} has no money left (HTTP {status}).")
        if error.code in BAD_SAMPLE:
            return CallError(f"HTTP {status}: the model wrote no valid JSON", again=True)
        if status not in (408, 409, 429) and status < 500:
            return CallError(f"HTTP {status}: {said}")
        retry_after = parse_retry_after(error.response.headers)
        if retry_after is not None and retry_after > settings.longest_wait:
            return CallError(
                f"HTTP {status}: the server asks to wait {retry_after:.0f} s, longer than "
                f"longest_wait={settings.longest_wait:g}"
            )
        return CallError(f"HTTP {status}: {said}", again=True, retry_after=retry_after)

    def _hide(self, text: str) -> str:
        """Take the key out of what a server says."""
        return text.replace(self._hidden, "[key]") if self._hidden else text


def response_format(kind: str, *, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Make the request's ``response_format`` for a kind of structured output; empty for none."""
    if kind == "none":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    strict = {"name": name, "strict": True, "schema": dict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": strict}}


def _key_sentence(settings: JudgeSettings, status: int, *, sent: bool) -> str:
    """Say what to do about a refused or missing key; what the server said may quote it."""
    if sent:
        return (
            f"{settings.url} refused the key of the environment variable {settings.key_variable} "
            f"(HTTP {status}): check that it is valid, and allowed to use {settings.model!r}."
        )
    return (
        f"{settings.url} wants a key (HTTP {status}): export it, and let key_variable name the "
        "environment variable."
    )


def _message(error: openai.APIStatusError) -> str:
    """Put what the server said on one line."""
    said = error.body.get("message") if isinstance(error.body, dict) else None
    return " ".join((said if isinstance(said, str) else error.message).split())


def _tokens(usage: Any) -> Tokens | None:
    """Tokens that a server charged; None where it does not say so in numbers."""
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    whole = [n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    return Tokens(*whole) if len(whole) == 2 else None


def _openai() -> Any:
    """Import the official client, which is an extra."""
    try:
        import openai
    except ImportError as error:
        raise ImportError("the LLM judge needs: pip install routing-gym[judge]") from error
    return openai


def _tenacity() -> Any:
    """Import tenacity, which is an extra."""
    try:
        import tenacity
    except ImportError as error:
        raise ImportError("the LLM judge needs: pip install routing-gym[judge]") from error
    return tenacity
