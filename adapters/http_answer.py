"""What a server answers, read as a completion: text, tokens, and how sure the model was of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.http_retry import CallError

ENDS = {"stop": True, "length": False}
"""Finish reason -> whether the answer ended by itself."""


def completion_of(
    content: Any, *, seconds: float, budget: int, prompt_tokens: int | None = None
) -> Completion:
    """Read the JSON of ``/v1/completions`` or ``/v1/chat/completions``.

    Parameters
    ----------
    content
        What the server sent.
    seconds
        How long it took.
    budget
        Tokens that it was allowed.
    prompt_tokens
        Tokens that it was sent, None if the server rendered the prompt.

    Raises
    ------
    CallError
        If anything is missing or contradicts itself; another try may do better.
    """
    choice = only_choice(content)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if not isinstance(text, str):
        raise CallError("the answer holds no text", again=True)
    try:
        text.encode()  # no file could hold it otherwise
    except UnicodeEncodeError:
        raise CallError("the answer holds half a character", again=True) from None
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in ENDS:
        raise CallError(f"the answer ended for the reason {reason!r:.60}", again=True)
    read, written = _usage(content, budget=budget, prompt_tokens=prompt_tokens)
    log_probs, entropies = _signals(choice.get("logprobs"))
    # OpenAI leaves the end token out of the log-probabilities, vLLM does not.
    if log_probs and not written - ENDS[reason] <= len(log_probs) <= written:
        raise CallError(
            f"the answer has log-probabilities of {len(log_probs)} tokens, but {written} tokens "
            "(set server.logprobs to 0 if this server always does that)",
            again=True,
        )
    return Completion(
        text=text.strip(),
        prompt_tokens=read,
        completion_tokens=written,
        seconds=seconds,
        finished=ENDS[reason],
        token_log_probs=log_probs,
        token_entropies=entropies,
    )


def truncated_entropy(log_probs: Sequence[float]) -> float:
    """Entropy of a distribution of which only the likeliest values are known, nats.

    What is missing counts as one value, so that this is a lower bound.
    """
    known = [math.exp(value) for value in log_probs]
    rest = max(0.0, 1.0 - sum(known))
    return max(0.0, -sum(p * math.log(p) for p in (*known, rest) if p > 0))


def only_choice(content: Any) -> Mapping[str, Any]:
    """Find the only answer of a server's JSON.

    Raises
    ------
    CallError
        If there is none.
    """
    choices = content.get("choices") if isinstance(content, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise CallError("the answer holds no choices", again=True)
    return choices[0]


def _usage(
    content: Mapping[str, Any], *, budget: int, prompt_tokens: int | None
) -> tuple[int, int]:
    """Read the counts of tokens; refuse what cannot be."""
    usage = content.get("usage")
    counts = [
        usage.get(name) if isinstance(usage, Mapping) else None
        for name in ("prompt_tokens", "completion_tokens")
    ]
    read, written = (n if isinstance(n, int) and not isinstance(n, bool) else -1 for n in counts)
    if read < 1 or not 0 <= written <= budget:
        raise CallError(
            f"the answer says it read {counts[0]} and wrote {counts[1]} tokens of at most {budget}",
            again=True,
        )
    if prompt_tokens is not None and read != prompt_tokens:
        raise CallError(
            f"the server read {read} tokens of a prompt of {prompt_tokens}: it serves another "
            "base model, or adds tokens of its own",
            again=True,
        )
    return read, written


def _signals(logprobs: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read each token's log-probability and entropy, in the form of either path."""
    if not isinstance(logprobs, Mapping):
        return (), ()
    try:
        if isinstance(logprobs.get("content"), list):
            items = logprobs["content"]
            chosen = [item["logprob"] for item in items]
            tops = [[top["logprob"] for top in item.get("top_logprobs") or []] for item in items]
        else:
            chosen = list(logprobs.get("token_logprobs") or [])
            tops = [list((top or {}).values()) for top in logprobs.get("top_logprobs") or []]
        log_probs = tuple(min(float(value), 0.0) for value in chosen)
        entropies = tuple(truncated_entropy([min(float(v), 0.0) for v in top]) for top in tops)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise CallError("the answer's log-probabilities cannot be read", again=True) from error
    if not all(map(math.isfinite, log_probs)):
        raise CallError("the answer's log-probabilities are not finite", again=True)
    complete = len(entropies) == len(log_probs) and all(tops)
    return log_probs, entropies if complete else ()
