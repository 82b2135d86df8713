"""What the server does at each of its addresses."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRouter
from starlette.responses import Response

from routing_gym.serving import openapi, protocol
from routing_gym.serving.auth import Scope
from routing_gym.serving.chat import ChatAnswer, Target
from routing_gym.serving.chat_format import backend_request, routed_text
from routing_gym.serving.decision_log import FeedbackConflict, LogUnavailable, UnknownDecision
from routing_gym.serving.errors import ApiError, JsonResponse
from routing_gym.serving.metrics import CONTENT_TYPE
from routing_gym.serving.observation import REQUEST_ID, Endpoint
from routing_gym.serving.request_body import ModelT, read_json
from routing_gym.serving.services import ADAPTERS, LOG, Services
from routing_gym.serving.settings import ROUTER, policy_of

_EVERY = (431, 500)
_KEYED = (*_EVERY, 401, 403, 429)
_WITH_BODY = (*_KEYED, 400, 404, 408, 413, 415, 422, 503)


class Endpoints:
    """The endpoints over the server's parts.

    Parameters
    ----------
    services
        The parts.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def add_to(self, app: FastAPI) -> None:
        """Register every endpoint, with its documentation.

        The application then answers with 405 and 404 what is not theirs; the endpoints themselves
        are called by `Observation`.
        """
        models = self._services.models
        self._add_answering(app.router)
        self._add_watching(app.router)
        openapi.document(app, self._services, bodies=[models.chat, models.route, models.feedback])

    @property
    def by_address(self) -> dict[tuple[str, str], Endpoint]:
        """(method, path) -> endpoint."""
        return {
            ("POST", "/v1/chat/completions"): self.chat,
            ("GET", "/v1/models"): self.list_models,
            ("POST", "/route"): self.route,
            ("POST", "/feedback"): self.feedback,
            ("GET", "/healthz"): self.health,
            ("GET", "/readyz"): self.ready,
            ("GET", "/metrics"): self.metrics,
        }

    def _add_answering(self, api: APIRouter) -> None:
        """Register what clients use."""
        models = self._services.models
        api.add_api_route(
            "/v1/chat/completions",
            self.chat,
            methods=["POST"],
            summary="Answer a conversation with the adapter that the policy chooses",
            responses=openapi.responses(
                protocol.ChatCompletion,
                *_WITH_BODY,
                502,
                504,
                description="The answer.",
                extra=openapi.chat_response(),
            ),
            openapi_extra=openapi.body_of(models.chat),
        )
        api.add_api_route(
            "/v1/models",
            self.list_models,
            methods=["GET"],
            summary="List the names that chat requests may ask for",
            responses=openapi.responses(
                protocol.ModelList, *_KEYED, description="Router, policies and adapters."
            ),
        )
        api.add_api_route(
            "/route",
            self.route,
            methods=["POST"],
            summary="Decide on texts without answering them",
            responses=openapi.responses(
                protocol.RouteResponse, *_WITH_BODY, 504, description="The decisions."
            ),
            openapi_extra=openapi.body_of(models.route),
        )
        api.add_api_route(
            "/feedback",
            self.feedback,
            methods=["POST"],
            summary="Say how good the answer to a routed request was",
            responses=openapi.responses(
                protocol.FeedbackResponse, *_WITH_BODY, 409, description="It is recorded."
            ),
            openapi_extra=openapi.body_of(models.feedback),
        )

    def _add_watching(self, api: APIRouter) -> None:
        """Register what operators use."""
        unready: dict[int | str, Any] = {
            503: {"description": "Not ready, or stopping.", "model": protocol.ReadyState}
        }
        text = {"text/plain": {"schema": {"type": "string"}}}
        api.add_api_route(
            "/healthz",
            self.health,
            methods=["GET"],
            summary="Tell whether the process answers",
            responses=openapi.responses(protocol.Health, *_EVERY, description="It does."),
        )
        api.add_api_route(
            "/readyz",
            self.ready,
            methods=["GET"],
            summary="Tell whether hashes, golden vectors, adapters and log are verified",
            responses=openapi.responses(
                protocol.ReadyState, *_EVERY, description="They are.", extra=unready
            ),
        )
        api.add_api_route(
            "/metrics",
            self.metrics,
            methods=["GET"],
            summary="Metrics for Prometheus",
            responses=openapi.responses(
                None, *_KEYED, description="The metrics.", extra={200: {"content": text}}
            ),
            response_class=Response,
        )

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        services = self._services
        body, content = await self._body(request, services.models.chat, scope="chat")
        text = routed_text(body)
        if text is None:
            raise ApiError(
                422,
                "messages: at least one must have the role 'user'.",
                code="invalid_field",
                param="messages",
            )
        if len(text) > services.config.max_prompt_chars:  # of several parts, each within the limit
            raise ApiError(
                422,
                f"messages: the last user message has {len(text)} characters, more than "
                f"{services.config.max_prompt_chars}.",
                code="invalid_field",
                param="messages",
            )
        services.readiness.require(ADAPTERS)
        options = body.stream_options
        return ChatAnswer(
            services,
            target=self._target(body.model, text),
            request=backend_request(body, content, services.config),
            request_id=request.scope[REQUEST_ID],
            include_usage=bool(options and options.include_usage),
        )

    async def list_models(self, request: Request) -> Response:
        """List what may be asked for."""
        self._authorise(request, "chat")
        names = [ROUTER, *(f"{ROUTER}:{name}" for name in self._services.policies)]
        owners = [(name, "router") for name in names]
        owners += [(name, "adapter") for name in self._services.backend.adapters]
        data = [
            {
                "id": name,
                "object": "model",
                "created": self._services.created,
                "owned_by": f"routing-gym-{kind}",
            }
            for name, kind in owners
        ]
        return JsonResponse({"object": "list", "data": data})

    async def route(self, request: Request) -> Response:
        """Decide on one or more texts."""
        services = self._services
        body, _ = await self._body(request, services.models.route, scope="chat")
        services.readiness.require(ADAPTERS)
        policy = self._policy(f"{ROUTER}:{body.policy}") if body.policy else services.policies[0]
        texts = [body.input] if isinstance(body.input, str) else body.input
        choices = await services.decider.decide(policy, texts, request_id=request.scope[REQUEST_ID])
        decisions = [
            {
                "decision_id": choice.decision_id,
                "adapter": choice.adapter,
                "propensity": choice.propensity,
                "probabilities": choice.probabilities,
                "confidence": choice.confidence,
                "fallback": choice.fallback,
            }
            for choice in choices
        ]
        version = services.bundles[policy].version
        return JsonResponse({"policy": policy, "policy_version": version, "decisions": decisions})

    async def feedback(self, request: Request) -> Response:
        """Record a reward."""
        services = self._services
        body, _ = await self._body(request, services.models.feedback, scope="feedback")
        services.readiness.require(LOG)
        try:
            status = await services.record_reward(body.decision_id, body.reward, source="user")
        except UnknownDecision:
            raise ApiError(
                404, "no decision has this id.", code="unknown_decision", param="decision_id"
            ) from None
        except FeedbackConflict:
            raise ApiError(
                409,
                "another reward was recorded for this decision before, and counts.",
                code="feedback_conflict",
                param="reward",
            ) from None
        except LogUnavailable:
            raise ApiError(
                503,
                "the log cannot be written, so the reward is not recorded: send it again.",
                code="log_unavailable",
                headers={"retry-after": "1"},
            ) from None
        return JsonResponse({"decision_id": body.decision_id, "status": status})

    async def health(self, request: Request) -> Response:
        """Answer."""
        return JsonResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Tell whether requests may come."""
        is_ready = await self._services.check()
        readiness = self._services.readiness
        status = "ready" if is_ready else "stopping" if readiness.draining else "not ready"
        return JsonResponse(
            {"status": status, "checks": readiness.checks}, status_code=200 if is_ready else 503
        )

    async def metrics(self, request: Request) -> Response:
        """Return the metrics."""
        self._authorise(request, "metrics")
        return Response(self._services.metrics.render(), headers={"content-type": CONTENT_TYPE})

    def _authorise(self, request: Request, scope: Scope) -> None:
        """Refuse a request without the key that it needs."""
        auth = self._services.auth
        if auth.enabled:
            auth.require(request.headers.get("authorization"), scope)

    async def _body(
        self, request: Request, model: type[ModelT], *, scope: Scope
    ) -> tuple[ModelT, dict[str, Any]]:
        """Check the key, then read the body."""
        self._authorise(request, scope)
        config = self._services.config
        return await read_json(
            request, model, limit=config.max_body_bytes, timeout=config.body_timeout
        )

    def _target(self, model: str, text: str) -> Target:
        """Find who is asked by a model name."""
        if model in self._services.backend.adapters:
            return Target(None, model, text)
        return Target(self._policy(model), "", text)

    def _policy(self, model: str) -> str:
        """Find the policy that a model name asks for."""
        try:
            policy = policy_of(model, policies=self._services.policies)
        except ValueError as error:
            raise _no_model(str(error)) from None
        if policy is None:
            known = ", ".join((ROUTER, *self._services.backend.adapters))
            raise _no_model(f"no such model: served are {known}.")
        return policy


def _no_model(message: str) -> ApiError:
    """Make the 404 of a model or policy."""
    return ApiError(404, message, code="model_not_found", param="model")
