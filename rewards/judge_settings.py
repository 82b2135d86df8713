"""Settings of the LLM judge: which model, which server, how patient, how expensive."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import yaml

SETTINGS_VARIABLE = "ROUTING_GYM_JUDGE"
URL_VARIABLE = "OPENAI_BASE_URL"
OPENAI_URL = "https://api.openai.com/v1"
Structured = Literal["auto", "json_schema", "json_object", "none"]
OWN_REQUEST_FIELDS = ("model", "messages", "response_format", "stream", "n")
SECRET_FIELDS = ("api_key", "authorization", "headers", "extra_headers")
COUNTS = ("attempts", "asks", "threads", "give_up_after")


def default_request() -> dict[str, Any]:
    """Decode greedily, with room for a short reason."""
    return {"temperature": 0.0, "max_tokens": 512}


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is asked. No field holds a key: `key_variable` names where to read it.

    Parameters
    ----------
    model
        The model's name at the server, such as ``gpt-4o-mini``.
    base_url
        The server's URL up to ``/v1``; "" takes the environment's ``OPENAI_BASE_URL``, else OpenAI.
    key_variable
        Name of the environment variable that holds the key; "" sends none. On this machine's own
        servers the variable may be unset.
    request
        Further fields of each request, sent as they are. Models that refuse ``max_tokens`` or
        ``temperature`` take, for instance, ``{max_completion_tokens: 2000}``.
    rubric
        What the ratings 1 to 5 mean; "" takes the one of `routing_gym.rewards.judge_prompts`.
    structured
        How the answer's JSON is asked for: ``response_format`` with a schema, with
        ``json_object``, not at all, or ("auto") the first of these that the server accepts. Answers
        are validated in any case.
    timeout
        Seconds without a byte from the server after which a request is sent again.
    attempts
        Requests per ask, of which all but the first follow a time-out, a lost connection, 408,
        409, 429 or 5xx.
    longest_wait
        Seconds; the longest back-off, and the longest ``Retry-After`` that is waited for.
    asks
        Asks per verdict, of which all but the first follow an answer that is not valid.
    threads
        Requests under way at once.
    give_up_after
        Verdicts that fail one after the other before the whole run stops.
    cache
        Folder of the verdicts so far; "" keeps none.
    prompt_price, completion_price
        Money per million tokens, in the currency of `budget`.
    budget
        Money after which no further request is sent; None for no limit.

    Raises
    ------
    ValueError
        If a value is out of range, or a place that is written to disk might hold a key.
    """

    model: str
    base_url: str = ""
    key_variable: str = "OPENAI_API_KEY"
    request: Mapping[str, Any] = field(default_factory=default_request)
    rubric: str = ""
    structured: Structured = "auto"
    timeout: float = 60.0
    attempts: int = 6
    longest_wait: float = 120.0
    asks: int = 3
    threads: int = 4
    give_up_after: int = 20
    cache: str | Path = ""
    prompt_price: float = 0.0
    completion_price: float = 0.0
    budget: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise ValueError(f"model={self.model!r} is empty: name the model that judges.")
        if self.structured not in get_args(Structured):
            allowed = ", ".join(get_args(Structured))
            raise ValueError(f"structured={self.structured!r} is unknown: use one of {allowed}.")
        self._check_secrets()
        self._check_request()
        for name in COUNTS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be an integer of at least 1.")
        for name in ("timeout", "longest_wait"):
            if not _at_least_zero(getattr(self, name)) or getattr(self, name) == 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be a positive number.")
        self._check_money()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> JudgeSettings:
        """Make settings of named values, as a YAML file holds them.

        Raises
        ------
        ValueError
            If a name is unknown or the model is missing.
        """
        names = [spec.name for spec in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"unknown setting {name!r} of the judge; the nearest known one is {near!r}. "
                    "A key belongs into the environment variable that key_variable names."
                )
        if "model" not in values:
            raise ValueError("the judge has no model: set judge.model to a model of its server.")
        return cls(**values)

    @classmethod
    def from_environment(cls) -> JudgeSettings:
        """Read the YAML file that the variable ``ROUTING_GYM_JUDGE`` names.

        The file holds the settings, or holds them under the key ``judge``.

        Raises
        ------
        ValueError
            If the variable is not set, or its file is missing, no YAML mapping, or refused.
        """
        path = os.environ.get(SETTINGS_VARIABLE, "")
        if not path:
            raise ValueError(
                f"the environment variable {SETTINGS_VARIABLE} is not set: let it name a YAML file "
                "of the judge's settings, or pass JudgeSettings(model=...)."
            )
        if not Path(path).is_file():
            raise ValueError(f"the judge's settings file {path!r} does not exist: check the path.")
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"the judge's settings file {path!r} is not valid YAML.") from error
        values = content.get("judge", content) if isinstance(content, dict) else None
        if not isinstance(values, dict):
            raise ValueError(f"the judge's settings file {path!r} must hold 'name: value' lines.")
        return cls.from_mapping(values)

    @property
    def url(self) -> str:
        """The server's URL, without a slash at its end.

        Raises
        ------
        ValueError
            If it is no http(s) URL, or holds a user, a password or a query.
        """
        url = (self.base_url or os.environ.get(URL_VARIABLE, "") or OPENAI_URL).rstrip("/")
        _check_url(url)
        return url

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:  # a name
            return host == "localhost"

    @property
    def completion_limit(self) -> int:
        """Most tokens of an answer, as far as the request says."""
        limits = [self.request.get(name) for name in ("max_completion_tokens", "max_tokens")]
        return next((limit for limit in limits if isinstance(limit, int)), 512)

    def read_key(self) -> str:
        """Read the key from the environment; "" if the server needs none.

        Raises
        ------
        ValueError
            If a server elsewhere needs one and there is none, or no HTTP header can hold it.
        """
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if not key and self.key_variable and not self.is_local:
            raise ValueError(
                f"the environment variable {self.key_variable} is not set: export the key of "
                f"{self.url}, or set key_variable to '' if that server needs none."
            )
        if not re.fullmatch(r"[!-~]*", key):  # a client's own error would quote the key
            raise ValueError(
                f"the key in {self.key_variable} holds blanks or characters that no HTTP header "
                "may hold: copy it again."
            )
        return key

    def _check_secrets(self) -> None:
        """Refuse keys where names are asked for, without repeating them."""
        # Capitals alone, because the keys of some providers are valid names.
        if self.key_variable and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", str(self.key_variable)):
            raise ValueError(
                "key_variable must be the name of an environment variable in capitals, such as "
                "OPENAI_API_KEY, and never the key itself: export the key under that name."
            )
        if self.base_url:
            _check_url(self.base_url)

    def _check_request(self) -> None:
        """Keep the request's fields to what is sent as it is."""
        if not isinstance(self.request, Mapping):
            raise ValueError(f"request={self.request!r} must map field names to values.")
        for name in self.request:
            if str(name).casefold() in SECRET_FIELDS:
                raise ValueError(f"request may not hold {name!r}: keys come from key_variable.")
            if name in OWN_REQUEST_FIELDS:
                raise ValueError(f"request may not hold {name!r}: the judge sets it itself.")
        try:
            json.dumps(dict(self.request), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"request={self.request!r} is not JSON: {error}.") from error

    def _check_money(self) -> None:
        """Hold prices and budget to their range and to each other."""
        for name in ("prompt_price", "completion_price"):
            if not _at_least_zero(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r} must be a number of at least 0.")
        if self.budget is None:
            return
        if not _at_least_zero(self.budget):
            raise ValueError(f"budget={self.budget!r} must be a number of at least 0, or null.")
        if not self.prompt_price and not self.completion_price:
            raise ValueError(
                f"budget={self.budget} has no effect without prices: set prompt_price and "
                "completion_price, in money per million tokens."
            )


def _at_least_zero(value: object) -> bool:
    """Tell whether a value is a finite number of at least 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]


def _check_url(url: str) -> None:
    """Refuse what is no URL of a server, and URLs that carry secrets, without repeating those."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read for its check
    except ValueError as error:
        raise ValueError("base_url is not a valid URL: write http(s)://host[:port]/v1.") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(
            "base_url may not hold a user, a password or a query: put the key into the environment "
            "variable that key_variable names."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url={url!r} is not a server's URL: write http(s)://host[:port]/v1.")
