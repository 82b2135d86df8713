"""A server that answers for a pool: where it is, how it is asked, how it calls the adapters."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

Prompting = Literal["rendered", "chat"]
Judging = Literal["local", "server", "none"]
_OWN_FIELDS = (
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "temperature",
    "stream",
    "n",
    "logprobs",
)
_SILENT_FIELDS = (
    "return_tokens_as_token_ids",
    "priority",
    "user",
    "request_id",
    "cache_salt",
    "metadata",
    "service_tier",
)
"""Fields of a request that change no answer."""
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MOST_LOGPROBS = 20
_REVISION_REMEDY = (
    "state which weights the server has under its name, with `revision` (a version, a commit or "
    "the sha256 of `AdapterSpec.sha256`) or with the local folder `path`"
)


def check_url(url: str) -> str:
    """Hand a server's URL back.

    Raises
    ------
    ValueError
        If it has no http or https or no host, or more than these, a port and a path: URLs are
        shown in errors, and must hold no secret.
    """
    if set("@?#") & set(url):
        raise ValueError(
            "url: give http:// or https://, a host and a port, and nothing with '@', '?' or '#'; "
            "the key belongs into an environment variable."
        )
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(f"url={url!r}: give http:// or https://, a host and a port.")
    return url


def root_of(url: str) -> str:
    """Return the URL that ends in ``/v1``."""
    return url.rstrip("/").removesuffix("/v1") + "/v1"


def read_key(variable: str) -> str:
    """Read a server's key from an environment variable; "" where none is named.

    Raises
    ------
    ValueError
        If a variable is named and is not set.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        raise ValueError(
            f"the environment variable {variable} is not set: put the server's key there, or name "
            "no variable."
        )
    return key


@dataclass(frozen=True)
class ServedAdapter:
    """How a server calls an adapter, and which weights it is said to have there.

    Parameters
    ----------
    model
        Its model name at the server; "" is the adapter's own.
    revision
        Which weights those are: a version, a commit, a date; 64 hexadecimal digits are taken as
        the adapter's sha256 itself. "" for the base, or where a local folder tells.
    source
        Place of the weights as the server sees it; an adapter that the server does not list is
        loaded from there. "" never loads.
    """

    model: str = ""
    revision: str = ""
    source: str = ""

    def sha256(self, name: str) -> str:
        """Hash what is stated about the adapter of this name."""
        if _SHA256.fullmatch(self.revision):
            return self.revision.lower()
        stated = ["served", self.model or name, self.revision]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()

    @classmethod
    def from_entry(cls, name: str, entry: Mapping[str, Any]) -> ServedAdapter:
        """Read an adapter's entry of a pool file, without its ``path``.

        Raises
        ------
        ValueError
            If a key is unknown, or nothing states the weights.
        """
        names = [spec.name for spec in dataclasses.fields(cls)]
        unknown = sorted(set(map(str, entry)) - {*names, "path"})
        if unknown:
            raise ValueError(
                f"adapter {name!r}: unknown key {unknown[0]!r}; known are {', '.join(names)}, path."
            )
        own = cls(**{key: str(entry[key]) for key in names if entry.get(key) is not None})
        if not own.revision and not entry.get("path"):
            raise ValueError(f"adapter {name!r} has no revision: {_REVISION_REMEDY}.")
        return own


@dataclass(frozen=True)
class ServerSpec:
    """An OpenAI-compatible server with LoRA modules by name, and the patience with it.

    Parameters
    ----------
    url
        ``http://host:port``, with or without ``/v1``; several are asked in turn, as replicas.
    key_variable
        Environment variable that holds the API key; "" sends none.
    base
        The server's name of the base model; "" takes the only model of its list without a parent.
    prompt
        ``"rendered"``: the tokens of the project's own prompt go to ``/v1/completions``, so that
        answers are those of a local pool (needs the base model's tokenizer here). ``"chat"``: the
        text goes to ``/v1/chat/completions``, and the server applies its own template.
    concurrency
        Requests at once, of this process.
    timeout
        Seconds for one answer, from its sending to its last byte.
    attempts
        Requests per answer, of which all but the first follow a time-out, a broken connection or
        answer, 408, 409, 425, 429 or 5xx.
    longest_wait
        Seconds; the longest back-off, and the longest ``Retry-After`` that is waited for.
    give_up_after
        Answers that fail for good one after the other before the pool gives up.
    logprobs
        Likeliest tokens whose log-probabilities are asked for with each token; 0 asks for none,
        which leaves the metrics that read tokens without a record.
    probe
        Whether to ask at opening whether each adapter is active.
    judge
        Where the base model judges answers for the metrics ``p_true`` and ``base_likelihood``:
        here (``"local"``), at the server (needs vLLM's ``prompt_logprobs`` and rendered prompts),
        or nowhere.
    request
        Further fields of each request, sent as they are; what can change an answer is bound by the
        fingerprint.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    url: str | tuple[str, ...]
    key_variable: str = ""
    base: str = ""
    prompt: Prompting = "rendered"
    concurrency: int = 64
    timeout: float = 120.0
    attempts: int = 6
    longest_wait: float = 60.0
    give_up_after: int = 20
    logprobs: int = _MOST_LOGPROBS
    probe: bool = True
    judge: Judging = "local"
    request: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        several = (self.url,) if isinstance(self.url, str) else self.url
        if not several or not isinstance(several, (list, tuple)):
            fault = f"={several}" if several else " is empty"
            raise ValueError(f"server.url{fault}: give http://host:port, or a list of them.")
        object.__setattr__(self, "url", tuple(check_url(str(url)) for url in several))
        for name, allowed in (("prompt", get_args(Prompting)), ("judge", get_args(Judging))):
            if getattr(self, name) not in allowed:
                known = ", ".join(allowed)
                raise ValueError(f"server.{name}={getattr(self, name)!r}: choose one of {known}.")
        self._check_types()
        wrong = sorted(set(self.request) & set(_OWN_FIELDS))
        if wrong:
            raise ValueError(f"server.request may not hold {wrong[0]!r}: the pool sets it itself.")
        if self.judge == "server" and self.prompt != "rendered":
            raise ValueError("server.judge='server' needs server.prompt='rendered'.")

    def _check_types(self) -> None:
        for name in ("key_variable", "base"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"server.{name}={getattr(self, name)!r}: give a text.")
        if not isinstance(self.probe, bool):
            raise ValueError(f"server.probe={self.probe!r}: give true or false.")
        if not isinstance(self.request, Mapping):
            raise ValueError(f"server.request={self.request!r}: write it as `name: value` lines.")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("concurrency", "attempts", "give_up_after"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"server.{name}={value!r}: give a whole number of at least 1.")
        for name in ("timeout", "longest_wait"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 < value < float("inf"):
                raise ValueError(f"server.{name}={value!r}: give seconds above 0.")
        if isinstance(self.logprobs, bool) or self.logprobs not in range(_MOST_LOGPROBS + 1):
            raise ValueError(f"server.logprobs={self.logprobs!r}: give 0 to {_MOST_LOGPROBS}.")

    @classmethod
    def from_mapping(cls, values: object) -> ServerSpec:
        """Read the entry ``server`` of a pool file.

        Raises
        ------
        ValueError
            If it is no mapping, a key is unknown, or the URL is missing.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"server={values!r}: write its settings as `name: value` lines.")
        names = [spec.name for spec in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"server: unknown key {name!r}; the nearest known one is {near!r}. An API key "
                    "belongs into the environment variable that key_variable names."
                )
        if "url" not in values:
            raise ValueError("server has no url: give http://host:port.")
        return cls(**values)

    @property
    def roots(self) -> tuple[str, ...]:
        """The URLs that end in ``/v1``."""
        return tuple(map(root_of, self.url))

    @property
    def template(self) -> str:
        """What of the settings makes other answers than the project's own prompt; "" if nothing."""
        prompt = "chat" if self.prompt == "chat" else ""
        fields = {name: self.request[name] for name in set(self.request) - set(_SILENT_FIELDS)}
        return json.dumps([prompt, fields], sort_keys=True, default=str) if fields else prompt

    def read_key(self) -> str:
        """Read the key; see `read_key`."""
        return read_key(self.key_variable)
