from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from routing_gym.serving.backend import BackendError
from routing_gym.serving.decision_log import LogUnavailable
from routing_gym.serving.logs import NAME, configure
from tests.serving.stand_ins import (
    LiveServer,
    StandInBackend,
    StandInBundle,
    chat,
    client_of,
    make_app,
    wait_for,
)

CHAT, FEEDBACK, METRICS = "chat-key-0123456789", "feedback-key-0123456789", "metrics-key-0123456789"
UNKNOWN = {"decision_id": "0" * 32, "reward": 0.5}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "keys").write_text(f"chat {CHAT}\nfeedback {FEEDBACK}\nmetrics {METRICS}\n")
    with client_of(make_app(folder, keys_file=folder / "keys")) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body", "right", "status"),
    [
        ("POST", "/v1/chat/completions", chat(), CHAT, 200),
        ("POST", "/route", {"input": "x"}, CHAT, 200),
        ("GET", "/v1/models", None, CHAT, 200),
        ("POST", "/feedback", UNKNOWN, FEEDBACK, 404),
        ("GET", "/metrics", None, METRICS, 200),
    ],
)
def test_every_address_has_its_scope(
    keyed: httpx.Client, method: str, path: str, body: Any, right: str, status: int
) -> None:
    def answer(key: str | None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return keyed.request(method, path, json=body, headers=headers)

    assert answer(right).status_code == status
    for key in {CHAT, FEEDBACK, METRICS} - {right}:
        assert answer(key).status_code == 403
        assert answer(key).json()["error"]["type"] == "permission_error"
    for key in (None, "unknown-key-0123456789"):
        assert answer(key).status_code == 401
        assert answer(key).headers["www-authenticate"].startswith("Bearer")


def test_a_key_is_asked_for_before_the_body_is_read(keyed: httpx.Client) -> None:
    assert keyed.post("/route", content=b"{").status_code == 401


def test_health_needs_no_key_and_the_document_names_what_does(keyed: httpx.Client) -> None:
    assert keyed.get("/healthz").status_code == keyed.get("/readyz").status_code == 200
    paths = keyed.get("/openapi.json").json()["paths"]
    secured = {path for path, entry in paths.items() if "security" in next(iter(entry.values()))}
    assert secured == {"/v1/chat/completions", "/v1/models", "/route", "/feedback", "/metrics"}


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = configure("debug", stream=stream)
    yield stream
    for name in (NAME, "uvicorn"):
        logging.getLogger(name).removeHandler(handler)


def test_logs_hold_request_ids_and_neither_prompts_nor_keys(
    tmp_path: Path, logged: io.StringIO
) -> None:
    (tmp_path / "keys").write_text(f"chat {CHAT}\n")
    calls = [
        ("/v1/chat/completions?fairytale=1", chat("fairytale"), CHAT, 200),
        ("/v1/chat/completions", chat("fairytale <fail>"), CHAT, 500),
        ("/route", {"input": "fairytale"}, CHAT, 200),
        ("/route", {"input": "fairytale <fail>"}, CHAT, 500),
        ("/route", {"input": {"fairytale": "fairytale"}}, CHAT, 422),
        ("/route", {"input": "x"}, "fairytale", 401),
        ("/fairytale", {"input": "fairytale"}, CHAT, 404),
    ]
    with client_of(make_app(tmp_path, keys_file=tmp_path / "keys")) as client:
        for number, (path, body, key, _) in enumerate(calls):
            headers = {"authorization": f"Bearer {key}", "x-request-id": f"call-{number}"}
            client.post(path, json=body, headers=headers)
    text = logged.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    ended = {line["request_id"]: line for line in lines if line["event"] == "request"}
    for number, (path, _, _, status) in enumerate(calls):
        line = ended[f"call-{number}"]
        assert line["status"] == status
        assert line["route"] == (path.partition("?")[0] if status != 404 else "unmatched")
    assert any(line.get("error") == "RuntimeError" for line in lines)
    for secret in ("fairytale", CHAT, "secret words"):
        assert secret not in text


def test_metrics_can_be_read_and_have_the_agreed_names(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path)) as client:
        for text in ("a", "unsure"):
            headers = client.post("/v1/chat/completions", json=chat(text)).headers
        body = {"decision_id": headers["x-decision-id"], "reward": 0.5}
        client.post("/feedback", json=body)
        families = {f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)}
    expected = {
        "router_decisions": ("policy", "adapter", "fallback"),
        "router_encoder_seconds": (),
        "router_policy_seconds": (),
        "router_generation_seconds": ("adapter",),
        "router_request_seconds": ("route", "status"),
        "router_queue_length": (),
        "router_in_flight": (),
        "router_errors": ("kind",),
        "router_fallbacks": ("policy",),
        "router_feedback": ("source",),
        "router_reward": ("adapter",),
        "router_rejected": ("reason",),
        "router_embedding_drift": ("policy",),
        "router_arm_share_drift": ("policy",),
        "router_log_pending": (),
        "router_log_errors": (),
        "router_ready": (),
        "router_self_evaluations": ("adapter",),
        "router_build_info": ("version", "policy", "policy_version"),
    }
    assert expected.keys() <= families.keys()
    for name, labels in expected.items():
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == set(labels), name
    samples = {
        (s.name, tuple(s.labels.values())): s.value
        for family in families.values()
        for s in family.samples
    }
    assert samples["router_fallbacks_total", ("ppo",)] == 1
    assert samples["router_feedback_total", ("user",)] == 1
    assert samples["router_reward_sum", ("base",)] == 0.5
    assert samples["router_ready", ()] == 1
    assert samples["router_encoder_seconds_count", ()] == 2


def test_exploration_and_fallbacks_are_no_drift(tmp_path: Path) -> None:
    bundle = StandInBundle(probabilities=(0.3, 0.5, 0.2))
    training = replace(bundle.manifest.training, arm_shares=(0.0, 1.0, 0.0))  # as it would choose
    bundle.manifest = replace(bundle.manifest, training=training)
    with client_of(make_app(tmp_path, bundles={"ppo": bundle})) as client:
        asked = [f"{'unsure' if i % 4 == 0 else 'sure'} {i}" for i in range(48)]
        for start in range(0, 48, 16):
            client.post("/route", json={"input": asked[start : start + 16]}).raise_for_status()
        text = client.get("/metrics").text
    assert 'router_arm_share_drift{policy="ppo"} 0.0' in text


def test_a_log_that_cannot_be_written_refuses_decisions(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path)) as client:
        spoil(client.server.services.store)
        response = client.post("/v1/chat/completions", json=chat())
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"]["code"] == "log_unavailable"
        assert client.post("/feedback", json=UNKNOWN).status_code == 503
        assert not client.server.services.backend.requests
        assert "router_log_errors_total 2.0" in client.get("/metrics").text
        # an adapter by its name needs no log
        assert client.post("/v1/chat/completions", json=chat(model="code")).status_code == 200


def test_decisions_may_go_unlogged_if_the_settings_say_so(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path, log_required=False)) as client:
        spoil(client.server.services.store)
        assert client.post("/v1/chat/completions", json=chat()).status_code == 200
        assert "router_log_errors_total 1.0" in client.get("/metrics").text


def spoil(store: Any) -> None:
    async def unavailable(*_: Any, **__: Any) -> None:
        raise LogUnavailable("disk full")

    store.add = store.feedback = unavailable


def test_the_text_is_logged_only_if_asked(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path, log_text=True, log_embeddings=False)) as client:
        client.post("/route", json={"input": "Hello\0there"})
    from sqlite3 import connect

    log = connect(tmp_path / "decisions.db")
    rows = log.execute("SELECT query, embedding, encoder FROM decisions")
    assert rows.fetchall() == [("Hellothere", None, "stand-in")]


@pytest.mark.parametrize(
    ("backend", "part"),
    [
        (StandInBackend(start_failure=BackendError("adapter 'code' answers as base.")), "adapters"),
        (StandInBackend(adapters=("others",)), "adapters"),
    ],
)
def test_a_server_whose_start_fails_is_never_ready_and_stops(
    tmp_path: Path, backend: StandInBackend, part: str
) -> None:
    server = LiveServer(make_app(tmp_path, backend=backend))
    server.start()
    assert server.services.failure is not None
    assert not server.services.readiness.ready
    assert "did not start" in server.services.readiness.checks[part]
    assert str(server.services.failure) not in server.services.readiness.checks[part]
    wait_for(lambda: backend.closed)
    server.stop()


def test_before_it_is_ready_it_says_so(tmp_path: Path) -> None:
    with client_of(make_app(tmp_path)) as client:
        readiness = client.server.services.readiness
        readiness.failed("adapters", "not verified yet")
        assert client.get("/readyz").status_code == 503
        assert client.get("/readyz").json()["checks"]["adapters"] == "not verified yet"
        response = client.post("/v1/chat/completions", json=chat())
        assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
        readiness.passed("adapters")
        readiness.draining = True
        assert client.get("/readyz").json()["status"] == "stopping"
        assert client.post("/v1/chat/completions", json=chat()).status_code == 200


def test_readiness_follows_the_back_end(tmp_path: Path) -> None:
    backend = StandInBackend()
    with client_of(make_app(tmp_path, backend=backend)) as client:
        services = client.server.services
        backend.is_healthy = False
        services._healthy = (True, 0.0)
        assert client.get("/readyz").json()["checks"]["backend"] == "does not answer"
        backend.is_healthy = True
        services._healthy = (False, 0.0)
        assert client.get("/readyz").status_code == 200


class Praise:
    def reward(self, answer: Any) -> float:
        assert answer.response.startswith("I am")
        return 0.75


def test_answers_are_evaluated_in_the_background(tmp_path: Path) -> None:
    app = make_app(tmp_path, evaluator=Praise(), self_evaluation_share=1.0)
    with client_of(app) as client:
        headers = client.post("/v1/chat/completions", json=chat()).headers
        client.post("/v1/chat/completions", json=chat(model="code"))  # no decision, no reward
        wait_for(lambda: 'source="self_evaluation"} 1.0' in client.get("/metrics").text)
        adapter = headers["x-adapter-id"]
        text = client.get("/metrics").text
        assert f'router_self_evaluations_total{{adapter="{adapter}"}} 1.0' in text
        body = {"decision_id": headers["x-decision-id"], "reward": 0.1}
        assert client.post("/feedback", json=body).json()["status"] == "recorded"


def test_what_the_back_end_lacks_is_never_chosen(tmp_path: Path) -> None:
    backend = StandInBackend(adapters=("code", "creative"))
    bundles = {"ppo": StandInBundle(probabilities=(1.0, 0.0, 0.0))}
    with client_of(make_app(tmp_path, bundles=bundles, backend=backend)) as client:
        decisions = client.post("/route", json={"input": ["x"] * 40}).json()["decisions"]
        assert {decision["adapter"] for decision in decisions} == {"code", "creative"}
        assert {decision["propensity"] for decision in decisions} == {0.5}
