"""What an openai back end accepts at its start, and what it never shows."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("httpx")

from routing_gym.serving.backend import (
    BackendError,
    BackendRefused,
)
from routing_gym.serving.openai_backend import OpenAIBackend
from routing_gym.serving.timeouts import Timeouts
from routing_gym.serving.upstream_settings import UpstreamSettings
from tests.serving.relay import ADAPTERS, answer_of, asked, text_of, with_backend
from tests.serving.upstream import BASE_MODEL, Upstream

KEY = "sk-very-secret-0123456789"


def test_an_adapter_that_answers_as_the_base_is_refused() -> None:
    with Upstream(mode="same") as upstream:
        with pytest.raises(BackendError, match=r"adapter 'one' answers all 4 probes .* 'base'"):
            with_backend(upstream, lambda b: b.healthy())
        assert with_backend(upstream, lambda b: b.healthy(), probe=False)


def test_a_missing_adapter_is_refused() -> None:
    with (
        Upstream(models=("one",)) as upstream,
        pytest.raises(BackendError, match=r"adapter 'two': .* no model 'two'; it has tiny/base"),
    ):
        with_backend(upstream, lambda b: b.healthy())


def test_models_may_have_other_names() -> None:
    with Upstream(models=("lora-1", "lora-2")) as upstream:
        models = {"one": "lora-1", "two": "lora-2", "base": BASE_MODEL}
        pieces = with_backend(upstream, lambda b: answer_of(b, "two", asked()), models=models)
    assert text_of(pieces).startswith("lora-2")


def test_two_names_of_one_adapter_are_refused() -> None:
    with (
        Upstream() as upstream,
        pytest.raises(BackendError, match=r"adapters 'one' and 'two' answer all 4 probes of the u"),
    ):
        with_backend(upstream, lambda b: b.healthy(), models={"two": "one"})


def test_the_base_is_probed_twice() -> None:
    with Upstream() as upstream:
        with_backend(upstream, lambda b: b.healthy())
        asked_of = [seen.body["model"] for seen in upstream.seen]
    assert {name: asked_of.count(name) for name in set(asked_of)} == {
        BASE_MODEL: 8,
        "one": 4,
        "two": 4,
    }


def test_adapters_that_load_slowly_are_waited_for() -> None:
    patience = Timeouts(connect=0.2, first=0.2, between=0.2, total=5)
    with Upstream(mode="slow") as upstream:
        assert with_backend(upstream, lambda b: b.healthy(), concurrency=1, timeouts=patience)
        assert upstream.most_at_once == 1


@pytest.mark.parametrize("mode", ["hang", "error", "busy", "broken_json"])
def test_a_server_that_misbehaves_at_start_is_refused(mode: str) -> None:
    with (
        Upstream(mode=mode) as upstream,
        pytest.raises(BackendError, match=r"adapter '\w+' could not be probed: the upstream"),
    ):
        with_backend(upstream, lambda b: b.healthy(), timeouts=Timeouts(total=0.5))


def test_a_server_that_is_not_there_is_refused() -> None:
    with Upstream() as upstream:
        pass
    with pytest.raises(BackendError, match=r"the upstream server at http://.*/v1: ConnectError"):
        with_backend(upstream, lambda b: b.healthy())


def test_health_follows_the_server() -> None:
    async def use(backend: OpenAIBackend) -> list[bool]:
        states = [await backend.healthy()]
        upstream.__exit__()
        states.append(await backend.healthy())
        with pytest.raises(BackendError, match="cannot be reached"):
            await answer_of(backend, "one", asked())
        with Upstream(port=upstream._port):
            states.append(await backend.healthy())
            assert text_of(await answer_of(backend, "one", asked())).startswith("one")
        await backend.close()
        await backend.close()
        return [*states, await backend.healthy()]

    upstream = Upstream().__enter__()
    assert with_backend(upstream, use) == [True, False, True, False]


def test_keys_are_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_KEY", KEY)

    async def use(backend: OpenAIBackend) -> None:
        assert text_of(await answer_of(backend, "one", asked())).startswith("one")
        assert KEY not in repr(backend)
        for upstream.mode in ("unauthorised", "bad_request", "error"):
            with pytest.raises(BackendError) as caught:
                await answer_of(backend, "one", asked())
            assert KEY not in str(caught.value)
            if upstream.mode == "unauthorised":
                assert caught.value.status == 502

    with Upstream(key=KEY) as upstream:
        with_backend(upstream, use, key_variable="UPSTREAM_KEY")
        assert upstream.seen[-1].headers["authorization"] == f"Bearer {KEY}"
        upstream.mode = "fine"
        with pytest.raises(BackendError, match=r"refused our key \(401\): check it"):
            with_backend(upstream, use)
        monkeypatch.delenv("UPSTREAM_KEY")
        with pytest.raises(BackendError, match="variable UPSTREAM_KEY is not set"):
            with_backend(upstream, use, key_variable="UPSTREAM_KEY")


def test_unknown_adapters_and_closed_back_ends() -> None:
    async def use(backend: OpenAIBackend) -> None:
        with pytest.raises(BackendRefused, match="unknown adapter 'three': the pool has base, on"):
            await answer_of(backend, "three", asked())
        await backend.close()
        with pytest.raises(BackendError, match="the openai back end is closed"):
            await answer_of(backend, "one", asked())

    with Upstream() as upstream:
        with_backend(upstream, use)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"url": "127.0.0.1:8000"}, r"url='127.0.0.1:8000': give http:// or https://"),
        ({"url": "file:///etc/passwd"}, "give http:// or https://"),
        ({"url": "http://"}, "a host and a port"),
        ({"concurrency": 0}, "concurrency=0: give at least 1"),
        ({"models": {"three": "x"}}, "'three' is no adapter of the pool: it has base, one, two"),
        ({"base": "plain"}, "'plain' is no adapter"),
    ],
)
def test_bad_settings(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        OpenAIBackend(UpstreamSettings(**{"url": "http://localhost:1", **settings}), ADAPTERS)


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_urls(url: str) -> None:
    assert UpstreamSettings(url).root == "http://h:1/v1"
