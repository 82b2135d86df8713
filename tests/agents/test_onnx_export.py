"""Every agent's export decides as the agent does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from routing_gym.agents import AGENTS, make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.onnx_policy import OnnxPolicy, policy_to_onnx
from routing_gym.agents.preference_ppo import PreferencePPOAgent
from routing_gym.envs.data import RoutingData
from routing_gym.envs.table import DEFAULT_TABLE, OutcomeTable
from routing_gym.serving.exploration import Exploration
from routing_gym.serving.export_agreement import policy_agreement, policy_scores
from tests.agents.bandits import skip_without_peer
from tests.agents.problems import identity
from tests.agents.test_agent_contract import trained_once

PRIVILEGED = ("task_lookup", "oracle")
EXPORTED = [name for name in AGENTS if name not in PRIVILEGED]
# those that learn the embedded table within a second or two
QUICK = (
    "knn", "ridge", "matrix_factorisation", "epsilon_greedy", "linucb", "linear_thompson",
    "bootstrapped_thompson", "squarecb", "neural_linear", "exp4", "reinforce", "vw_squarecb",
)  # fmt: skip


def served(
    agent: Agent, policy: OnnxPolicy, observations: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    scores = policy_scores(policy, observations, mask=mask)
    return Exploration("policy").apply(scores, mask, output=policy.kind)


def strange(rows: int, width: int = 16) -> np.ndarray:
    """Observations that no split holds: long, short, zero and repeated."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(rows, width)) * rng.choice([0.01, 1, 10], size=(rows, 1))
    made[0], made[1] = 0, made[2]
    return made.astype(np.float32)


@pytest.mark.parametrize("name", EXPORTED)
def test_decides_as_the_agent_does(name: str) -> None:
    agent, data = trained_once(name), identity("test")
    policy = policy_to_onnx(agent)
    figures = policy_agreement(agent, policy, data)  # refuses more than 1e-5 and any other choice
    assert figures["policy_argmax_share"] == figures["masked_argmax_share"] == 1.0
    observations = strange(300)
    ours, theirs = served(agent, policy, observations), agent.probabilities(observations)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
    alone = served(agent, policy, observations[5:6])  # the number of queries is free
    np.testing.assert_allclose(alone, theirs[5:6], atol=1e-5)


@pytest.mark.parametrize("name", EXPORTED)
def test_the_same_agent_gives_the_same_file(name: str) -> None:
    agent = trained_once(name)
    assert policy_to_onnx(agent) == policy_to_onnx(agent)


@pytest.mark.parametrize("name", PRIVILEGED)
def test_privileged_agents_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be exported: it needs the"):
        policy_to_onnx(trained_once(name))


def test_untrained_and_unknown_agents_are_refused() -> None:
    with pytest.raises(RuntimeError, match="is not trained"):
        policy_to_onnx(make_agent("knn"))

    class Outside(type(trained_once("random"))):  # type: ignore[misc]
        name = "outside"
        to_onnx = Agent.to_onnx

    agent = Outside()
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    with pytest.raises(ValueError, match="implement its to_onnx"):
        policy_to_onnx(agent)


@pytest.mark.parametrize("preference", [0.0, 0.5, 1.0])
def test_a_preference_is_built_in(preference: float) -> None:
    agent = trained_once("preference_ppo")
    assert isinstance(agent, PreferencePPOAgent)
    told, observations = agent.at(preference), identity("test").observations
    np.testing.assert_allclose(
        served(told, policy_to_onnx(told), observations),
        agent.probabilities_at(observations, preference=preference),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vw_squarecb", {"quadratic": True, "num_components": 6}),
        ("vw_cover", {"quadratic": True, "num_components": 6, "policies": 3}),
        ("vw_cover", {"policies": 1}),
        ("vw_cover", {"uniform": True, "num_components": 0}),
        ("linucb", {"num_components": 0}),
        ("knn", {"neighbours": (3,)}),
        ("forest", {"trees": 1, "components": 3}),
        ("neural_forest", {"forest_weight": 0.0}),
        ("stacking", {"members": ("regression", "matrix_factorisation", "knn"), "folds": 2}),
        ("exp4", {"experts": ()}),
        ("exp4", {"experts": ("neural_ts", "bootstrapped_thompson")}),
        ("ppo", {"hidden_sizes": (8, 8), "total_steps": 512, "num_envs": 256, "batch_size": 64}),
    ],
)
def test_settings_are_exported_too(name: str, options: dict) -> None:
    skip_without_peer(name)
    agent = make_agent(name, **options)
    agent.train(identity("train"), validation=identity("validation"), seed=1)
    policy = policy_to_onnx(agent)
    policy_agreement(agent, policy, identity("test"))
    observations = strange(100)
    np.testing.assert_allclose(
        served(agent, policy, observations), agent.probabilities(observations), atol=1e-5
    )


def test_a_tree_parts_neighbouring_numbers_as_the_agent_does() -> None:
    agent = trained_once("forest")
    agent = make_agent("forest", trees=20, components=16)
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    thresholds = agent._trees["threshold"][agent._trees["feature"] >= 0]  # type: ignore[attr-defined]
    near = np.nextafter(thresholds.astype(np.float32), np.float32(np.inf), dtype=np.float32)
    below = np.nextafter(thresholds.astype(np.float32), np.float32(-np.inf), dtype=np.float32)
    values = np.concatenate([near, below, thresholds.astype(np.float32)])
    observations = np.tile(values[:, None], (1, 16))
    expected = agent.values(observations)  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        policy_scores(policy_to_onnx(agent), observations), expected, atol=1e-12
    )


@pytest.fixture(scope="module")
def embedded() -> tuple[RoutingData, RoutingData, RoutingData]:
    if not DEFAULT_TABLE.exists():
        pytest.skip("no embedded table")
    table = OutcomeTable.load(DEFAULT_TABLE)
    train, validation, test = (table.data(split) for split in ("train", "validation", "test"))
    return train.take(np.arange(0, len(train), 2)), validation, test


@pytest.mark.parametrize("name", QUICK)
def test_agrees_on_the_embedded_test_split(
    name: str, embedded: tuple[RoutingData, RoutingData, RoutingData]
) -> None:
    skip_without_peer(name)
    train, validation, test = embedded
    agent = make_agent(name, **({"epochs": 2} if name == "matrix_factorisation" else {}))
    agent.train(train, validation=validation, seed=0)
    policy_agreement(agent, policy_to_onnx(agent), test)
