"""Reading a JSON body: bounded in size and time, parsed strictly, refused with a reason."""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from routing_gym.serving.deadlines import within
from routing_gym.serving.errors import ApiError

ModelT = TypeVar("ModelT", bound=BaseModel)
_HUGE_NUMBER = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")  # 1e400 is read as infinity
_DISCARDED = 16  # times the limit that is read and thrown away, so that the client hears the 413


async def read_json(
    request: Request, model: type[ModelT], *, limit: int, timeout: float
) -> tuple[ModelT, dict[str, Any]]:
    """Read, parse and validate the body of a request.

    Parameters
    ----------
    request
        The request.
    model
        What the body must be.
    limit
        Most bytes.
    timeout
        Seconds in which all of them must arrive.

    Returns
    -------
    model, content
        The validated body, and the JSON object that it was made from.

    Raises
    ------
    ApiError
        400 if it is no JSON, 408 if it is late, 413 if too long, 415 if of another type, 422 if
        it does not fit the model.
    """
    _check_type(request)
    try:
        async with within(timeout):
            body = await _read(request, limit)
    except TimeoutError:
        raise ApiError(
            408,
            f"the body did not arrive within {timeout:g} s.",
            code="body_timeout",
            headers={"connection": "close"},
        ) from None
    content = _parse(body)
    try:
        return model.model_validate(content), content
    except ValidationError as error:
        raise _unfit(error) from None


def _check_type(request: Request) -> None:
    """Refuse what does not call itself JSON, or is compressed."""
    headers = dict(request.scope["headers"])
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ApiError(
            415, "send the body as content-type: application/json.", code="unsupported_media_type"
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ApiError(
            415, "send the body without content-encoding.", code="unsupported_media_type"
        )


async def _read(request: Request, limit: int) -> bytes:
    """Read the body up to the limit; throw the rest of a longer one away before refusing it."""
    announced = dict(request.scope["headers"]).get(b"content-length", b"")
    if announced.isdigit() and int(announced) > _DISCARDED * limit:
        raise _too_long(limit)
    parts, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > _DISCARDED * limit:
            raise _too_long(limit)
        else:
            parts.clear()
        if not message.get("more_body", False):
            break
    if size > limit:
        raise _too_long(limit)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_long(limit: int) -> ApiError:
    """Make the 413."""
    return ApiError(
        413,
        f"the body is longer than {limit} bytes.",
        code="body_too_large",
        headers={"connection": "close"},
    )


def _parse(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; NaN, infinities and lone surrogates are no JSON."""
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise ApiError(400, "the body is not valid JSON.", code="invalid_json") from None
    if not isinstance(content, dict):
        raise ApiError(422, "the body must be a JSON object.", code="invalid_body")
    if _HUGE_NUMBER.search(body) and not _is_finite(content):
        raise ApiError(400, "the body holds a number that is too large.", code="invalid_json")
    return content


def _is_finite(content: Any) -> bool:
    """Tell whether every number can be written again as JSON, for the upstream server."""
    if isinstance(content, dict):
        return all(_is_finite(value) for value in content.values())
    if isinstance(content, list):
        return all(_is_finite(value) for value in content)
    return not isinstance(content, float) or math.isfinite(content)


def _unfit(error: ValidationError) -> ApiError:
    """Name the first field that does not fit, and what it should be, but not its value."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in errors[0]["loc"])[:200]
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return ApiError(
        422,
        f"{place or 'body'}: {errors[0]['msg']}{more}.",
        code="invalid_field",
        param=place or None,
    )
