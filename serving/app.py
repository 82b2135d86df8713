"""The server's application: an OpenAI-compatible door, a router behind it, logs and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from routing_gym.serving.backend import Backend
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.decision_log import DecisionStore
from routing_gym.serving.endpoints import Endpoints
from routing_gym.serving.errors import JsonResponse, error_body
from routing_gym.serving.observation import Endpoint, Observation
from routing_gym.serving.self_evaluation import Evaluator
from routing_gym.serving.services import Services
from routing_gym.serving.settings import ServeConfig

_DESCRIPTION = (
    "Chooses an adapter for every query, answers with it, and logs each decision with its "
    "propensity, so that the next policy can be learned from the log."
)
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,  # older versions add exporters because of the environment
}


class RoutingApp(FastAPI):
    """FastAPI for the document, for mounted pages and for refusals; `Observation` for the rest."""

    _observation: Observation | None = None

    def observe(self, services: Services, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        """Put the outermost layer around everything."""
        self._observation = Observation(super().__call__, services=services, endpoints=endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or the lifespan."""
        if self._observation is None:
            raise RuntimeError("the application is not complete: make it with create_app.")
        await self._observation(scope, receive, send)


def create_app(
    config: ServeConfig,
    *,
    bundles: Mapping[str, PolicyBundle],
    backend: Backend,
    store: DecisionStore,
    evaluator: Evaluator | None = None,
) -> FastAPI:
    """Build the application.

    It starts its parts in the background when the lifespan begins: ``/healthz`` answers at once,
    ``/readyz`` when everything is verified. ``app.state.services`` holds the parts.

    Parameters
    ----------
    config
        The settings.
    bundles
        Policy name -> verified bundle; the first is what ``model="router"`` asks for.
    backend
        Writes the answers; not started yet.
    store
        The decision log; not opened yet.
    evaluator
        Scores a share of the answers in the background; None leaves that out.

    Returns
    -------
    FastAPI
        The application.

    Raises
    ------
    ValueError
        If there is no bundle, or the keys cannot be read.
    """
    services = Services(config, bundles=bundles, backend=backend, store=store, evaluator=evaluator)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await services.start()
        try:
            yield
        finally:
            await services.stop()

    app = RoutingApp(
        title="Routing Gym",
        description=_DESCRIPTION,
        version="1",
        docs_url=None,  # their scripts come from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_NO_TELEMETRY,
    )
    app.state.services = services
    endpoints = Endpoints(services)
    endpoints.add_to(app)
    app.observe(services, endpoints.by_address)
    app.add_exception_handler(HTTPException, _unrouted)
    return app


async def _unrouted(request: Request, error: Exception) -> Response:
    """Say in OpenAI's form that there is no such address or method."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    body = error_body(error.status_code, f"{error.detail}.", code=code)
    return JsonResponse(body, status_code=error.status_code, headers=error.headers)
