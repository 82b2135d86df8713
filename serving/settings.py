"""Every setting of the server: what it serves, to whom, how much, and how long it waits."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from routing_gym.serving.exploration import Exploration

ROUTER = "router"
_POLICY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.*-]+(:\d+)?")
_POSITIVE_SECONDS = (
    "decision_timeout",
    "first_token_timeout",
    "request_timeout",
    "header_timeout",
    "body_timeout",
    "keep_alive_seconds",
)
_WAITING_SECONDS = ("unready_seconds", "drain_seconds")
_AT_LEAST_ONE = (
    "encoder_threads",
    "max_body_bytes",
    "max_header_bytes",
    "max_prompt_chars",
    "max_messages",
    "max_batch",
    "max_tokens",
    "max_requests",
    "concurrency",
    "decision_queue",
    "backlog",
    "self_evaluation_queue",
    "drift_half_life",
)


@dataclass(frozen=True)
class ServeConfig:
    """Settings of the server; every one has a safe default.

    Parameters
    ----------
    bundle
        Folder of the policy that answers to the model name "router".
    bundles
        Further policies: name -> folder; each answers to the model name "router:<name>".
    backend
        Who writes the answers: local (the pool in this process) or openai (a server by URL).
    pool
        Pool of the local back end: a registered name, or the path of a pool file.
    upstream_url
        Base URL of the openai back end, such as http://127.0.0.1:8001/v1.
    upstream_models
        Adapter -> model name upstream, for those whose names differ.
    upstream_base
        Adapter that is the base model, with which the others' answers are compared at the start.
    upstream_probe
        Whether to refuse adapters that answer as the base does.
    upstream_key_env
        Environment variable that holds the upstream server's key; empty sends none.
    host
        Address to listen on; other machines reach the server only if this is changed.
    port
        Port to listen on; 0 takes a free one and prints it.
    log_url
        Database of the decision log: sqlite:///path or postgresql://user@host/name.
    log_required
        Whether a decision that cannot be logged is refused with 503 (true), or answered and
        counted as an error (false).
    log_text
        Whether the log holds the prompts' texts; a hash and the embedding are always enough for
        off-policy evaluation.
    log_embeddings
        Whether the log holds the queries' embeddings, the contexts of off-policy evaluation.
    exploration
        How the policies explore: bundle (as each bundle says), greedy, epsilon, softmax or policy.
    epsilon
        Share of uniform decisions of the exploration epsilon.
    exploration_temperature
        Temperature of the exploration softmax.
    seed
        Of the exploration's draws; null draws differently at every start.
    keys_file
        File of bearer keys, one "scope,scope key" a line; null reads the environment alone.
    keys_env
        Environment variable with further keys, separated by semicolons or lines. Without any key
        everybody who reaches the server may use it.
    torch_threads
        Threads of the local back end; 0 leaves it to torch.
    encoder_threads
        Threads of each policy's encoder.
    max_body_bytes
        Longest request body; longer ones are refused with 413.
    max_header_bytes
        Longest request line and headers together.
    max_prompt_chars
        Longest text of one message or of one query to be routed.
    max_messages
        Most messages of one chat request.
    max_batch
        Most texts of one /route request, and most texts that are encoded together.
    max_tokens
        Most new tokens of an answer; a request for more gets this many.
    default_max_tokens
        New tokens of a request that does not say how many.
    max_requests
        Most requests that are open at once, of any kind; more are refused with 429.
    concurrency
        Answers that are written at the same time.
    queue_size
        Chat requests that may wait for their turn; more are refused with 429 at once.
    decision_queue
        Texts that may wait for a decision; more are refused with 429 at once.
    decision_timeout
        Seconds until a decision that has not come gives 504.
    first_token_timeout
        Seconds that the back end may take until its first token, from the start of the writing.
    request_timeout
        Seconds for a chat request as a whole, waiting included.
    header_timeout
        Seconds in which the headers of a request must arrive, from the connection's opening or
        their first byte.
    body_timeout
        Seconds in which a request's body must arrive.
    keep_alive_seconds
        Seconds after which an idle connection is closed.
    unready_seconds
        Seconds between a stop signal and the end of listening, in which /readyz says 503.
    drain_seconds
        Seconds that requests in flight have to end after that.
    backlog
        Connections that the operating system may hold before they are accepted.
    self_evaluation_share
        Share of routed answers that the self-evaluator scores in the background; null is 0.1 with
        the local back end and 0 with the openai back end.
    self_evaluation_queue
        Answers that may wait to be scored; more are not scored.
    drift_half_life
        Decisions after which an old one counts half in the drift metrics.
    demo
        Whether to add the web page at /demo.
    demo_frames
        Origins whose pages may show it in a frame, such as https://huggingface.co.
    log_level
        Least severe events that are written to stderr.

    Raises
    ------
    ValueError
        If a value is out of its range; the message names it and what is allowed.
    """

    bundle: Path = Path("bundles/ppo")
    bundles: dict[str, Path] = field(default_factory=dict)
    backend: Literal["local", "openai"] = "local"
    pool: str = "default"
    upstream_url: str = "http://127.0.0.1:8001/v1"
    upstream_models: dict[str, str] = field(default_factory=dict)
    upstream_base: str = "base"
    upstream_probe: bool = True
    upstream_key_env: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    log_url: str = "sqlite:///runs/serve/decisions.db"
    log_required: bool = True
    log_text: bool = False
    log_embeddings: bool = True
    exploration: Literal["bundle", "greedy", "epsilon", "softmax", "policy"] = "bundle"
    epsilon: float = 0.05
    exploration_temperature: float = 1.0
    seed: int | None = None
    keys_file: Path | None = None
    keys_env: str = "ROUTING_GYM_KEYS"
    torch_threads: int = 0
    encoder_threads: int = 2
    max_body_bytes: int = 4 << 20
    max_header_bytes: int = 16 << 10
    max_prompt_chars: int = 32_000
    max_messages: int = 64
    max_batch: int = 64
    max_tokens: int = 1024
    default_max_tokens: int = 256
    max_requests: int = 512
    concurrency: int = 16
    queue_size: int = 16
    decision_queue: int = 256
    decision_timeout: float = 5.0
    first_token_timeout: float = 30.0
    request_timeout: float = 120.0
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    keep_alive_seconds: float = 75.0
    unready_seconds: float = 0.0
    drain_seconds: float = 30.0
    backlog: int = 2048
    self_evaluation_share: float | None = None
    self_evaluation_queue: int = 64
    drift_half_life: int = 500
    demo: bool = False
    demo_frames: tuple[str, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in _POSITIVE_SECONDS:
            value = getattr(self, name)
            _require(0 < value < math.inf, name, value, "seconds above 0")
        for name in _WAITING_SECONDS:
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, value, "seconds of at least 0")
        for name in ("queue_size", "torch_threads"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        _require(0 <= self.port <= 65535, "port", self.port, "0 (any free one) to 65535")
        _require(
            self.decision_queue >= self.max_batch,
            "decision_queue",
            self.decision_queue,
            f"at least max_batch={self.max_batch}",
        )
        _require(
            1 <= self.default_max_tokens <= self.max_tokens,
            "default_max_tokens",
            self.default_max_tokens,
            f"1 to max_tokens={self.max_tokens}",
        )
        share = self.self_evaluation_share
        _require(
            share is None or 0 <= share <= 1, "self_evaluation_share", share, "a share in [0, 1]"
        )
        _require(self.seed is None or self.seed >= 0, "seed", self.seed, "null, or at least 0")
        _require(bool(self.host), "host", self.host, "an address, 127.0.0.1 for this machine only")
        for origin in self.demo_frames:
            _require(
                bool(_ORIGIN.fullmatch(origin)),
                "demo_frames",
                origin,
                "origins such as https://huggingface.co, without a path",
            )
        for name in self.bundles:
            _require(
                bool(_POLICY_NAME.fullmatch(name)),
                "bundles",
                name,
                "names of letters, digits, '.', '_' and '-'",
            )
        self.exploration_override  # noqa: B018 - refuses bad values before anything starts

    @property
    def exploration_override(self) -> Exploration | None:
        """How every policy explores; None leaves it to the bundles."""
        if self.exploration == "bundle":
            return None
        return Exploration(
            kind=self.exploration,
            epsilon=self.epsilon,
            temperature=self.exploration_temperature,
        )

    @property
    def evaluated_share(self) -> float:
        """Share of routed answers that are scored in the background."""
        if self.self_evaluation_share is not None:
            return self.self_evaluation_share
        return 0.1 if self.backend == "local" else 0.0


def policy_of(model: str, *, policies: tuple[str, ...]) -> str | None:
    """Name the policy that a model name asks for.

    Parameters
    ----------
    model
        "router", "router:<policy>", or something else.
    policies
        Names of the served policies; the first is the default.

    Returns
    -------
    str or None
        The policy; None if the name asks for no policy.

    Raises
    ------
    ValueError
        If the policy is not served; the message lists those that are.
    """
    if model == ROUTER:
        return policies[0]
    prefix, separator, name = model.partition(":")
    if prefix != ROUTER or not separator:
        return None
    if name not in policies:
        close = difflib.get_close_matches(name, policies, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"no such policy: served are {', '.join(policies)}{hint}")
    return name


def _require(fits: bool, name: str, value: object, allowed: str) -> None:
    """Refuse a value that does not fit."""
    if not fits:
        raise ValueError(f"{name}={value!r} is not allowed: give {allowed}.")
