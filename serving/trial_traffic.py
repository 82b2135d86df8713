"""Clients that route, chat and give feedback, and remember what was acknowledged to them."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np

TIMEOUT = httpx.Timeout(30.0)
BROKEN = -1
"""Stands for a stream that began with 200 and did not end as it should."""
TEXTS = {"route": 2, "completions": 1}
"""First part of a request id -> decisions that the request asks for."""


@dataclass
class Acknowledged:
    """What clients were told, so that it can be held against the log.

    Attributes
    ----------
    decisions
        Request id -> the decision ids that its answer named.
    feedback
        Decision id -> the reward that was acknowledged.
    statuses
        How often each HTTP status came; 0 for a connection that failed, `BROKEN` for a stream.
    """

    decisions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    feedback: dict[str, float] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)


class Traffic:
    """Sends every kind of request in turn.

    Parameters
    ----------
    url
        Of the server.
    texts
        What is asked.
    seed
        Of the rewards and the texts' order.
    """

    def __init__(self, url: str, texts: Sequence[str], *, seed: int = 0) -> None:
        self.url, self._texts = url, tuple(texts)
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._rewarded: set[str] = set()  # acknowledged or not: each is sent once
        self.acknowledged = Acknowledged()

    def round(self, client: httpx.Client) -> list[int]:
        """Route a batch, ask a chat, and reward what was decided; return the statuses."""
        statuses = [self._route(client), self._chat(client), self._feedback(client)]
        with self._lock:
            self.acknowledged.statuses.update(statuses)
        return statuses

    def rounds(self, count: int) -> list[int]:
        """Send rounds one after the other; return all statuses."""
        with httpx.Client(timeout=TIMEOUT) as client:
            return [status for _ in range(count) for status in self.round(client)]

    def during(self, seconds: float, *, clients: int = 3) -> None:
        """Send rounds from several threads for a while; a failing server is left a moment."""
        deadline = time.monotonic() + seconds
        threads = [threading.Thread(target=self._until, args=(deadline,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def answers_again(self, *, within: float) -> bool:
        """Whether a whole round succeeds before the time is over."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if set(self.rounds(1)) == {200}:
                return True
            time.sleep(0.2)
        return False

    def _until(self, deadline: float) -> None:
        """Send rounds until the deadline."""
        while time.monotonic() < deadline:
            with httpx.Client(timeout=TIMEOUT) as client:
                while time.monotonic() < deadline:
                    if 0 in self.round(client):
                        time.sleep(0.05)
                        break  # a connection was lost: begin with a new one

    def _flip(self) -> int:
        """Toss a coin."""
        with self._lock:
            return int(self._rng.integers(2))

    def _draw(self, count: int) -> list[str]:
        """Draw texts."""
        with self._lock:
            return [self._texts[row] for row in self._rng.integers(len(self._texts), size=count)]

    def _post(
        self, client: httpx.Client, path: str, body: dict[str, object]
    ) -> tuple[int, str, httpx.Response | None]:
        """Post under a new request id; status 0 stands for a lost connection."""
        name = f"{path.rpartition('/')[2]}-{uuid.uuid4().hex}"
        try:
            response = client.post(f"{self.url}{path}", json=body, headers={"x-request-id": name})
            response.read()
        except httpx.HTTPError:
            return 0, name, None
        return response.status_code, name, response

    def _route(self, client: httpx.Client) -> int:
        """Decide on two texts."""
        status, name, response = self._post(client, "/route", {"input": self._draw(TEXTS["route"])})
        if response is not None and status == 200:
            found = tuple(item["decision_id"] for item in response.json()["decisions"])
            with self._lock:
                self.acknowledged.decisions[name] = found
        return status

    def _chat(self, client: httpx.Client) -> int:
        """Ask a chat, streaming every other time."""
        text = self._draw(1)[0]
        body: dict[str, object] = {
            "model": "router",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 8,
            "stream": bool(self._flip()),
        }
        status, name, response = self._post(client, "/v1/chat/completions", body)
        if response is None or status != 200:
            return status
        with self._lock:
            self.acknowledged.decisions[name] = (response.headers["x-decision-id"],)
        whole = not body["stream"] or "data: [DONE]" in response.text
        return status if whole else BROKEN

    def _feedback(self, client: httpx.Client) -> int:
        """Reward a decision that has no reward yet; 200 where there is none."""
        with self._lock:
            known = self.acknowledged.decisions.values()
            open_ids = [one for ids in known for one in ids if one not in self._rewarded]
            if not open_ids:
                return 200
            chosen = open_ids[int(self._rng.integers(len(open_ids)))]
            self._rewarded.add(chosen)
            reward = round(float(self._rng.random()), 6)
        body = {"decision_id": chosen, "reward": reward}
        status, _, _ = self._post(client, "/feedback", body)
        with self._lock:
            if status == 200:
                self.acknowledged.feedback[chosen] = reward
        return status
