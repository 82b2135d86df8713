"""Every address over a real bundle and a real upstream server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from routing_gym.benchmark.off_policy_sql import read_sql_log
from routing_gym.serving.backend import TokenSignals
from routing_gym.serving.bundle import PolicyBundle
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.openai_backend import OpenAIBackend
from routing_gym.serving.self_evaluation import RewardEstimator, ServedAnswer
from routing_gym.serving.upstream_settings import UpstreamSettings
from tests.serving.bundles import small_bundle, texts
from tests.serving.stand_ins import chat, client_of, make_app, wait_for
from tests.serving.upstream import Upstream

SETTINGS = {"exploration": "softmax", "exploration_temperature": 0.5, "log_text": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> PolicyBundle:
    return small_bundle(folder)


@pytest.fixture(scope="module")
def client(folder: Path, bundle: PolicyBundle) -> Iterator[httpx.Client]:
    with Upstream(bundle.adapters) as upstream:
        settings = UpstreamSettings(upstream.url, base=bundle.adapters[0])
        backend = OpenAIBackend(settings, bundle.adapters)
        app = make_app(folder, bundles={"ridge": bundle}, backend=backend, **SETTINGS)
        with client_of(app) as client:
            assert client.server.services.failure is None
            yield client


def test_it_is_ready(client: httpx.Client) -> None:
    assert client.get("/readyz").json()["status"] == "ready"
    assert client.get("/healthz").status_code == 200


def test_a_chat_is_answered_by_whom_the_policy_chose(
    client: httpx.Client, bundle: PolicyBundle
) -> None:
    for number, text in enumerate(texts(8)):
        response = client.post("/v1/chat/completions", json=chat(text, stream=bool(number % 2)))
        assert response.status_code == 200
        adapter = response.headers["x-adapter-id"]
        assert f'"model": "{adapter}"' in response.text
        assert response.headers["x-policy-version"] == bundle.version
        assert 0 < float(response.headers["x-propensity"]) <= 1


def test_routed_decisions_are_the_bundles(client: httpx.Client, bundle: PolicyBundle) -> None:
    asked = texts(12)
    answer = client.post("/route", json={"input": asked}).json()
    expected = bundle.decide(asked, exploration=Exploration("softmax", temperature=0.5))
    assert answer["policy_version"] == bundle.version
    for row, decision in enumerate(answer["decisions"]):
        probabilities = list(decision["probabilities"].values())
        if len(np.unique(expected.probabilities[row])) > 1:  # not the greedy one-hot of the library
            assert sum(probabilities) == pytest.approx(1)
        assert decision["propensity"] == decision["probabilities"][decision["adapter"]]
        assert decision["confidence"] == pytest.approx(expected.confidences[row])
        assert decision["fallback"] == expected.fallbacks[row]


def test_rewards_come_back_and_the_log_can_be_evaluated(client: httpx.Client, folder: Path) -> None:
    decisions = client.post("/route", json={"input": texts(20)}).json()["decisions"]
    for number, decision in enumerate(decisions):
        body = {"decision_id": decision["decision_id"], "reward": number / 20}
        assert client.post("/feedback", json=body).json()["status"] == "recorded"
    log = read_sql_log(f"sqlite:///{folder / 'decisions.db'}")
    rewards = dict(zip(log.decision_ids.tolist(), log.rewards.tolist(), strict=True))
    for number, decision in enumerate(decisions):
        assert rewards[decision["decision_id"]] == number / 20
    assert log.all_propensities is not None
    assert log.observations is not None


def test_models_and_metrics(client: httpx.Client, bundle: PolicyBundle) -> None:
    names = [entry["id"] for entry in client.get("/v1/models").json()["data"]]
    assert names == ["router", "router:ridge", *bundle.adapters]
    text = client.get("/metrics").text
    assert f'policy="ridge",policy_version="{bundle.version}"' in text
    assert 'router_embedding_drift{policy="ridge"}' in text


def test_answers_are_scored_with_the_reward_of_training(
    tmp_path: Path, bundle: PolicyBundle
) -> None:
    from tests.serving.stand_ins import StandInBackend

    seen: list[ServedAnswer] = []
    signals = TokenSignals((-0.5, 0.0), (1.0, 0.0))

    class Recording(RewardEstimator):
        def reward(self, answer: ServedAnswer) -> float:
            seen.append(answer)
            return 0.5

    app = make_app(
        tmp_path,
        bundles={"ridge": bundle},
        backend=StandInBackend(bundle.adapters, signals=signals),
        evaluator=Recording(None, None),  # type: ignore[arg-type]
        self_evaluation_share=1.0,
    )
    with client_of(app) as client:
        response = client.post("/v1/chat/completions", json=chat(texts(1)[0]))
        wait_for(lambda: 'source="self_evaluation"} 1.0' in client.get("/metrics").text)
    assert seen[0].decision_id == response.headers["x-decision-id"]
    assert (seen[0].query, seen[0].completion_tokens) == (texts(1)[0], 3)
    assert seen[0].signals == signals
    assert "log_prob" not in response.text
