"""The base model at a pool's server as the judge of answers: what it finds likely, what right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from routing_gym.adapters.http_answer import only_choice
from routing_gym.adapters.http_opening import BASE_MODEL
from routing_gym.adapters.http_pool import HttpPool
from routing_gym.adapters.http_retry import CallError
from routing_gym.adapters.p_true import CONTENT_FREE, question_halves, verdict_tokens

_PLACEHOLDER = "token_id:"
_TOP = 20


class ServerLikelihood:
    """Mean log-likelihood per token of responses, as `BaseLikelihood`, under the server's base.

    The server reads query and response as a prompt and tells each token's log-probability
    (``prompt_logprobs``, which is vLLM's).

    Parameters
    ----------
    pool
        With rendered prompts.
    """

    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool

    def __call__(self, queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Score N responses: float64 (N,), nats per token; minus infinity for an empty one.

        Raises
        ------
        OSError
            If the server fails to judge one of them.
        """
        pairs = dict.fromkeys(zip(queries, responses, strict=True), -math.inf)
        written = [pair for pair in pairs if pair[1].strip()]
        pairs |= _judged(self._pool, [(pair, partial(self._read, *pair)) for pair in written])
        return np.array([pairs[pair] for pair in zip(queries, responses, strict=True)])

    def _read(self, query: str, response: str) -> float:
        before = self._pool.prompt_ids(query)
        ids: list[int] = self._pool.tokenizer(response, add_special_tokens=False)["input_ids"]
        body = _body(self._pool, [*before, *ids]) | {"prompt_logprobs": 0}

        def read(content: Any, *_: object) -> float:
            found = only_choice(content).get("prompt_logprobs")
            if not isinstance(found, list) or len(found) != len(before) + len(ids):
                raise CallError(
                    "the server tells no prompt_logprobs, which only vLLM does: set server.judge "
                    "to 'local' or 'none'"
                )
            own = zip(ids, found[len(before) :], strict=True)
            return float(np.mean([min(_log_prob(entry, token), 0.0) for token, entry in own]))

        return self._pool.connection.read("/completions", body, read)


class ServerPTrue:
    """P(True) of answers, as `PTrue`, from the likeliest first tokens of the server's base.

    A yes or no that is not among these tokens counts as the least likely of them, which bounds
    the margin from within.

    Parameters
    ----------
    pool
        With rendered prompts.
    """

    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool
        self._sides = verdict_tokens(pool.tokenizer)

    def __call__(self, queries: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Judge N responses: float64 (N,) in [0, 1]; 0 for an empty one.

        Raises
        ------
        OSError
            If the server fails to judge one of them.
        """
        asked = list(zip(queries, responses, strict=True))
        wanted = [(q, r) for q, r in asked if r.strip()]
        wanted += [(query, CONTENT_FREE) for query, _ in wanted]
        calls = [(pair, partial(self._margin, *pair)) for pair in dict.fromkeys(wanted)]
        margins = _judged(self._pool, calls)
        gains = [
            margins[query, response] - margins[query, CONTENT_FREE]
            if response.strip()
            else -math.inf
            for query, response in asked
        ]
        return 1 / (1 + np.exp(-np.array(gains, dtype=np.float64)))

    def _margin(self, query: str, response: str) -> float:
        tokenizer = self._pool.tokenizer
        before, after = question_halves(tokenizer, query)
        halves = tokenizer([before, response + after], add_special_tokens=False)["input_ids"]
        body = _body(self._pool, halves[0] + halves[1])
        body |= {"logprobs": _TOP, "return_tokens_as_token_ids": True}

        def read(content: Any, *_: object) -> float:
            logprobs = only_choice(content).get("logprobs")
            tops = logprobs.get("top_logprobs") if isinstance(logprobs, Mapping) else None
            if not tops or not isinstance(tops[0], Mapping):
                raise CallError("the answer holds no likeliest tokens", again=True)
            yes, no = (_side(tops[0], tokens) for tokens in self._sides)
            return yes - no

        return self._pool.connection.read("/completions", body, read)


def _side(top: Mapping[str, float], tokens: Sequence[int]) -> float:
    """Log-probability of any of some tokens, as far as the likeliest tokens tell."""
    known = [top[f"{_PLACEHOLDER}{t}"] for t in tokens if f"{_PLACEHOLDER}{t}" in top]
    if not any(name.startswith(_PLACEHOLDER) for name in top):
        raise CallError(
            "the server names tokens by their texts, where only vLLM's return_tokens_as_token_ids "
            "is exact: set server.judge to 'local' or 'none'"
        )
    return float(np.logaddexp.reduce(known)) if known else float(min(top.values()))


def _log_prob(entry: Any, token: int) -> float:
    """Read one token's log-probability out of vLLM's entry for its place."""
    try:
        return float(entry[str(token)]["logprob"])
    except (KeyError, TypeError, ValueError) as error:
        raise CallError("the prompt's log-probabilities cannot be read", again=True) from error


def _body(pool: HttpPool, ids: Sequence[int]) -> dict[str, Any]:
    """Let the base read tokens and write one."""
    model = pool.models.of[BASE_MODEL]
    return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0}


def _judged(pool: HttpPool, calls: Sequence[tuple[Any, Any]]) -> dict[Any, float]:
    """Make calls in the pool's threads; all or an error."""
    values, reasons, fatal = pool.run([call for _, call in calls])
    if reasons:
        first = next(iter(reasons.values()))
        raise OSError(
            f"the server failed to judge {len(reasons)} answers ({fatal or first}): run this "
            "again, what was judged before is kept; or set server.judge to 'local' or 'none'."
        )
    return {key: value for (key, _), value in zip(calls, values, strict=True)}
