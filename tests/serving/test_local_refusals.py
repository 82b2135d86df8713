"""What the local back end does not take on."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("peft")

from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.serving.backend import (
    BackendError,
    BackendRefused,
)
from routing_gym.serving.local_backend import LocalBackend
from routing_gym.serving.local_engine import EngineLimits
from tests.adapters.tiny import TEXTS, save_tiny_adapter
from tests.serving.local_pool import NAMES, answer_of, asked, save_pool, with_backend

HARMLESS = {
    "n": 1,
    "top_p": 1.0,
    "logprobs": False,
    "user": "u",
    "tools": [],
    "tool_choice": "none",
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "top_k": -1,
    "min_p": 0,
    "modalities": ["text"],
    "response_format": {"type": "text"},
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "stream_options": {"include_usage": True},
    "guided_json": None,
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PoolSpec:
    return save_pool(tmp_path_factory.mktemp("pool"))


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ({"n": 2}, "n is not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty is not supported"),
        ({"frequency_penalty": -1}, "frequency_penalty is not supported"),
        ({"top_k": 5}, "top_k is not supported"),
        ({"min_p": 0.1}, "min_p is not supported"),
        ({"tool_choice": "required"}, "tool_choice is not supported"),
        ({"modalities": ["text", "audio"]}, "modalities is not supported"),
        ({"guided_json": {}}, "guided_json is not supported"),
        ({"x" * 1000: 1}, r"^x{64} is not supported"),
        ({"tools": [{}]}, "tools is not supported by the local back end: leave it out"),
        ({"top_p": 0.9}, "top_p is not supported"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
    ],
)
def test_what_is_not_supported_is_refused(
    spec: PoolSpec, extra: dict[str, Any], match: str
) -> None:
    async def use(backend: LocalBackend) -> None:
        with pytest.raises(BackendRefused, match=match):
            await answer_of(backend, "one", asked(TEXTS[0], extra=extra))
        assert await answer_of(backend, "one", asked(TEXTS[0], max_tokens=2, extra=HARMLESS))
        with pytest.raises(BackendRefused, match="unknown adapter 'three': the pool has base, one"):
            await answer_of(backend, "three", asked(TEXTS[0]))

    with_backend(spec, use)


@pytest.mark.parametrize("fault", ["inert", "damaged"])
def test_a_pool_that_cannot_answer_as_itself_is_refused(
    spec: PoolSpec, tmp_path: Path, fault: str
) -> None:
    bad = save_tiny_adapter(
        tmp_path / fault, Path(spec.base_model), seed=1, scale=0.0 if fault == "inert" else 0.2
    )
    if fault == "damaged":
        weights = bad / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    broken = PoolSpec(spec.base_model, (*spec.adapters, AdapterSpec(fault, bad)))
    with pytest.raises(BackendError, match=rf"the local pool cannot be served: adapter '{fault}'"):
        with_backend(broken, lambda backend: backend.healthy())


def test_a_missing_base_is_refused(spec: PoolSpec) -> None:
    gone = PoolSpec("/nowhere/model", spec.adapters)
    with pytest.raises(BackendError, match="base model '/nowhere/model' is not available"):
        with_backend(gone, lambda backend: backend.healthy())


@pytest.mark.parametrize("name", ["rows", "cache_tokens", "waiting"])
def test_bad_limits(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: give at least 1"):
        EngineLimits(**{name: 0})


def test_bad_threads(spec: PoolSpec) -> None:
    with pytest.raises(ValueError, match="threads=-1"):
        LocalBackend(spec, threads=-1)


def test_without_torch_the_extra_is_named(spec: PoolSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install routing-gym\[serve,llm\]"):
        LocalBackend(spec)


def test_it_knows_its_pool(spec: PoolSpec) -> None:
    backend = LocalBackend(spec)
    assert (backend.name, backend.adapters) == ("local", NAMES)
    assert backend.fingerprint == spec.fingerprint
    assert asyncio.run(backend.healthy()) is False
