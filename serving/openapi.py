"""The OpenAPI document: every status that a client may meet, with its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from routing_gym.serving.protocol import ErrorResponse
from routing_gym.serving.services import Services
from routing_gym.serving.settings import ROUTER

_REFERENCE = "#/components/schemas/{model}"
BEARER = "key"
"""Name of the security scheme."""
_WHY = {
    400: "The body is not valid JSON, or the back end refused the request.",
    401: "A key is asked for and none, or an unknown one, was sent.",
    403: "The key does not open this.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "Another reward was recorded before.",
    413: "The body is too long.",
    415: "The body is not called JSON.",
    422: "A field does not fit.",
    429: "There is no room just now; Retry-After says when to try again.",
    431: "Address and headers are too long.",
    500: "The server failed.",
    502: "The back end failed.",
    503: "The server is not ready, or its log cannot be written.",
    504: "The answer did not come in time.",
}
_HEADERS = {
    401: ("www-authenticate", "How to authenticate."),
    429: ("retry-after", "Seconds to wait."),
}
_DECISION_HEADERS = {
    "x-adapter-id": "The adapter that answers.",
    "x-decision-id": "For /feedback; only of routed requests.",
    "x-propensity": "Probability with which the adapter was drawn; only of routed requests.",
    "x-policy-version": "The policy that decided; only of routed requests.",
}


def responses(
    model: type[BaseModel] | None,
    *statuses: int,
    description: str,
    extra: Mapping[int | str, Mapping[str, Any]] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Describe the responses of a route.

    Parameters
    ----------
    model
        Of status 200; None leaves its content to `extra`.
    *statuses
        Of the errors.
    description
        Of status 200.
    extra
        Status -> further or other entries.
    """
    found: dict[int | str, dict[str, Any]] = {200: {"description": description}}
    if model is not None:
        found[200]["model"] = model
    for status in statuses:
        found[status] = {"description": _WHY[status], "model": ErrorResponse}
        if status in _HEADERS:
            name, text = _HEADERS[status]
            found[status]["headers"] = {name: _header(text)}
    for code, entries in (extra or {}).items():
        found.setdefault(code, {}).update(entries)
    return found


def chat_response() -> dict[int | str, dict[str, Any]]:
    """Describe what only chat responses have: a stream as an alternative, and headers."""
    return {
        200: {
            "content": {
                "text/event-stream": {
                    "schema": {
                        "type": "string",
                        "description": "Events `data: <chat.completion.chunk>`, at last "
                        "`data: [DONE]`; sent if the request says `stream: true`.",
                    }
                }
            },
            "headers": {name: _header(text) for name, text in _DECISION_HEADERS.items()},
        }
    }


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe the body of a route whose endpoint reads it itself."""
    reference = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}
    }


def document(app: FastAPI, services: Services, *, bodies: Sequence[type[BaseModel]]) -> None:
    """Let an application describe its request bodies and keys as well.

    Parameters
    ----------
    app
        The application.
    services
        The server's parts.
    bodies
        The models that `body_of` refers to.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            content = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            _add_bodies(content, bodies)
            _name_models(content, services)
            if services.auth.enabled:
                _add_keys(content)
            app.openapi_schema = content
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add_bodies(content: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> None:
    """Add the schemas of the request bodies."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in bodies], ref_template=_REFERENCE
    )
    content["components"]["schemas"] |= definitions["$defs"]


def _name_models(content: dict[str, Any], services: Services) -> None:
    """Name the models and policies that are served; other names are valid and not found."""
    schemas, policies = content["components"]["schemas"], list(services.policies)
    models = [ROUTER, *(f"{ROUTER}:{name}" for name in policies), *services.backend.adapters]
    for schema, field, known in (
        ("ChatCompletionRequest", "model", models),
        ("RouteRequest", "policy", policies),
    ):
        entry = schemas[schema]["properties"][field]
        options = entry.pop("anyOf", None) or [
            {key: entry.pop(key) for key in ("type", "minLength", "maxLength")}
        ]
        entry["anyOf"] = [{"enum": known}, *options]


def _add_keys(content: dict[str, Any]) -> None:
    """Say which routes ask for a key."""
    content["components"]["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    for path in content["paths"].values():
        for operation in path.values():
            if "401" in operation["responses"]:
                operation["security"] = [{BEARER: []}]


def _header(text: str) -> dict[str, Any]:
    """Describe a header."""
    return {"description": text, "schema": {"type": "string"}}
