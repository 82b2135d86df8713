"""The page's side of the server's own API: it asks over HTTP's front door, as any client does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from routing_gym.serving.backend import TokenSignals
from routing_gym.serving.chat import SIGNALS
from routing_gym.serving.errors import ApiError

_BASE = "http://demo"


@dataclass(frozen=True)
class DemoDecision:
    """A routed question, as /route tells of it.

    Parameters
    ----------
    decision_id
        Under which feedback is given.
    policy, policy_version
        Who decided.
    adapter
        Who is to answer.
    propensity
        Probability with which that adapter was drawn.
    probabilities
        Adapter -> probability, in the pool's order.
    confidence
        Calibrated confidence in [0, 1].
    fallback
        Whether the best single adapter replaced the policy's choice.
    """

    decision_id: str
    policy: str
    policy_version: str
    adapter: str
    propensity: float
    probabilities: Mapping[str, float]
    confidence: float
    fallback: bool


@dataclass(frozen=True)
class DemoAnswer:
    """An adapter's answer.

    Parameters
    ----------
    text
        What it wrote.
    finished
        False if it stopped at its token limit.
    completion_tokens
        Tokens that it wrote; 0 if not known.
    seconds
        From the request to the answer.
    signals
        How sure the model was of its tokens; None where the back end does not measure it.
    """

    text: str
    finished: bool
    completion_tokens: int
    seconds: float
    signals: TokenSignals | None = None


class DemoClient:
    """Calls the application in its own process, through its limits, its keys and its log.

    Nothing listens for it and no address is needed, so the page works behind any host, port or
    proxy.

    Parameters
    ----------
    app
        The ASGI application that serves the API.
    """

    def __init__(self, app: Any) -> None:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url=_BASE, timeout=None)

    async def route(self, question: str, *, key: str = "") -> DemoDecision:
        """Have a question routed and the decision logged.

        Raises
        ------
        ApiError
            What the server answered instead.
        """
        found = await self._post("/route", {"input": question}, key=key)
        (decision,) = found["decisions"]
        return DemoDecision(
            policy=found["policy"], policy_version=found["policy_version"], **decision
        )

    async def answer(self, adapter: str, question: str, *, key: str = "") -> DemoAnswer:
        """Have an adapter answer a question.

        Raises
        ------
        ApiError
            What the server answered instead.
        """
        messages = [{"role": "user", "content": question}]
        body = {"model": adapter, "messages": messages}
        start = time.perf_counter()
        signals: list[TokenSignals] = []
        token = SIGNALS.set(signals)  # the API tells no client of them; the transport adds no task
        try:
            completion = await self._post("/v1/chat/completions", body, key=key)
        finally:
            SIGNALS.reset(token)
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        return DemoAnswer(
            text=choice["message"]["content"] or "",
            finished=choice["finish_reason"] != "length",
            completion_tokens=int(usage.get("completion_tokens", 0)),
            seconds=time.perf_counter() - start,
            signals=signals[0] if signals else None,
        )

    async def feedback(self, decision_id: str, reward: float, *, key: str = "") -> str:
        """Give a reward in [0, 1]; returns ``recorded`` or ``unchanged``.

        Raises
        ------
        ApiError
            What the server answered instead.
        """
        body = {"decision_id": decision_id, "reward": reward}
        return str((await self._post("/feedback", body, key=key))["status"])

    async def _post(self, path: str, body: Mapping[str, Any], *, key: str) -> dict[str, Any]:
        """Post JSON and return the JSON, or raise the server's own words."""
        headers = {"authorization": f"Bearer {key.strip()}"} if key.strip() else {}
        response = await self._http.post(path, json=dict(body), headers=headers)
        if response.status_code < 400:
            return dict(response.json())
        raise _refusal(response)


def _refusal(response: httpx.Response) -> ApiError:
    """Turn an error response into the error that it reports."""
    try:
        error = response.json()["error"]
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"the server answered {response.status_code}.", "unknown"
    return ApiError(response.status_code, message, code=code)
