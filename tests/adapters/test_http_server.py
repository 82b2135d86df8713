"""Pool files with a server: what they say, what they bind, and what is wrong in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.http_server import ServedAdapter, ServerSpec
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from tests.adapters.test_spec import weights

URL = "http://127.0.0.1:8000"


def read(folder: Path, adapters: str, server: str = f"{{url: {URL}}}") -> PoolSpec:
    file = folder / "pool.yaml"
    file.write_text(f"base_model: m\nserver: {server}\nadapters: {adapters}\n")
    return PoolSpec.from_yaml(file)


def test_the_shipped_example_needs_no_weights_here() -> None:
    pool = load_pool("vllm")
    assert pool.names == ("base", "reasoning", "code", "creative", "analysis")
    assert [adapter.is_base for adapter in pool.adapters] == [True] + [False] * 4
    assert len({adapter.sha256 for adapter in pool.adapters}) == 5
    assert pool.server is not None
    assert pool.server.roots == (f"{URL}/v1",)


def test_revisions_and_folders_bind_the_fingerprint(tmp_path: Path) -> None:
    weights(tmp_path / "one", b"1")
    local = PoolSpec("m", (AdapterSpec("base"), AdapterSpec("one", tmp_path / "one")))
    sha256 = local.adapters[1].sha256
    here = read(tmp_path, "{base: null, one: {path: one, model: uno}}")
    stated = read(tmp_path, f"{{base: null, one: {{revision: {sha256}}}}}")
    assert here.fingerprint == stated.fingerprint == local.fingerprint
    others = {
        read(tmp_path, "{base: null, one: {revision: r1}}").fingerprint,
        read(tmp_path, "{base: null, one: {revision: r2}}").fingerprint,
        read(tmp_path, "{base: null, one: {revision: r1, model: uno}}").fingerprint,
        read(tmp_path, "{base: null, one: one}", f"{{url: {URL}, prompt: chat}}").fingerprint,
    }
    assert len(others | {local.fingerprint}) == 5
    moved = read(tmp_path, "{base: null, one: one}", "{url: [http://a:1, http://b:2/v1/]}")
    assert moved.fingerprint == local.fingerprint
    assert moved.server is not None
    assert moved.server.roots == ("http://a:1/v1", "http://b:2/v1")


def test_fields_of_a_request_that_change_answers_bind_the_fingerprint(tmp_path: Path) -> None:
    def found(request: str, prompt: str = "rendered") -> str:
        settings = f"{{url: {URL}, prompt: {prompt}, request: {request}}}"
        return read(tmp_path, "{base: null, one: {revision: r1}}", settings).fingerprint

    plain, chat = found("{}"), found("{}", "chat")
    assert found("{return_tokens_as_token_ids: true, priority: 1}") == plain
    others = {
        found("{stop: [a]}"),
        found("{stop: [b]}"),
        found("{repetition_penalty: 1.2, stop: [b]}"),
        found("{stop: [b]}", "chat"),
    }
    assert len(others | {plain, chat}) == 6
    assert found("{stop: [b], repetition_penalty: 1.2}") in others


def test_an_adapter_that_only_a_server_has_is_never_the_local_base() -> None:
    served = AdapterSpec("one", served=ServedAdapter(revision="r1"))
    with pytest.raises(ValueError, match="'one' has no local folder: give its `path`, or the pool"):
        PoolSpec("m", (AdapterSpec("base"), served))


def test_a_local_pool_refuses_a_served_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_pool("vllm")
    for name in ("load_tokenizer", "load_base_model"):
        monkeypatch.setattr(f"routing_gym.adapters.pool.{name}", lambda *_, **__: None)
    monkeypatch.setattr(AdapterPool, "probe_logits", lambda _: None)
    with pytest.raises(ValueError, match=r"'reasoning' is at the pool's server .* open_pool"):
        AdapterPool(spec)


@pytest.mark.parametrize(
    ("adapters", "server", "message"),
    [
        (
            "{base: null, one: {model: uno}}",
            f"{{url: {URL}}}",
            "'one' has no revision: state which",
        ),
        (
            "{base: null, one: {modle: uno}}",
            f"{{url: {URL}}}",
            "unknown key 'modle'; known are model",
        ),
        ("{base: null, again: null}", "{}", "server has no url"),
        ("{base: null, again: null}", "[]", r"server=\[\]: write its settings"),
        ("{base: null, again: null}", "{url: 1.2.3.4}", "url='1.2.3.4': give http:// or https://"),
        ("{base: null, again: null}", "{url: []}", r"server\.url is empty"),
        ("{base: null, again: null}", "{url: 8000}", r"server\.url=8000: give http://host:port"),
        ("{base: null, again: null}", "{url: 'http://a:b'}", "url='http://a:b': give http://"),
        ("{base: null, again: null}", f"{{url: {URL}, concurency: 3}}", "nearest .* 'concurrency'"),
        (
            "{base: null, again: null}",
            f"{{url: {URL}, api_key: x}}",
            "belongs into the environment",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, adapters: str, server: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, adapters, server)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "raw"}, "prompt='raw': choose one of rendered, chat"),
        ({"judge": "gpt"}, "judge='gpt': choose one of local, server, none"),
        ({"judge": "server", "prompt": "chat"}, "needs server.prompt='rendered'"),
        ({"concurrency": 0}, "concurrency=0: give a whole number of at least 1"),
        ({"attempts": True}, "attempts=True"),
        ({"give_up_after": 1.5}, "give_up_after=1.5"),
        ({"timeout": 0}, "timeout=0: give seconds above 0"),
        ({"longest_wait": float("inf")}, "longest_wait=inf"),
        ({"logprobs": 21}, "logprobs=21: give 0 to 20"),
        ({"logprobs": "all"}, "logprobs='all': give 0 to 20"),
        ({"key_variable": 3}, "key_variable=3: give a text"),
        ({"probe": "no"}, "probe='no': give true or false"),
        ({"request": ["seed"]}, r"request=\['seed'\]: write it as"),
        ({"request": {"temperature": 1}}, "may not hold 'temperature'"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerSpec(URL, **settings)


@pytest.mark.parametrize(
    "url", ["https://me:sk-secret@host:1", "https://host:1/v1?api_key=sk-secret", "http://h/#k"]
)
def test_a_url_holds_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match="the key belongs into an environment variable") as raised:
        ServerSpec(url)
    assert "sk-secret" not in str(raised.value)


def test_a_pool_can_move_to_a_server_without_another_fingerprint() -> None:
    spec = load_pool("default")
    assert replace(spec, server=ServerSpec(URL)).fingerprint == spec.fingerprint
