"""What the server asks of whoever writes the answers: one protocol, its records, its errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Parameters
    ----------
    role
        ``system``, ``user``, ``assistant`` or whatever the model's template knows.
    content
        Its text.
    payload
        The message as the client sent it, where text alone would lose something (parts of several
        kinds, tool calls); the ``openai`` back end relays it in place of role and content.
    """

    role: str
    content: str
    payload: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ChatRequest:
    """What a client wants answered; which adapter answers is decided elsewhere.

    Parameters
    ----------
    messages
        The conversation so far, at least one message.
    max_tokens
        New tokens at most, at least 1.
    temperature
        0 is greedy; above 0 divides the logits.
    stop
        Texts that end the answer; they are not part of it.
    seed
        Makes a sampled answer repeatable; None draws afresh.
    streaming
        Whether pieces are wanted as they come; otherwise one piece may hold the whole answer.
    extra
        Fields that are relayed as they are by the ``openai`` back end; the ``local`` one refuses
        those that would change an answer.

    Raises
    ------
    ValueError
        If there is no message, the budget is below 1, the temperature negative or a stop empty.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    streaming: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("messages=() asks nothing: give at least one message.")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: give at least 1.")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: give 0 (greedy) or more.")
        if not all(self.stop):
            raise ValueError(f"stop={self.stop}: an empty stop ends every answer at once; omit it.")


@dataclass(frozen=True)
class Usage:
    """Tokens read and written, as the model's tokenizer counts them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class TokenSignals:
    """How sure the model was of each token that it wrote, the end token included.

    Parameters
    ----------
    log_probs
        Log-probability at temperature 1, nats, at most 0.
    entropies
        Entropy of the distribution that the token was chosen from, nats, at least 0; as many.
    """

    log_probs: tuple[float, ...]
    entropies: tuple[float, ...]


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Parameters
    ----------
    text
        What it adds to the answer; may be empty. Never a part of a character.
    finish_reason
        ``stop``, ``length`` or what the upstream server says; None while more text follows.
    usage
        Tokens of the whole answer, once known. It may come in a piece of its own after the one
        that carries the finish reason.
    raw
        What the upstream server sent, to be relayed as it is (only ``model`` may be rewritten):
        one server-sent event with the empty line that ends it (the last is ``data: [DONE]``), or
        the whole JSON body if the request was not streaming. None from a back end without
        upstream, and in a piece that has nothing but usage for which the client did not ask.
    signals
        Of the whole answer's tokens, in the piece with the finish reason; None where they are not
        measured. For the self-evaluation: no client sees them.
    """

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    raw: bytes | None = None
    signals: TokenSignals | None = None


class BackendError(Exception):
    """A back end that could not answer; the message is a sentence for the client.

    Attributes
    ----------
    status
        HTTP status for the client.
    kind
        Short name, for a metric's label.
    """

    status: int = 502
    kind: str = "backend"


class BackendTimeout(BackendError):
    """A back end that took too long."""

    status = 504
    kind = "timeout"


class BackendEvicted(BackendError):
    """A back end where another model answered under an adapter's name."""

    kind = "evicted"


class BackendBusy(BackendError):
    """A back end that has no room just now.

    Parameters
    ----------
    message
        A sentence.
    retry_after
        Seconds after which another try may succeed.
    """

    status = 429
    kind = "busy"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BackendRefused(BackendError):
    """A request that no try will make acceptable: too long a prompt, an unknown field.

    Parameters
    ----------
    message
        A sentence.
    status
        HTTP status for the client, 400 to 499.
    """

    kind = "refused"

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Backend(Protocol):
    """Writes answers under the names of a pool's adapters.

    Attributes
    ----------
    name
        ``local`` or ``openai``.
    adapters
        Names that it can answer with, the base among them.
    """

    name: str
    adapters: tuple[str, ...]

    async def start(self) -> None:
        """Load or connect, and probe every adapter.

        Raises
        ------
        BackendError
            If an adapter is missing or answers as the base does; the message names it.
        """
        ...

    async def close(self) -> None:
        """Cancel what is being written and let go of everything; a second call does nothing."""
        ...

    def stream(
        self, adapter: str, request: ChatRequest, *, request_id: str
    ) -> AsyncGenerator[Piece, None]:
        """Answer a request piece by piece; closing the iterator cancels the work, upstream too.

        An answer that ends without an error has had one piece with a finish reason.

        Parameters
        ----------
        adapter
            One of `adapters`.
        request
            What to answer.
        request_id
            Relayed to the upstream server and named in errors.

        Raises
        ------
        BackendError
            From the iterator, before the first piece or between pieces.
        """
        ...

    async def healthy(self) -> bool:
        """Tell whether it would answer now; quick, and never raises."""
        ...
