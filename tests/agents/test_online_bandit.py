from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from routing_gym.agents import AGENTS, make_agent
from routing_gym.agents.bandit import Outcomes
from routing_gym.agents.linucb import LinUCBAgent
from routing_gym.agents.online_bandit import OnlineBandit
from routing_gym.agents.projection import Projection
from routing_gym.agents.squarecb import SquareCBAgent
from routing_gym.queries.registry import resolve
from tests.agents.bandits import NAMES, behaviour, skip_without_peer

RIGHT = np.eye(3, 4)  # the context of arm k


def started(agent: OnlineBandit) -> OnlineBandit:
    agent.start(("a", "b", "c"), projection=Projection(np.zeros(3), np.eye(3)), seed=0)
    return agent


def rounds(agent: OnlineBandit, n: int = 300) -> list[float]:
    rng, collected = np.random.default_rng(0), []
    for query in rng.integers(3, size=n).tolist():
        context = RIGHT[query] + 0.05
        action, propensity = agent.choose_one(context, rng=rng)
        collected.append(float(action == query))
        agent.learn_one(context, action, reward=collected[-1], propensity=propensity)
    return collected


@pytest.mark.parametrize("agent_class", [LinUCBAgent, SquareCBAgent])
def test_learns_without_a_table(agent_class: type[OnlineBandit]) -> None:
    agent = started(agent_class())
    collected = rounds(agent)
    assert np.mean(collected[-100:]) > 0.9
    assert agent.outcomes == 300


@pytest.mark.parametrize("agent_class", [LinUCBAgent, SquareCBAgent])
def test_one_round_equals_a_batch_of_one(agent_class: type[OnlineBandit]) -> None:
    single, batched = started(agent_class()), started(agent_class())
    rng = np.random.default_rng(1)
    for context, reward in zip(rng.normal(size=(200, 4)), rng.random(200), strict=True):
        action, propensity = single.choose_one(context, rng=rng)
        distribution = behaviour(batched, context[None])
        assert propensity == pytest.approx(distribution[0, action], abs=1e-9)
        single.learn_one(context, action, reward=reward, propensity=propensity)
        batched.learn_many(
            context[None],
            np.array([action]),
            rewards=np.array([reward]),
            propensities=np.array([propensity]),
        )
    for name, values in single._learned().items():
        np.testing.assert_allclose(values, batched._learned()[name], atol=1e-9)


ONLINE = [name for name in NAMES if issubclass(resolve(AGENTS, name, kind="agent"), OnlineBandit)]


@pytest.mark.parametrize("name", ONLINE)
def test_rounds_are_learned_from_as_a_stream_is(name: str) -> None:
    skip_without_peer(name)
    online, streamed = (make_agent(name) for _ in range(2))
    assert isinstance(online, OnlineBandit)
    assert isinstance(streamed, OnlineBandit)
    started(online), started(streamed)
    rng = np.random.default_rng(2)
    for number, context in enumerate(rng.normal(size=(40, 4))):
        row, reward, single = np.array([number % 3]), rng.random(1), bool(number % 2)
        if single:
            online.learn_one(context, int(row[0]), reward=float(reward[0]), propensity=0.5)
        else:
            half = np.array([0.5])
            online.learn_many(context[None], row, rewards=reward, propensities=half)
        streamed._learn(Outcomes(context[None], row, reward, np.full((1, 3), 0.5)))
        streamed.outcomes += 1
    assert online.outcomes == 40
    for key, values in streamed._learned().items():
        np.testing.assert_allclose(online._learned()[key], values, atol=1e-9, err_msg=key)


def test_a_late_outcome_is_learned_from_its_own_context() -> None:
    rng = np.random.default_rng(0)
    contexts = rng.normal(size=(3, 4))
    late, prompt = started(LinUCBAgent()), started(LinUCBAgent())
    for context in contexts:
        late.choose_one(context, rng=rng)
    for context in contexts:
        late.learn_one(context, 1, reward=0.2, propensity=1.0)
        prompt.choose_one(context, rng=rng)
        prompt.learn_one(context, 1, reward=0.2, propensity=1.0)
    np.testing.assert_allclose(behaviour(late, contexts), behaviour(prompt, contexts))
    for name, values in late._learned().items():
        np.testing.assert_allclose(values, prompt._learned()[name], atol=1e-12)


def test_ties_are_drawn_between_with_their_propensity() -> None:
    agent, rng = started(LinUCBAgent()), np.random.default_rng(0)
    drawn = [agent.choose_one(np.ones(4), rng=rng) for _ in range(300)]
    assert {action for action, _ in drawn} == {0, 1, 2}
    assert {share for _, share in drawn} == {1 / 3}


def test_a_copy_learns_on_its_own() -> None:
    agent = started(LinUCBAgent())
    rounds(agent, 20)
    twin = copy.deepcopy(agent)
    before = twin._learned()
    rounds(agent, 20)
    for name, values in twin._learned().items():
        np.testing.assert_array_equal(values, before[name])
    assert (agent._learned()["ridge.weights"] != before["ridge.weights"]).any()


def test_is_saved_like_any_other(tmp_path: Path) -> None:
    agent = started(LinUCBAgent())
    rounds(agent)
    agent.save(tmp_path / "policy")
    loaded = LinUCBAgent.load(tmp_path / "policy")
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.values(observations), agent.values(observations))


def test_one_adapter_is_no_choice() -> None:
    with pytest.raises(ValueError, match="leaves no choice"):
        LinUCBAgent().start(("a",), projection=Projection(np.zeros(3), np.eye(3)), seed=0)
