from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from routing_gym.serving.backend import Usage
from tests.serving.stand_ins import ADAPTERS, EVEN, chat, client_of, make_app

HEADERS = ("x-adapter-id", "x-decision-id", "x-propensity", "x-policy-version")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("protocol")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with client_of(make_app(folder, max_body_bytes=2000, max_prompt_chars=100)) as client:
        yield client


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def row_of(folder: Path, decision_id: str) -> dict[str, Any]:
    with sqlite3.connect(folder / "decisions.db") as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM decisions WHERE decision_id = ?"
        (row,) = connection.execute(query, (decision_id,)).fetchall()
    return dict(row)


def test_a_chat_is_routed_answered_and_logged(client: httpx.Client, folder: Path) -> None:
    response = client.post("/v1/chat/completions", json=chat("Who?"), headers={"x-request-id": "r"})
    content, headers = response.json(), response.headers
    adapter = headers["x-adapter-id"]
    assert (response.status_code, content["model"]) == (200, adapter)
    assert content["choices"][0]["message"]["content"] == f"I am {adapter} {adapter} {adapter} "
    assert content["choices"][0]["finish_reason"] == "stop"
    assert content["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert headers["x-request-id"] == "r"
    row = row_of(folder, headers["x-decision-id"])
    assert (row["request_id"], row["policy_name"], row["action"]) == (
        "r",
        "ppo",
        ADAPTERS.index(adapter),
    )
    assert float(headers["x-propensity"]) == row["propensity"] == EVEN[row["action"]]
    assert headers["x-policy-version"] == row["policy_version"]
    assert row["query"] is None
    assert row["query_hash"] == hashlib.sha256(b"Who?").hexdigest()
    assert len(row["embedding"]) == 4 * 8


def test_a_stream_has_a_role_pieces_a_reason_and_an_end(client: httpx.Client) -> None:
    response = client.post("/v1/chat/completions", json=chat(stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert all(name in response.headers for name in HEADERS)
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    assert {chunk["model"] for chunk in chunks} == {response.headers["x-adapter-id"]}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert "usage" not in chunks[-1]


def test_a_stream_tells_its_usage_if_asked(client: httpx.Client) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    *chunks, last, _ = events(client.post("/v1/chat/completions", json=body).text)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert Usage(**{k: v for k, v in last["usage"].items() if k != "total_tokens"}) == Usage(7, 3)


def test_an_adapter_is_asked_by_its_name_without_a_decision(client: httpx.Client) -> None:
    response = client.post("/v1/chat/completions", json=chat(model="code"))
    assert response.json()["model"] == response.headers["x-adapter-id"] == "code"
    assert [name for name in HEADERS if name in response.headers] == ["x-adapter-id"]


def test_a_policy_is_asked_by_its_name(client: httpx.Client, folder: Path) -> None:
    response = client.post("/v1/chat/completions", json=chat(model="router:linucb"))
    assert row_of(folder, response.headers["x-decision-id"])["policy_name"] == "linucb"


def test_the_last_user_message_is_what_is_routed(client: httpx.Client, folder: Path) -> None:
    parts = [{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "unsure?"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": parts},
        {"role": "tool", "content": "42"},
    ]
    response = client.post("/v1/chat/completions", json={"model": "router", "messages": messages})
    row = row_of(folder, response.headers["x-decision-id"])
    assert row["query_hash"] == hashlib.sha256(b"Who\nare you?").hexdigest()
    _, request = client.server.services.backend.requests[-1]  # type: ignore[attr-defined]
    assert request.messages[3].content == "Who\nare you?"
    assert request.messages[3].payload == messages[3]
    assert request.messages[0].payload is None


def test_the_back_end_hears_what_was_asked(client: httpx.Client) -> None:
    body = chat(
        model="base",
        max_tokens=9,
        max_completion_tokens=11.0,
        temperature=0.5,
        stop="END",
        seed=3,
        n=1.0,
        top_p=0.9,
        tools=[],
    )
    client.post("/v1/chat/completions", json=body)
    client.post("/v1/chat/completions", json=chat(model="base", max_tokens=10**9, stop=["a", "b"]))
    (_, first), (_, second) = client.server.services.backend.requests[-2:]  # type: ignore[attr-defined]
    assert (first.max_tokens, first.temperature, first.stop, first.seed) == (11, 0.5, ("END",), 3)
    assert dict(first.extra) == {"top_p": 0.9, "tools": []}
    assert not first.streaming
    assert (second.max_tokens, second.temperature, second.stop) == (1024, 0.0, ("a", "b"))


def test_the_models_are_router_policies_and_adapters(client: httpx.Client) -> None:
    names = [entry["id"] for entry in client.get("/v1/models").json()["data"]]
    assert names == ["router", "router:ppo", "router:linucb", *ADAPTERS]


def test_one_text_and_a_batch_are_routed(client: httpx.Client, folder: Path) -> None:
    one = client.post("/route", json={"input": "Hello"}).json()
    assert (one["policy"], len(one["decisions"])) == ("ppo", 1)
    many = client.post("/route", json={"input": ["a", "unsure", "c"], "policy": "linucb"}).json()
    assert many["policy"] == "linucb"
    assert [decision["fallback"] for decision in many["decisions"]] == [False, True, False]
    for decision in many["decisions"]:
        row = row_of(folder, decision["decision_id"])
        assert row["policy_version"] == many["policy_version"]
        assert decision["probabilities"] == dict(zip(ADAPTERS, EVEN, strict=True))
        assert decision["propensity"] == EVEN[ADAPTERS.index(decision["adapter"])]
        assert row["fallback"] == decision["fallback"]


def test_feedback_is_idempotent_and_final(client: httpx.Client) -> None:
    (decision,) = client.post("/route", json={"input": "Hello"}).json()["decisions"]
    body = {"decision_id": decision["decision_id"], "reward": 0.25}
    assert client.post("/feedback", json=body).json()["status"] == "recorded"
    assert client.post("/feedback", json=body).json()["status"] == "unchanged"
    conflict = client.post("/feedback", json=body | {"reward": 1})
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "feedback_conflict")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", chat(model="nobody"), 404, "model_not_found"),
        ("/v1/chat/completions", chat(model="router:nobody"), 404, "model_not_found"),
        ("/v1/chat/completions", chat(model=""), 422, "invalid_field"),
        ("/v1/chat/completions", {"model": "router"}, 422, "invalid_field"),
        ("/v1/chat/completions", {"model": "router", "messages": []}, 422, "invalid_field"),
        (
            "/v1/chat/completions",
            {"model": "router", "messages": [{"role": "system", "content": "x"}]},
            422,
            "invalid_field",
        ),
        ("/v1/chat/completions", chat("x" * 101), 422, "invalid_field"),
        ("/v1/chat/completions", chat("x" * 3000), 413, "body_too_large"),
        ("/v1/chat/completions", chat(max_tokens=0), 422, "invalid_field"),
        ("/v1/chat/completions", chat(max_tokens="9"), 422, "invalid_field"),
        ("/v1/chat/completions", chat(max_tokens=True), 422, "invalid_field"),
        ("/v1/chat/completions", chat(temperature=2.5), 422, "invalid_field"),
        ("/v1/chat/completions", chat(temperature=10**400), 422, "invalid_field"),
        ("/v1/chat/completions", chat(seed=2**70), 422, "invalid_field"),
        ("/v1/chat/completions", chat(stream="yes"), 422, "invalid_field"),
        ("/v1/chat/completions", chat(stream=1), 422, "invalid_field"),
        ("/v1/chat/completions", chat(stop=""), 422, "invalid_field"),
        ("/v1/chat/completions", chat(n=2), 422, "invalid_field"),
        ("/v1/chat/completions", chat(n=True), 422, "invalid_field"),
        ("/v1/chat/completions", chat(max_tokens=1.5), 422, "invalid_field"),
        ("/route", {"input": []}, 422, "invalid_field"),
        ("/route", {"input": ["x"] * 65}, 422, "invalid_field"),
        ("/route", {"input": [1]}, 422, "invalid_field"),
        ("/route", {"input": "x", "more": 1}, 422, "invalid_field"),
        ("/route", {"input": "x", "policy": "nobody"}, 404, "model_not_found"),
        ("/feedback", {"decision_id": "0" * 32, "reward": 0.5}, 404, "unknown_decision"),
        ("/feedback", {"decision_id": "0" * 31, "reward": 0.5}, 422, "invalid_field"),
        ("/feedback", {"decision_id": "0" * 32 + "\n", "reward": 0.5}, 422, "invalid_field"),
        ("/feedback", {"decision_id": "0" * 32, "reward": 1.5}, 422, "invalid_field"),
        ("/feedback", {"decision_id": "0" * 32, "reward": "1"}, 422, "invalid_field"),
        ("/feedback", {"decision_id": "0" * 32, "reward": True}, 422, "invalid_field"),
    ],
)
def test_what_does_not_fit_is_refused(
    client: httpx.Client, path: str, body: Any, status: int, code: str
) -> None:
    response = client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    assert "x-request-id" in response.headers


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"input": "\\ud800"}', 400),
        (b'{"input": "x", "policy": NaN}', 400),
        (b'{"input": "x", "policy": 1e999}', 400),
        (b"[" * 1900, 400),
        (b"[]", 422),
        (b"null", 422),
    ],
)
def test_what_is_no_json_object_is_refused(
    client: httpx.Client, content: bytes, status: int
) -> None:
    kind = {"content-type": "application/json; charset=utf-8"}
    response = client.post("/route", content=content, headers=kind)
    assert response.status_code == status


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused(client: httpx.Client, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    response = client.post("/route", content=b'{"input": "x"}', headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (
        415,
        "unsupported_media_type",
    )


def test_compressed_bodies_are_refused(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post("/route", content=b"{}", headers=headers).status_code == 415


def test_zero_characters_are_text(client: httpx.Client) -> None:
    assert client.post("/route", json={"input": "a\0b"}).status_code == 200
    assert client.post("/v1/chat/completions", json=chat("\0")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/route", "POST"), ("DELETE", "/feedback", "POST"), ("POST", "/healthz", "GET")],
)
def test_other_methods_are_refused(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["error"]["code"] == "method_not_allowed"


def test_unknown_paths_are_refused(client: httpx.Client) -> None:
    response = client.get("/v1/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 129, False), ("é", False)]
)
def test_request_ids_are_kept_if_harmless(client: httpx.Client, sent: str, kept: bool) -> None:
    headers = [(b"x-request-id", sent.encode())]
    assert (client.get("/healthz", headers=headers).headers["x-request-id"] == sent) == kept


def test_health_and_readiness(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert set(ready.json()["checks"].values()) == {"ok"}


def test_a_failure_of_ours_says_nothing(client: httpx.Client) -> None:
    response = client.post("/route", json={"input": "<fail>"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in response.text
