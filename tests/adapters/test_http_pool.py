"""A pool at a server that misbehaves: nothing is lost, doubled, or answered by another."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing_gym.adapters.generation import Completion
from routing_gym.adapters.http_answer import truncated_entropy
from routing_gym.adapters.http_connection import ServerError
from routing_gym.adapters.http_pool import HttpPool
from routing_gym.adapters.http_server import ServedAdapter, ServerSpec
from routing_gym.adapters.pool import PROBES
from routing_gym.adapters.spec import AdapterSpec, PoolSpec
from routing_gym.adapters.unanswered import UnansweredError
from routing_gym.serving.trial_upstream import BASE_MODEL, error
from tests.adapters.model_server import LOAD, POISON, ModelServer, spoken

for package in ("httpx", "tenacity"):
    pytest.importorskip(package)

KEY = "sk-very-secret-0123456789"
OPENING = len(PROBES) * 4  # the base twice, and two adapters


def spec_of(server: ModelServer | str, **settings: Any) -> PoolSpec:
    url = server if isinstance(server, str) else server.url
    settings = {"url": url, "prompt": "chat", "attempts": 3, "timeout": 5.0, **settings}
    adapters = [AdapterSpec(n, served=ServedAdapter(revision="r1")) for n in ("one", "two")]
    return PoolSpec("tiny/base", (AdapterSpec("base"), *adapters), ServerSpec(**settings))


class Naps(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def opened(server: ModelServer, **settings: Any) -> tuple[HttpPool, Naps]:
    naps = Naps()
    return HttpPool(spec_of(server, **settings), sleep=naps), naps


def patience(kind: str) -> float:
    """Seconds: few where the server is to be too late, else enough for a busy machine."""
    return 0.4 if kind in ("late", "trickle") else 10.0


def test_answers_are_the_servers(server: ModelServer) -> None:
    pool, _ = opened(server)
    with pool:
        first, second = pool.generate("one", ["Hello there", "And you?"], forms=["word", ""])
        (base,) = pool.generate("base", ["Hello there"])
    assert first.text == "one heard Hello there"[:10] + "Hello there"[-12:]
    assert (first.prompt_tokens, first.completion_tokens, first.finished) == (11, 3, True)
    assert first.token_log_probs == (-0.5, -0.25, -0.125)
    assert first.token_entropies == pytest.approx(
        [truncated_entropy([value]) for value in first.token_log_probs]
    )
    assert 0 < first.seconds < 5
    assert second.text.startswith("one")
    assert base.text.startswith(BASE_MODEL)
    sent = [seen.body for seen in server.asked[OPENING:]]
    assert sorted(body["max_tokens"] for body in sent) == [32, 72, 72]
    assert all(body["temperature"] == 0 and body["top_logprobs"] == 20 for body in sent)


def test_samples_have_seeds_of_their_own(server: ModelServer) -> None:
    with opened(server, probe=False)[0] as pool:
        answers = pool.sample("one", ["Hello", "Goodbye"], k=3, seed=2, temperature=0.7)
        with pytest.raises(ValueError, match="k=0"):
            pool.sample("one", ["Hello"], k=0, seed=0)
    assert [[a.text for a in own] for own in answers] == [
        ["one heard Hello"] * 3,
        ["one heard Goodbye"] * 3,
    ]
    sent = [seen.body for seen in server.asked]
    assert sorted(body["seed"] for body in sent) == [6, 6, 7, 7, 8, 8]
    assert {body["temperature"] for body in sent} == {0.7}


def test_without_log_probabilities_there_are_none(server: ModelServer) -> None:
    with opened(server, logprobs=0)[0] as pool:
        (answer,) = pool.generate("one", ["Hello"])
    assert answer.token_log_probs == answer.token_entropies == ()


def test_truncated_entropy_is_a_lower_bound() -> None:
    whole = [0.5, 0.25, 0.125, 0.125]
    exact = -sum(p * math.log(p) for p in whole)
    kept = truncated_entropy([math.log(p) for p in whole[:2]])
    assert 0 < kept < exact
    assert truncated_entropy([math.log(p) for p in whole]) == pytest.approx(exact)
    assert truncated_entropy([0.0]) == 0.0


@pytest.mark.parametrize(
    "kind",
    [
        "busy",
        "error",
        "html",
        "reset",
        "cut",
        "broken_json",
        "late",
        "trickle",
        "no_choices",
        "no_text",
        "no_usage",
        "long_usage",
        "odd_reason",
        "short_logprobs",
        "nan_logprobs",
        "list_reason",
        "list_model",
        "surrogate",
    ],
)
def test_a_fault_costs_one_more_request(server: ModelServer, kind: str) -> None:
    pool, naps = opened(server, timeout=patience(kind), probe=False)
    with pool:
        server.plan.append(kind)
        (answer,) = pool.generate("one", ["Hello"])
    assert answer.text == "one heard Hello"
    assert len(server.asked) == 2
    assert len(naps) == 1
    assert 7 <= naps[0] < 7.3 if kind == "busy" else 0 < naps[0] <= 2


@pytest.mark.parametrize(
    ("kind", "reason", "requests"),
    [
        ("refused", "HTTP 400: maximum context length is 12 tokens", 1),
        ("later", "asks to wait 3600 s, longer than longest_wait=60", 1),
        ("error", "HTTP 500: CUDA error", 3),
        ("late", "no answer within 0.4 s", 3),
        ("reset", "the connection broke", 3),
        ("long_usage", "wrote 10000 tokens of at most 72", 3),
        ("odd_reason", "ended for the reason 'abort'", 3),
        ("list_reason", r"ended for the reason \['stop'\]", 3),
        ("list_model", r"signed by \['one'\]", 3),
        ("surrogate", "holds half a character", 3),
        ("short_logprobs", "of 1 tokens, but 3 tokens .*server.logprobs to 0", 3),
    ],
)
def test_what_fails_for_good_is_named(
    server: ModelServer, kind: str, reason: str, requests: int
) -> None:
    with opened(server, timeout=patience(kind), probe=False)[0] as pool:
        server.kind = kind
        with pytest.raises(UnansweredError, match=f"'one' did not answer 1 of 1.*'Hi'.*{reason}"):
            pool.generate("one", ["Hi"])
    assert len(server.asked) == requests


def test_one_failure_keeps_all_other_answers(server: ModelServer) -> None:
    texts = [f"Question {i}" for i in range(12)]
    texts[5] = f"This is {POISON}"
    with opened(server)[0] as pool, pytest.raises(UnansweredError) as raised:
        pool.generate("two", texts)
    assert [i for i, answer in enumerate(raised.value.answers) if answer is None] == [5]
    assert list(raised.value.reasons) == [5]
    assert raised.value.fatal == ""


@pytest.mark.parametrize(("kind", "message"), [("gone", "load the adapter"), ("key", "the key")])
def test_a_hopeless_server_is_given_up(server: ModelServer, kind: str, message: str) -> None:
    pool, _ = opened(server, concurrency=2)
    with pool:
        server.plan.extend(["fine"] * 3)
        server.kind = kind
        with pytest.raises(UnansweredError, match=message) as raised:
            pool.generate("one", [f"Question {i}" for i in range(50)])
    assert raised.value.fatal
    assert 1 <= sum(answer is not None for answer in raised.value.answers) <= 3
    assert len(server.asked) < OPENING + 20


def test_many_failures_in_a_row_end_the_run(server: ModelServer) -> None:
    with opened(server, concurrency=2, give_up_after=4, attempts=1)[0] as pool:
        server.kind = "error"
        with pytest.raises(UnansweredError, match="4 answers in a row failed"):
            pool.generate("one", [f"Question {i}" for i in range(50)])
    assert len(server.asked) < OPENING + 20


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_no_more_requests_at_once_than_allowed(server: ModelServer, concurrency: int) -> None:
    with opened(server, concurrency=concurrency, probe=False)[0] as pool:
        server.delay, server.most_at_once = 0.1, 0
        pool.generate("one", [f"Question {i}" for i in range(3 * concurrency)])
    assert server.most_at_once == concurrency


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_KEY", KEY)
    with ModelServer(key=KEY) as server:
        pool, _ = opened(server, key_variable="POOL_KEY")
        with pool:
            server.kind = "key"
            with pytest.raises(UnansweredError, match="POOL_KEY") as raised:
                pool.generate("one", ["Hello"])
            server.kind = "echo"
            with pytest.raises(UnansweredError, match=r"Upstream refused Bearer \[key\]") as echoed:
                pool.generate("one", ["Hello"])
        monkeypatch.setenv("POOL_KEY", "sk-another-key-0123456789")
        with pytest.raises(ServerError, match=r"refused the key \(HTTP 401\)") as refused:
            opened(server, key_variable="POOL_KEY")
        monkeypatch.delenv("POOL_KEY")
        with pytest.raises(ValueError, match="POOL_KEY is not set"):
            opened(server, key_variable="POOL_KEY")
    for found in (raised, echoed, refused):
        assert KEY not in str(found.value) + str(found.getrepr(showlocals=False, style="long"))
        assert "sk-another" not in str(found.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("same", "adapter 'one' answers all 4 probes .* as 'base.model' does"),
        ("twins", "adapters 'one' and 'two' answer all 4 probes"),
        ("evicted", "let 'tiny/base' answer for adapter 'one'"),
        ("error", "could not be probed: HTTP 500"),
    ],
)
def test_a_pool_that_answers_as_another_is_refused(
    server: ModelServer, kind: str, message: str
) -> None:
    server.kind = kind
    with pytest.raises((ValueError, OSError), match=message):
        opened(server)
    if kind == "same":
        with opened(server, probe=False)[0] as pool:
            assert pool.generate("one", ["Hello"])[0].text.startswith(BASE_MODEL)


def test_an_adapter_that_is_evicted_later_is_noticed(server: ModelServer) -> None:
    with opened(server)[0] as pool:
        server.kind = "evicted"
        with pytest.raises(UnansweredError, match="let 'tiny/base' answer for adapter 'one'"):
            pool.generate("one", ["Hello"])
        assert pool.generate("base", ["Hello"])[0].text.startswith(BASE_MODEL)


def test_missing_adapters_are_named_or_loaded() -> None:
    place = "/srv/adapters/two"
    with ModelServer(["one"], loadable=[place]) as server:
        with pytest.raises(
            ServerError, match=r"'two': .* has no model 'two'; it has tiny/base, one"
        ):
            opened(server)
        spec = spec_of(server)
        for source in ("/srv/nowhere", place):
            served = ServedAdapter(model="two-v3", revision="v3", source=source)
            adapters = (*spec.adapters[:2], AdapterSpec("two", served=served))
            if source != place:
                with pytest.raises(ServerError, match=r"did not load '/srv/nowhere'.*VLLM_ALLOW"):
                    HttpPool(replace(spec, adapters=adapters))
        with HttpPool(replace(spec, adapters=adapters)) as pool:
            assert pool.generate("two", ["Hello"])[0].text == "two-v3 heard Hello"
        assert [s.body["lora_path"] for s in server.seen if s.path == LOAD][1:] == [place]
        server.places["two-v3"] = "/srv/old"
        with pytest.raises(ServerError, match="has 'two-v3' from '/srv/old', not from '/srv/adap"):
            HttpPool(replace(spec, adapters=adapters))


def test_an_adapter_that_another_process_has_just_loaded_is_there() -> None:
    class Overtaken(ModelServer):
        """Another process's request to load the adapter arrives first."""

        async def _loaded(self, writer: Any, body: dict[str, Any]) -> None:
            self.places[body["lora_name"]] = body["lora_path"]
            said = json.dumps(error("The lora adapter 'two' has already been loaded."))
            await self._reply(writer, 400, said.encode())

    with Overtaken(["one"]) as server:
        spec = spec_of(server)
        two = AdapterSpec("two", served=ServedAdapter(revision="r1", source="/srv/two"))
        with HttpPool(replace(spec, adapters=(*spec.adapters[:2], two))) as pool:
            assert pool.generate("two", ["Hello"])[0].text == "two heard Hello"


def test_the_base_is_found_or_named(server: ModelServer) -> None:
    server.places["merged"] = ""
    listed = server._listed
    server._listed = lambda: [  # type: ignore[method-assign]
        {**entry, "parent": None} if entry["id"] == "merged" else entry for entry in listed()
    ]
    with pytest.raises(ServerError, match=r"2 models that could be the base \(tiny/base, merged\)"):
        opened(server)
    with opened(server, base="tiny/base")[0] as pool:
        assert pool.models.of["base"] == "tiny/base"
    with pytest.raises(ServerError, match="has no model 'tiny/else'"):
        opened(server, base="tiny/else")


def test_replicas_are_asked_in_turn() -> None:
    with ModelServer() as first, ModelServer() as second:
        naps = Naps()
        with HttpPool(spec_of("", url=[first.url, second.url]), sleep=naps) as pool:
            pool.generate("one", [f"Question {i}" for i in range(10)])
            assert [len(s.asked) for s in (first, second)] == [OPENING + 5] * 2
            first.kind = "error"
            pool.generate("one", [f"Question {i}" for i in range(4)])  # the other one helps
        second.places["three"] = ""
        with pytest.raises(ServerError, match="list different models"):
            HttpPool(spec_of("", url=[first.url, second.url]))


def test_replicas_are_probed_at_once() -> None:
    second_is_asked = threading.Event()

    def patiently(model: str, body: dict[str, Any]) -> Completion:
        assert second_is_asked.wait(10)
        return spoken(model, body)

    def at_once(model: str, body: dict[str, Any]) -> Completion:
        second_is_asked.set()
        return spoken(model, body)

    with ModelServer(answer=patiently) as first, ModelServer(answer=at_once) as second:
        settings = {"url": [first.url, second.url], "attempts": 1, "timeout": 30.0}
        HttpPool(spec_of("", **settings), sleep=Naps()).close()
        assert [len(s.asked) for s in (first, second)] == [OPENING] * 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [("evicted", "let 'tiny/base' answer"), ("gone", "HTTP 404"), ("key", "refused the key")],
)
def test_the_replica_that_fails_is_named(kind: str, message: str) -> None:
    with ModelServer() as first, ModelServer() as second:
        spec = spec_of("", url=[first.url, second.url], concurrency=1, probe=False)
        with HttpPool(spec, sleep=Naps()) as pool:
            second.kind = kind
            with pytest.raises(UnansweredError, match=f"{second.url}/v1 .*{message}") as raised:
                pool.generate("one", ["Hello", "Goodbye"])
    assert first.url not in raised.value.fatal


def test_no_server_is_named() -> None:
    with ModelServer() as server:
        url = server.url
    with pytest.raises(ServerError, match=f"{url}/v1 does not list its models: the connection"):
        HttpPool(spec_of(url), sleep=Naps())


def test_a_local_spec_is_refused() -> None:
    with pytest.raises(ValueError, match="has no server: open it with open_pool"):
        HttpPool(PoolSpec("m", (AdapterSpec("base"), AdapterSpec("again"))))


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a", " "], {}, "query 1 is empty"),
        (["a"], {"batch_size": 0}, "batch_size=0"),
        (["a"], {"name": "three"}, "unknown adapter 'three': the pool has base, one, two"),
    ],
)
def test_wrong_questions(
    server: ModelServer, texts: list[str], options: dict[str, Any], message: str
) -> None:
    with opened(server, probe=False)[0] as pool, pytest.raises(ValueError, match=message):
        pool.generate(**{"name": "one", "texts": texts, **options})
    assert server.asked == []


@pytest.mark.parametrize("package", ["httpx", "tenacity"])
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'routing-gym\[judge\]'"):
        HttpPool(spec_of("http://127.0.0.1:9"))
