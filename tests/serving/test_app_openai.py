"""The official client against a live server, over stand-ins and over a real upstream server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from routing_gym.serving.openai_backend import OpenAIBackend
from routing_gym.serving.upstream_settings import UpstreamSettings
from tests.serving.stand_ins import ADAPTERS, StandInBundle, make_app, serving
from tests.serving.upstream import Upstream

MESSAGES: Any = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("openai")
    (folder / "keys").write_text("chat sk-0123456789abcdef\n")
    with serving(make_app(folder, keys_file=folder / "keys")) as server:
        url = f"{server.url}/v1"
        with openai.OpenAI(base_url=url, api_key="sk-0123456789abcdef", max_retries=0) as client:
            yield client


def test_an_answer(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="router", messages=MESSAGES)
    answer = raw.parse()
    assert answer.model == raw.headers["x-adapter-id"]
    assert answer.model in ADAPTERS
    assert answer.choices[0].message.content.startswith(f"I am {answer.model}")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10


def test_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="router:linucb",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text.startswith(f"I am {chunks[0].model}")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()][-3:] == list(ADAPTERS)


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    with pytest.raises(openai.AuthenticationError, match="not known"):
        client.with_options(api_key="another-key-0123456").models.list()
    with pytest.raises(openai.UnprocessableEntityError, match="max_tokens"):
        client.chat.completions.create(model="base", messages=MESSAGES, max_tokens=0)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def relayed(upstream: Upstream, tmp_path: Path) -> Iterator[openai.OpenAI]:
    upstream.mode = "fine"
    adapters = ("base", "one", "two")
    backend = OpenAIBackend(UpstreamSettings(upstream.url), adapters)
    bundles = {"ppo": StandInBundle(adapters=adapters)}
    with serving(make_app(tmp_path, bundles=bundles, backend=backend)) as server:
        assert server.services.failure is None
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
            yield client


def test_an_upstream_answer_is_relayed(relayed: openai.OpenAI, upstream: Upstream) -> None:
    for model in ("one", "base"):
        answer = relayed.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8)
        assert answer.model == model
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 0
        assert upstream.seen[-1].body["max_tokens"] == 8


def test_an_upstream_stream_is_relayed_verbatim(relayed: openai.OpenAI, upstream: Upstream) -> None:
    headers = {"x-request-id": "relay-1"}
    with relayed.chat.completions.with_streaming_response.create(
        model="one",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=headers,
    ) as response:
        received = b"".join(response.iter_bytes())
    assert received == upstream.sent["relay-1"]


def test_an_upstream_name_is_replaced(relayed: openai.OpenAI) -> None:
    stream = relayed.chat.completions.create(model="base", messages=MESSAGES, stream=True)
    assert {chunk.model for chunk in stream} == {"base"}


@pytest.mark.parametrize("stream", [True, False])
def test_the_base_does_not_answer_under_an_adapters_name(
    relayed: openai.OpenAI, upstream: Upstream, stream: bool
) -> None:
    upstream.mode = "evicted"
    with pytest.raises(openai.APIStatusError, match="as 'tiny/base' for adapter 'one'") as caught:
        relayed.chat.completions.create(model="one", messages=MESSAGES, stream=stream)
    assert caught.value.status_code == 502
    assert caught.value.code == "backend_evicted"
    metrics = httpx.get(f"{str(relayed.base_url).removesuffix('/v1/')}/metrics").text
    assert 'router_errors_total{kind="backend_evicted"} 1.0' in metrics


def test_an_upstream_failure_within_a_stream_is_an_error(
    relayed: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.mode = "cut"
    stream = relayed.chat.completions.create(model="router", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="upstream server broke off"):
        list(stream)
