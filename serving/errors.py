"""What clients are told when something is wrong: OpenAI's error object, with a status."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A refusal that a client can understand.

    Parameters
    ----------
    status
        HTTP status, 400 to 599.
    message
        A sentence; never holds what the client sent as a prompt or key.
    code
        Short name of the reason, for programs.
    param
        Which field is wrong.
    headers
        Of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        return error_body(self.status, str(self), code=self.code, param=self.param)

    def response(self) -> Response:
        """Return the HTTP response."""
        return JsonResponse(self.body(), status_code=self.status, headers=self.headers)


class Overloaded(ApiError):
    """No room just now: 429, with the seconds after which another try may succeed.

    Parameters
    ----------
    reason
        Which limit was reached; the label of `router_rejected_total` and the error's code.
    message
        A sentence.
    retry_after
        Seconds; rounded up to whole ones, at least 1.
    """

    def __init__(self, reason: str, message: str, *, retry_after: float = 1.0) -> None:
        seconds = str(max(1, math.ceil(retry_after)))
        super().__init__(429, message, code=reason, headers={"retry-after": seconds})


def internal_error() -> ApiError:
    """Return the refusal for a defect of ours, of which the log knows more."""
    return ApiError(500, "the server failed; its log knows why.", code="internal_error")


class JsonResponse(Response):
    """A JSON response, written without spaces and without escaping."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the content."""
        return dump_json(content)


def dump_json(content: Any) -> bytes:
    """Write JSON in UTF-8; a lone surrogate becomes a question mark, NaN null."""
    try:
        return to_json(content, inf_nan_mode="null")
    except PydanticSerializationError:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def error_body(status: int, message: str, *, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the error object in OpenAI's form."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
