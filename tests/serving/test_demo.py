from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from routing_gym.serving.backend import BackendBusy, BackendError, TokenSignals
from routing_gym.serving.demo_client import DemoClient, DemoDecision
from routing_gym.serving.demo_conversation import Conversation, Shown
from routing_gym.serving.demo_view import bars, decision_view, percent, scores_view
from routing_gym.serving.errors import ApiError
from tests.serving.demo_stand_ins import StandInEvaluator, demo_app
from tests.serving.stand_ins import EVEN, StandInBackend, client_of, make_app

ROOT = Path(__file__).resolve().parents[2]
BOTH, CHAT = "chat-and-feedback-0123456789", "chat-alone-0123456789"


def play(app: FastAPI, scene: Callable[[DemoClient], Awaitable[Any]]) -> Any:
    """Run the application and a scene in one event loop, without a socket."""

    async def run() -> Any:
        services = app.state.services
        async with app.router.lifespan_context(app):
            while not services.readiness.ready:
                await asyncio.sleep(0.005)
            return await scene(DemoClient(app))

    return asyncio.run(run())


async def steps(talk: Conversation, question: str, **options: Any) -> list[Shown]:
    return [shown async for shown in talk.ask(question, **options)]


def test_the_page_is_told_of_each_step(tmp_path: Path) -> None:
    evaluator, app = StandInEvaluator(), make_app(tmp_path)
    shown = play(app, lambda client: steps(Conversation(client, evaluator=evaluator), "Why?"))
    decided, answered, scored = shown
    assert decided.decision
    assert (decided.answer, decided.rated, decided.scores) == ("", "", "")
    assert answered.decision == scored.decision == decided.decision
    assert answered.answer.startswith("I am ")
    assert answered.answer.split()[2] in answered.decision
    assert re.fullmatch("[0-9a-f]{32}", answered.rated)
    assert not answered.scores
    assert "relevance" in scored.scores
    (seen,) = evaluator.answers
    assert (seen.query, seen.response, seen.decision_id) == ("Why?", scored.answer, scored.rated)
    assert (seen.finished, seen.completion_tokens) == (True, 3)
    assert seen.seconds > 0


def test_the_page_scores_with_the_token_signals(tmp_path: Path) -> None:
    signals, evaluator = TokenSignals((-0.5,), (1.0,)), StandInEvaluator()
    app = make_app(tmp_path, backend=StandInBackend(signals=signals))

    async def scene(client: DemoClient) -> None:
        talk = Conversation(client, evaluator=evaluator)
        await asyncio.gather(steps(talk, "Why?"), steps(talk, "How?"))

    play(app, scene)
    assert [answer.signals for answer in evaluator.answers] == [signals, signals]


def test_without_an_evaluator_there_are_no_scores(tmp_path: Path) -> None:
    shown = play(make_app(tmp_path), lambda client: steps(Conversation(client), "Why?"))
    assert len(shown) == 2
    assert not shown[-1].scores
    assert not Conversation(DemoClient(None)).scored


def test_the_decision_is_the_servers_own(tmp_path: Path) -> None:
    app = make_app(tmp_path)

    async def scene(client: DemoClient) -> tuple[DemoDecision, str, str, dict[str, int]]:
        decision = await client.route("Why?")
        first = await client.feedback(decision.decision_id, 1.0)
        again = await client.feedback(decision.decision_id, 1.0)
        return decision, first, again, await app.state.services.store.counts()

    decision, first, again, counts = play(app, scene)
    assert tuple(decision.probabilities.values()) == EVEN
    assert decision.propensity == decision.probabilities[decision.adapter]
    assert (first, again) == ("recorded", "unchanged")
    assert counts["decisions"] == 1


@pytest.mark.parametrize(
    ("settings", "question", "message"),
    [
        ({}, "<fail>", "the server failed"),
        ({"max_prompt_chars": 5}, "too long for it", "at most 5"),
        ({"backend": StandInBackend(failure=BackendError("no adapter."))}, "?", "no adapter"),
        ({"backend": StandInBackend(failure=BackendBusy("it is full."))}, "?", "full"),
    ],
)
def test_refusals_reach_the_page_in_words(
    tmp_path: Path, settings: dict[str, Any], question: str, message: str
) -> None:
    app = make_app(tmp_path, **settings)
    with pytest.raises(ApiError, match=message):
        play(app, lambda client: steps(Conversation(client), question))


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("unknown-key-0123456789", 401), (CHAT, 403)]
)
def test_the_page_opens_nothing_that_the_key_does_not(
    tmp_path: Path, key: str, status: int
) -> None:
    (tmp_path / "keys").write_text(f"chat,feedback {BOTH}\nchat {CHAT}\n")
    app = make_app(tmp_path, keys_file=tmp_path / "keys")

    async def scene(client: DemoClient) -> None:
        talk = Conversation(client)
        shown = await steps(talk, "Why?", key=BOTH)
        assert "recorded" in await talk.rate(shown[-1].rated, 1.0, key=f" {BOTH} ")
        with pytest.raises(ApiError) as refused:
            await talk.rate(shown[-1].rated, 0.0, key=key)
        assert refused.value.status == status

    play(app, scene)


def test_an_answer_that_is_no_json_is_reported() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>"})

    with pytest.raises(ApiError, match="the server answered 502"):
        asyncio.run(DemoClient(broken).route("?"))


def decision(**changes: Any) -> DemoDecision:
    values = {
        "decision_id": "0" * 32,
        "policy": "ppo",
        "policy_version": "abc",
        "adapter": "code",
        "propensity": 0.75,
        "probabilities": {"base": 0.25, "code": 0.75},
        "confidence": 0.9,
        "fallback": False,
    }
    return DemoDecision(**{**values, **changes})


def test_a_decision_is_drawn() -> None:
    html = decision_view(decision())
    assert re.findall(r'aria-label="(\w+)" .*?aria-valuenow="([\d.]+)"', html) == [
        ("base", "0.2500"),
        ("code", "0.7500"),
    ]
    assert re.findall(r"width: ([\d.]+)%", html) == ["25.00", "75.00"]
    assert html.count("router-chosen") == 1
    assert "90.0 %" in html
    assert "0.7500</dd>" in html
    assert "fallback" not in html


def test_a_fallback_is_marked() -> None:
    assert "fallback</span>" in decision_view(decision(fallback=True))


def test_names_are_escaped() -> None:
    html = decision_view(decision(adapter="<b>&", probabilities={"<b>&": 1.0}, policy="<i>"))
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&lt;b&gt;&amp;" in html


def test_scores_are_drawn() -> None:
    html = scores_view({"relevance": 0.5, "length": 3.0, "safety": float("nan")}, reward=0.25)
    assert re.findall(r"width: ([\d.]+)%", html) == ["50.00", "100.00", "25.00"]
    assert "not scored" in html
    assert "3.000" in html
    assert html.index("reward") > html.index("safety")


def test_bars_of_nothing() -> None:
    assert bars({}, chosen="") == ""
    assert percent(0.12345) == "12.3 %"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    pytest.importorskip("gradio")
    with client_of(demo_app(tmp_path_factory.mktemp("page"))) as client:
        yield client


def test_the_page_is_there_with_and_without_a_slash(page: httpx.Client) -> None:
    moved = page.get("/demo")
    assert (moved.status_code, moved.headers["location"]) == (307, "demo/")
    found = page.get("/demo/")
    assert found.status_code == 200
    policy = found.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert policy.endswith("frame-ancestors 'self'")
    assert "Routing Gym" in found.text
    assert "googleapis" not in found.text
    assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)="https?://(?!127)[^"]*', found.text)


def test_the_api_is_untouched_by_the_page(page: httpx.Client) -> None:
    assert page.get("/readyz").status_code == 200
    assert "/demo" not in page.get("/openapi.json").text
    assert page.get("/nowhere").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/demo/gradio_api/upload", 404),
        ("POST", "/demo/gradio_api/call/ask", 404),
        ("POST", "/demo/gradio_api/component_server", 404),
        ("PUT", "/demo/gradio_api/queue/join", 404),
        ("DELETE", "/demo/", 404),
        ("GET", "/demo/gradio_api/file=/etc/passwd", 404),
        ("HEAD", "/demo/gradio_api/file=/etc/passwd", 404),
        ("GET", "/demo/gradio_api/proxy=https://example.org/", 404),
        ("GET", "/demo/gradio_api/heartbeat/visitor", 404),
        ("GET", "/demo/gradio_api/queue/status", 404),
        ("GET", "/demo/gradio_api/info", 404),
        ("GET", "/demo/config", 404),
        ("GET", "/demo/assets", 404),
    ],
)
def test_the_framework_takes_nothing_else(
    page: httpx.Client, method: str, path: str, status: int
) -> None:
    assert page.request(method, path, content=b"{}").status_code == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_and_its_looks_are_let_in(page: httpx.Client, method: str) -> None:
    assert page.request(method, "/demo/").status_code == 200
    script = re.search(r"[.]/(assets/[\w./-]+\.js)", page.get("/demo/").text)
    assert script
    for path in ("theme.css", script[1]):
        assert page.request(method, f"/demo/{path}").status_code == (
            200 if method == "GET" else 405
        )


def test_a_long_body_is_refused(page: httpx.Client) -> None:
    path = "/demo/gradio_api/queue/join"
    assert page.post(path, content=b" " * (1 << 20) + b" ").status_code == 413
    assert page.post(path, content=iter([b"{}"])).status_code == 411


def test_a_missing_gradio_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install routing-gym\[demo\]"):
        demo_app(tmp_path)


def test_the_page_loads_neither_torch_nor_telemetry(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import gradio\n"
        "from routing_gym.serving.demo_page import build_page\n"
        "from routing_gym.serving.demo_client import DemoClient\n"
        "from routing_gym.serving.demo_conversation import Conversation\n"
        "page = build_page(Conversation(DemoClient(None)), ask_key=True, examples=['Why?'])\n"
        "assert page.analytics_enabled is False\n"
        "assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'\n"
        "loaded = [name for name in ('torch', 'transformers') if name in sys.modules]\n"
        "sys.exit(f'loads {loaded}' if loaded else 0)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADIO")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
