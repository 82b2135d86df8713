"""The web page as a person meets it: a real headless Chromium on a live server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio")
pytest.importorskip("selenium")
from routing_gym.scripts.browser import ask, find_browser, headless_browser, read_page
from routing_gym.scripts.screenshot_demo import main
from tests.serving.demo_stand_ins import StandInEvaluator, demo_app
from tests.serving.stand_ins import ADAPTERS, EVEN, LiveServer, serving, wait_for

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium with its driver")
KEY = "chat-and-feedback-0123456789"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("page")
    with serving(demo_app(folder, evaluator=StandInEvaluator())) as live:
        yield live


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless_browser() as driver:
        yield driver


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def rewards(server: LiveServer) -> dict[float, float]:
    """Recorded feedback of users: count, and sum of the rewards."""
    text = server.services.metrics.registry
    count = text.get_sample_value("router_feedback_total", {"source": "user"}) or 0
    total = sum(
        text.get_sample_value("router_reward_sum", {"adapter": name}) or 0 for name in ADAPTERS
    )
    return {count: total}


def test_a_question_is_answered_and_explained(browser: Any, server: LiveServer) -> None:
    visit = ask(browser, f"{server.url}/demo", "Why <b>is</b> it so?", scored=True)
    assert visit.adapter in ADAPTERS
    assert visit.answer.startswith(f"I am {visit.adapter}")
    assert tuple(visit.bars) == ADAPTERS
    assert list(visit.bars.values()) == pytest.approx(EVEN, abs=0.01)
    assert visit.facts["confidence"] == "90.0 %"
    assert float(visit.facts["propensity"]) == EVEN[ADAPTERS.index(visit.adapter)]
    assert visit.scores == {"relevance": "0.800", "<i>coherence</i>": "–", "reward": "0.700"}
    (request,) = [r for r in server.services.backend.requests if "<b>" in r[1].messages[0].content]
    assert request[0] == visit.adapter


def test_the_page_loads_from_its_own_host_alone(browser: Any, server: LiveServer) -> None:
    ask(browser, f"{server.url}/demo", "Who else is asked?")
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert len(loaded) > 10
    own = urlsplit(server.url).netloc
    assert {urlsplit(name).netloc for name in loaded if not name.startswith("data:")} == {own}
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert not [m for m in said if "Content Security Policy" in m or "Uncaught" in m]


@pytest.mark.parametrize(("thumb", "reward"), [("good", 1.0), ("bad", 0.0)])
def test_a_thumb_is_feedback(browser: Any, server: LiveServer, thumb: str, reward: float) -> None:
    ask(browser, f"{server.url}/demo", f"Is this {thumb}?")
    ((count, total),) = rewards(server).items()
    one(browser, f"#{thumb}").click()
    wait_for(lambda: "recorded" in one(browser, "#note").text)
    assert rewards(server) == {count + 1: total + reward}
    assert not one(browser, "#good").is_enabled()
    assert not one(browser, "#bad").is_enabled()


def test_a_fallback_is_marked(browser: Any, server: LiveServer) -> None:
    visit = ask(browser, f"{server.url}/demo", "I am unsure.")
    assert visit.adapter == "base"
    assert one(browser, "#decision .router-fallback").is_displayed()


def test_an_example_can_be_clicked(browser: Any, server: LiveServer) -> None:
    browser.get(f"{server.url}/demo")
    wait_for(lambda: browser.find_elements("css selector", "button.gallery-item"))
    browser.find_elements("css selector", "button.gallery-item")[0].click()
    wait_for(lambda: "Tom looks east" in one(browser, "#question textarea").get_attribute("value"))


def test_an_empty_question_and_a_failure_are_told(browser: Any, server: LiveServer) -> None:
    browser.get(f"{server.url}/demo")
    wait_for(lambda: browser.find_elements("css selector", "#ask"))
    one(browser, "#ask").click()
    wait_for(lambda: "Write a question first" in one(browser, "body").text)
    one(browser, "#question textarea").send_keys("<fail>")
    one(browser, "#ask").click()
    wait_for(lambda: "the server failed" in one(browser, "body").text)
    assert "secret words" not in one(browser, "body").text


def test_the_visitor_gives_a_key(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"chat,feedback {KEY}\n")
    with serving(demo_app(tmp_path, keys_file=tmp_path / "keys")) as server:
        browser.get(f"{server.url}/demo")
        wait_for(lambda: browser.find_elements("css selector", "#key input"))
        one(browser, "#question textarea").send_keys("Why?")
        one(browser, "#ask").click()
        wait_for(lambda: "asks for a key" in one(browser, "body").text)
        assert one(browser, "#key input").get_attribute("type") == "password"
        one(browser, "#key input").send_keys(KEY)
        one(browser, "#ask").click()
        wait_for(lambda: one(browser, "#good").is_enabled())
        assert read_page(browser).answer.startswith("I am ")
        one(browser, "#good").click()
        wait_for(lambda: "recorded" in one(browser, "#note").text)
        browser.get("about:blank")


def test_an_open_page_does_not_hold_up_a_stop(browser: Any, tmp_path: Path) -> None:
    with serving(demo_app(tmp_path)) as server:
        ask(browser, f"{server.url}/demo", "Are you still there?")
        start = time.monotonic()
    assert time.monotonic() - start < 10


def test_the_picture_is_taken(server: LiveServer, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "pictures" / "demo.png"
    options = ["--url", f"{server.url}/demo", "--output", str(file), "--width", "900"]
    assert main([*options, "--height", "600", "--question", "Why?"]) == 0
    picture = file.read_bytes()
    assert picture.startswith(b"\x89PNG")
    size = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    assert size == (900, 600)
    printed = capsys.readouterr().out
    assert "answered 'I am " in printed
    assert "base: 0.5" in printed
