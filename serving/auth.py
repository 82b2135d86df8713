"""Who may do what: optional bearer keys with scopes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from routing_gym.serving.errors import ApiError

Scope = Literal["chat", "feedback", "metrics"]
SCOPES: tuple[str, ...] = get_args(Scope)
MIN_KEY_LENGTH = 16
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Key:
    """A key by its hash, and what it opens.

    Parameters
    ----------
    digest
        sha256 of the key, 32 bytes; not shown by ``repr``.
    scopes
        Any of chat, feedback and metrics.
    """

    digest: bytes = field(repr=False)
    scopes: frozenset[str]

    @classmethod
    def parse(cls, line: str) -> Key:
        """Read ``"chat,feedback the-key"``; the key may be given as ``sha256:<64 hex digits>``.

        Raises
        ------
        ValueError
            If the line has another form, a scope is unknown or the key too short; the message
            does not show the key.
        """
        names, _, key = line.strip().partition(" ")
        key, scopes = key.strip(), frozenset(names.split(","))
        unknown = sorted(scopes - set(SCOPES))
        if unknown:
            raise ValueError(
                f"{len(unknown)} scope(s) of a key are unknown: write lines of the form "
                f"'scope,scope key' with scopes out of {', '.join(SCOPES)}."
            )
        hashed = _HASHED.fullmatch(key)
        if hashed:
            return cls(bytes.fromhex(hashed[1]), scopes)
        if len(key) < MIN_KEY_LENGTH or not key.isascii() or " " in key:
            raise ValueError(
                f"a key for {names} is shorter than {MIN_KEY_LENGTH} characters, holds a space or "
                "is not ASCII: make one with 'openssl rand -hex 24'."
            )
        return cls(hashlib.sha256(key.encode()).digest(), scopes)


class Auth:
    """Checks the ``Authorization`` header of requests.

    Parameters
    ----------
    keys
        The known keys; none at all means that everybody may do everything.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)

    @classmethod
    def read(cls, *, file: Path | None = None, variable: str = "") -> Auth:
        """Read the keys of a file and of an environment variable.

        Parameters
        ----------
        file
            One key a line; blank lines and lines that begin with # are skipped.
        variable
            Name of the variable; its keys stand on lines or are separated by semicolons.

        Raises
        ------
        ValueError
            If the file is missing or holds no key, or a line is wrong; its number is named.
        """
        keys = []
        if file is not None:
            if not file.is_file():
                raise ValueError(f"keys_file={str(file)!r} does not exist: check the path.")
            keys += _parse_lines(file.read_text("utf-8").splitlines(), origin=str(file))
            if not keys:
                raise ValueError(f"keys_file={str(file)!r} holds no key: add one, or leave it out.")
        if variable and os.environ.get(variable):
            lines = os.environ[variable].replace(";", "\n").splitlines()
            keys += _parse_lines(lines, origin=f"environment variable {variable}")
        return cls(keys)

    @property
    def enabled(self) -> bool:
        """Whether keys are asked for."""
        return bool(self.keys)

    def require(self, authorization: str | None, scope: Scope) -> None:
        """Let a request pass, or refuse it.

        Parameters
        ----------
        authorization
            The request's header.
        scope
            What the request needs.

        Raises
        ------
        ApiError
            401 without a known key, 403 if the key does not open the scope.
        """
        if not self.keys:
            return
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise _unauthorised("this server asks for a key: send 'Authorization: Bearer <key>'.")
        found = self._find(token.strip())
        if found is None:
            raise _unauthorised("the key is not known.", error="invalid_token")
        if scope not in found.scopes:
            raise ApiError(
                403,
                f"the key does not open the scope {scope!r}.",
                code="insufficient_scope",
                headers={"www-authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )

    def _find(self, token: str) -> Key | None:
        """Compare with every key, so that the time tells neither which one fits nor how far."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in self.keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found


def _parse_lines(lines: Iterable[str], *, origin: str) -> list[Key]:
    """Read keys from lines, naming the wrong one by its number only."""
    keys = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            keys.append(Key.parse(line))
        except ValueError as error:
            raise ValueError(f"{origin}, line {number}: {error}") from None
    return keys


def _unauthorised(message: str, *, error: str = "") -> ApiError:
    """Make the 401 that asks for a bearer key."""
    challenge = "Bearer" + (f' error="{error}"' if error else "")
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": challenge})
