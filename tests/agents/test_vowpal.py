from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents import make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.projection import Projection
from routing_gym.agents.vowpal import VowpalAgent, VowpalCoverAgent, VowpalSquareCBAgent
from tests.agents.bandits import begun, behaviour, outcomes
from tests.agents.problems import identity

CLASSES = (VowpalSquareCBAgent, VowpalCoverAgent)


@pytest.fixture
def peer() -> None:
    pytest.importorskip("vowpalwabbit", reason="Vowpal Wabbit needs the extra 'peers'")


def started(agent: VowpalAgent, *, arms: int = 3, width: int = 4) -> VowpalAgent:
    projection = Projection(np.zeros(width - 1), np.eye(width - 1))
    agent.start("abcdefgh"[:arms], projection=projection, seed=0)
    return agent


@pytest.mark.usefixtures("peer")
def test_squarecb_by_hand() -> None:
    agent = begun(VowpalSquareCBAgent, arms=3, gamma_scale=10.0, gamma_exponent=0.0)
    context = np.array([[1.0, 0.0]])
    np.testing.assert_allclose(behaviour(agent, context), [[1 / 3] * 3], atol=1e-6)
    for _ in range(200):  # one action is always asked, and always brings 1
        agent._learn(outcomes([[1.0, 0.0]], [0], [1.0], [[1 / 3] * 3], arms=3))
    # predicted costs -1, 0, 0: the others get 1 / (K + gamma)
    expected = 1 / (3 + 10)
    np.testing.assert_allclose(
        behaviour(agent, context), [[1 - 2 * expected, expected, expected]], atol=0.01
    )


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("agent_class", CLASSES)
def test_one_round_after_the_other_equals_batches(agent_class: type[VowpalAgent]) -> None:
    rng = np.random.default_rng(0)
    contexts, rewards = rng.normal(size=(60, 4)), rng.random((60, 3))
    first, second = started(agent_class()), started(agent_class())
    draws = np.random.default_rng(1)
    for context, row in zip(contexts, rewards, strict=True):
        action, propensity = first.choose_one(context, rng=draws)
        distribution = behaviour(second, context[None])
        assert propensity == pytest.approx(distribution[0, action], abs=1e-12)
        first.learn_one(context, action, reward=row[action], propensity=propensity)
        second.learn_many(
            context[None],
            np.array([action]),
            rewards=row[[action]],
            propensities=np.array([propensity]),
        )
    np.testing.assert_array_equal(behaviour(first, contexts), behaviour(second, contexts))
    assert first.outcomes == second.outcomes == 60


@pytest.mark.usefixtures("peer")
def test_an_outcome_may_come_late_or_never() -> None:
    rng = np.random.default_rng(0)
    contexts = rng.normal(size=(3, 4))
    late, prompt = started(VowpalSquareCBAgent()), started(VowpalSquareCBAgent())
    for context in contexts:
        late.choose_one(context, rng=rng)
    late.learn_one(contexts[0], 1, reward=0.5, propensity=0.4)
    prompt.choose_one(contexts[0], rng=rng)
    prompt.learn_one(contexts[0], 1, reward=0.5, propensity=0.4)
    np.testing.assert_array_equal(behaviour(late, contexts), behaviour(prompt, contexts))


@pytest.mark.usefixtures("peer")
def test_actions_are_drawn_with_the_reported_propensity() -> None:
    agent, rng = started(VowpalSquareCBAgent(gamma_scale=1.0)), np.random.default_rng(0)
    context = np.array([1.0, 0.2, 0.1, -0.3])
    for _ in range(30):
        agent.learn_one(context, 2, reward=1.0, propensity=0.5)
    drawn = [agent.choose_one(context, rng=rng) for _ in range(4000)]
    actions = np.array([action for action, _ in drawn])
    expected = behaviour(agent, context[None])[0]
    np.testing.assert_allclose(np.bincount(actions, minlength=3) / 4000, expected, atol=0.03)
    np.testing.assert_allclose([share for _, share in drawn], expected[actions], atol=1e-12)


@pytest.mark.usefixtures("peer")
@pytest.mark.parametrize("agent_class", CLASSES)
def test_a_loaded_agent_goes_on_learning_alike(
    agent_class: type[VowpalAgent], tmp_path: Path
) -> None:
    agent = agent_class(budget=0.2)
    agent.train(identity("train"), validation=identity("validation"), seed=0)
    agent.save(tmp_path / "policy")
    assert not [f for f in (tmp_path / "policy").iterdir() if f.suffix == ".pkl"]
    loaded = agent_class.load(tmp_path / "policy")
    contexts = np.random.default_rng(0).normal(size=(20, 17))
    for context in contexts:
        for one in (agent, loaded):
            one.learn_one(context, 1, reward=0.7, propensity=0.3)
    np.testing.assert_allclose(behaviour(agent, contexts), behaviour(loaded, contexts), atol=1e-6)


@pytest.mark.parametrize("name", ["vw_squarecb", "vw_cover"])
def test_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(module: str, *args: Any, **options: Any) -> Any:
        if module == "vowpalwabbit":
            raise ImportError(module)
        return real(module, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    agent: Agent = make_agent(name)
    with pytest.raises(ImportError, match=r"pip install routing-gym\[peers\]"):
        agent.train(identity("train"), validation=identity("validation"), seed=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vw_squarecb", {"learning_rate": 0.0}, "learning_rate=0.0 is not above 0"),
        ("vw_squarecb", {"power_t": -1.0}, "power_t=-1.0 is negative"),
        ("vw_squarecb", {"bits": 40}, "bits=40 is outside 8 to 30"),
        ("vw_squarecb", {"gamma_scale": 0.0}, "gamma_scale=0.0 is not above 0"),
        ("vw_squarecb", {"gamma_exponent": -0.5}, "gamma_exponent=-0.5 is negative"),
        ("vw_cover", {"policies": 0}, "policies=0 is too small"),
        ("vw_cover", {"psi": 0.0}, "psi=0.0 is not above 0"),
        ("vw_cover", {"epsilon": 2.0}, r"epsilon=2.0 is outside \[0, 1\]"),
    ],
)
def test_refuses_settings(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent(name, **options)
