"""What tests put in the place of a trained policy and of language models, and a live server."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from routing_gym.agents.policy import choose
from routing_gym.serving.app import create_app
from routing_gym.serving.backend import (
    Backend,
    BackendError,
    ChatRequest,
    Piece,
    TokenSignals,
    Usage,
)
from routing_gym.serving.bundle import RoutedDecision
from routing_gym.serving.bundle_manifest import (
    BundleManifest,
    EncoderPart,
    EncoderRecord,
    FallbackRule,
    PolicyRecord,
    TrainingStatistics,
)
from routing_gym.serving.decision_log import DecisionStore
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.process import RoutingServer
from routing_gym.serving.self_evaluation import Evaluator
from routing_gym.serving.settings import ServeConfig

ADAPTERS = ("base", "code", "creative")
WIDTH = 8
EVEN = (0.5, 0.3, 0.2)


class StandInBundle:
    """Decides with fixed probabilities, whatever is asked; a text with "unsure" falls back,
    one with "<fail>" fails."""

    def __init__(
        self,
        name: str = "ppo",
        *,
        adapters: tuple[str, ...] = ADAPTERS,
        probabilities: Sequence[float] = EVEN,
        exploration: Exploration | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.name = name
        self.adapters = adapters
        self.manifest = _manifest(name, adapters)
        self.version = self.manifest.version
        self.batches: list[int] = []
        self._probabilities = np.array(probabilities)
        self._exploration = exploration or Exploration("policy")
        self._seconds = seconds
        self._unsure: list[bool] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts by their hash."""
        if any("<fail>" in text for text in texts):
            raise RuntimeError("secret words of a prompt")
        time.sleep(self._seconds)
        self.batches.append(len(texts))
        rows = [np.frombuffer(hashlib.sha256(t.encode()).digest()[:WIDTH], np.uint8) for t in texts]
        embeddings = np.array(rows, dtype=np.float32) / 255
        embeddings[:, 0] = ["unsure" in text for text in texts]
        return embeddings

    def decide_embedded(
        self,
        embeddings: np.ndarray,
        *,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
        exploration: Exploration | None = None,
    ) -> RoutedDecision:
        """Draw from the fixed probabilities."""
        scores = np.tile(self._probabilities, (len(embeddings), 1))
        rows = (exploration or self._exploration).apply(scores, mask, output="probabilities")
        drawn = choose(rows, rng=rng)
        fallbacks = embeddings[:, 0] == 1
        return RoutedDecision(
            actions=np.where(fallbacks, 0, drawn.actions),
            probabilities=rows,
            confidences=np.where(fallbacks, 0.1, 0.9),
            fallbacks=fallbacks,
            greedy=scores.argmax(axis=1),
            adapters=self.adapters,
        )


class StandInBackend:
    """Answers with the adapter's name; texts in the question make it slow or fail."""

    name = "openai"

    def __init__(
        self,
        adapters: tuple[str, ...] = ADAPTERS,
        *,
        words: int = 3,
        seconds: float = 0.0,
        failure: BackendError | None = None,
        fails_after: int = 0,
        start_failure: BackendError | None = None,
        signals: TokenSignals | None = None,
    ) -> None:
        self.adapters = adapters
        self.requests: list[tuple[str, ChatRequest]] = []
        self.cancelled = 0
        self.running = 0
        self.most_running = 0
        self.closed = False
        self.is_healthy = True
        self._words = words
        self._seconds = seconds
        self._failure = failure
        self._fails_after = fails_after
        self._start_failure = start_failure
        self._signals = signals

    async def start(self) -> None:
        """Begin, or fail as told."""
        if self._start_failure is not None:
            raise self._start_failure

    async def close(self) -> None:
        """End."""
        self.closed = True

    async def healthy(self) -> bool:
        """Tell what it was told."""
        return self.is_healthy

    async def stream(
        self, adapter: str, request: ChatRequest, *, request_id: str
    ) -> AsyncIterator[Piece]:
        """Write a few words, one after the other."""
        self.requests.append((adapter, request))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for number in range(self._words):
                await asyncio.sleep(self._seconds)
                if self._failure is not None and number == self._fails_after:
                    raise self._failure
                yield Piece(f"{adapter} " if number else f"I am {adapter} ")
            usage = Usage(7, self._words)
            yield Piece(finish_reason="stop", usage=usage, signals=self._signals)
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


def make_app(
    folder: Path,
    *,
    config: ServeConfig | None = None,
    bundles: Mapping[str, Any] | None = None,
    backend: Backend | None = None,
    evaluator: Evaluator | None = None,
    **settings: Any,
) -> FastAPI:
    """Build an application over stand-ins, with a real decision log in the folder."""
    found = bundles or {"ppo": StandInBundle(), "linucb": StandInBundle("linucb")}
    config = replace(
        config or ServeConfig(), backend="openai", port=0, seed=0, keys_env="", **settings
    )
    return create_app(
        config,
        bundles=found,
        backend=backend or StandInBackend(),
        store=DecisionStore(f"sqlite:///{folder / 'decisions.db'}"),
        evaluator=evaluator,
    )


class LiveServer:
    """An application behind a socket of this process, in a thread of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.services = app.state.services
        self._server = RoutingServer(app, self.services.config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def start(self) -> None:
        """Start, and wait until it is ready or has failed."""
        self._thread.start()
        wait_for(lambda: self._server.started or not self._thread.is_alive())
        wait_for(lambda: self.services.readiness.ready or self.services.failure is not None)

    def stop(self) -> None:
        """Stop as a signal would, and wait for the end."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def serving(app: FastAPI) -> Any:
    """Serve an application while the block runs."""
    server = LiveServer(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def client_of(app: FastAPI, **options: Any) -> Any:
    """Serve an application and speak to it."""
    with serving(app) as server, httpx.Client(base_url=server.url, timeout=20, **options) as client:
        client.server = server  # type: ignore[attr-defined]
        yield client


def wait_for(condition: Any, *, seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it never came true")
        time.sleep(0.005)


def chat(text: str = "Hello?", *, model: str = "router", **fields: Any) -> dict[str, Any]:
    """Return the body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def _manifest(name: str, adapters: tuple[str, ...]) -> BundleManifest:
    """Describe a stand-in as a bundle would."""
    return BundleManifest(
        name=name,
        agent=name,
        feedback="bandit",
        adapters=adapters,
        adapter_hashes=dict.fromkeys(adapters, ""),
        pool_fingerprint="pool",
        base_model="none",
        table="table",
        encoder=EncoderRecord(
            "stand-in", WIDTH, 0, "float32", (EncoderPart("surface", "stand-in", WIDTH),)
        ),
        policy=PolicyRecord("probabilities", len(adapters)),
        temperature=1.0,
        exploration=Exploration("policy"),
        fallback=FallbackRule(adapters[0]),
        training=TrainingStatistics(
            arm_shares=tuple(1 / len(adapters) for _ in adapters),
            embedding_mean=(0.5,) * WIDTH,
            embedding_spread=1.0,
            queries=100,
        ),
        reward={"relevance": 1.0, "tokens": 0.5},
        test={},
        agreement={},
        created="2025-01-01T00:00:00+00:00",
        versions={},
        files={},
    )
