"""How long a decision takes: in the library, over HTTP, and in batches."""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.onnx_encoder import TransformerPart

WARM_UP = 20


@dataclass(frozen=True)
class DecisionTimes:
    """Seconds of N texts, each decided on alone and, beside it, only encoded.

    Parameters
    ----------
    forward
        float64 (N,), the encoder's forward pass alone: tokens in, embedding out.
    decision
        float64 (N,), text in, adapter out.
    """

    forward: np.ndarray
    decision: np.ndarray


def decision_times(bundle: PolicyBundle, texts: Sequence[str], *, repeats: int) -> DecisionTimes:
    """Time decisions and forward passes in turns, text by text.

    Parameters
    ----------
    bundle
        With a sentence encoder.
    texts
        N texts.
    repeats
        Of every text; the fastest counts, as what slows it down is not ours.

    Raises
    ------
    ValueError
        If the bundle has another encoder than one transformer.
    """
    part = bundle.encoder.parts[0]
    if len(bundle.encoder.parts) > 1 or not isinstance(part, TransformerPart):
        raise ValueError(f"{bundle.name}: give a bundle whose encoder is one transformer.")
    rng = np.random.default_rng(0)
    forward, decision = [], []
    for text in texts[:WARM_UP]:
        bundle.decide([text], rng=rng)
    for text in texts:
        ids = part.tokens(text)
        mask = np.ones_like(ids)
        best = [np.inf, np.inf]
        for _ in range(repeats):
            start = time.perf_counter()
            part.run(ids, mask)
            middle = time.perf_counter()
            bundle.decide([text], rng=rng)
            end = time.perf_counter()
            best = [min(best[0], middle - start), min(best[1], end - middle)]
        forward.append(best[0])
        decision.append(best[1])
    return DecisionTimes(np.array(forward), np.array(decision))


class RouteClient:
    """One connection to ``POST /route`` that is kept open; almost nothing of its own.

    Parameters
    ----------
    url
        Of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._connection.connect()

    def route(self, texts: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
        """Route texts; return the seconds from the first byte sent to the last received.

        Raises
        ------
        RuntimeError
            If the server does not decide.
        """
        body = json.dumps({"input": list(texts)})
        start = time.perf_counter()
        self._connection.request("POST", "/route", body, {"content-type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - start
        if response.status != 200:
            raise RuntimeError(f"/route answered {response.status}: {content[:300]!r}")
        return seconds, json.loads(content)["decisions"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def overheads(url: str, texts: Sequence[str], *, log: Path) -> np.ndarray:
    """Return float64 (N,): seconds of a request for one text that the encoder did not take.

    Policy, log, HTTP on both sides and the event loop are in it; the encoder's time is the one that
    the server has logged with the decision.

    Parameters
    ----------
    url
        Of the server.
    texts
        N texts, one request each, one after the other.
    log
        The server's SQLite log.
    """
    client = RouteClient(url)
    for text in texts[:WARM_UP]:
        client.route([text])
    seconds: dict[str, float] = {}
    for text in texts:
        taken, decisions = client.route([text])
        seconds[str(decisions[0]["decision_id"])] = taken
    client.close()
    with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT decision_id, encoder_seconds FROM decisions").fetchall()
    encoder = dict(rows)
    return np.array([taken - encoder[name] for name, taken in seconds.items()])


def batch_rates(url: str, texts: Sequence[str], *, batch: int, repeats: int) -> np.ndarray:
    """Return float64 (repeats, 2): texts per second of one client, one by one and in batches.

    Parameters
    ----------
    url
        Of the server.
    texts
        A multiple of `batch`; both ways send all of them, in turns.
    batch
        Texts per request.
    repeats
        Of both ways.
    """
    client = RouteClient(url)
    rates = []
    for _ in range(repeats):
        single = sum(client.route([text])[0] for text in texts)
        parts = [texts[i : i + batch] for i in range(0, len(texts), batch)]
        together = sum(client.route(part)[0] for part in parts)
        rates.append((len(texts) / single, len(texts) / together))
    client.close()
    return np.array(rates)
