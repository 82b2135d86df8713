from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routing_gym.agents import load_agent
from routing_gym.agents.neural_forest import NeuralForestAgent
from routing_gym.agents.neural_linear import NeuralLinearAgent
from tests.agents.bandits import begun, behaviour, outcomes
from tests.agents.problems import by_hand, identity

CONTEXTS = np.array([[1.0, -1.0], [1.0, 1.0]])


def test_forest_by_hand() -> None:
    options: dict[str, Any] = {"leaf_size": 2, "share": 1.0, "trees": 7}
    agents = [
        begun(NeuralForestAgent, arms=3, forest_weight=w, dropout=0.0, **options)
        for w in (1.0, 0.25)
    ]
    low, high = [[1.0, -1.0], [1.0, -1.0]], [[1.0, 1.0], [1.0, 1.0]]
    for agent in agents:
        agent._learn(outcomes(low + high, [0] * 4, [0.2, 0.4, 0.8, 1.0], arms=3))
        agent._learn(outcomes(low, [1, 1], [0.5, 0.7], arms=3))
        agent._finish()
    # two leaves of two outcomes each, whatever the threshold; one leaf; an adapter never asked
    trees = np.array([[0.3, 0.6], [0.9, 0.6]])
    linear = agents[0]._model.predict(agents[0]._seen(CONTEXTS))
    np.testing.assert_allclose(agents[0]._estimates(CONTEXTS)[:, :2], trees, atol=1e-6)
    mixed = agents[1]._estimates(CONTEXTS)
    np.testing.assert_allclose(mixed[:, :2], 0.75 * linear[:, :2] + 0.25 * trees, atol=1e-6)
    np.testing.assert_allclose(mixed[:, 2], linear[:, 2])


def test_explores_as_neural_linear_does() -> None:
    lesson = outcomes([[1.0, 0.3], [1.0, -0.7]], [0, 1], [1.0, 0.2])
    agents = [begun(kind, dropout=0.0) for kind in (NeuralForestAgent, NeuralLinearAgent)]
    for agent in agents:
        agent._learn(lesson)
    np.testing.assert_array_equal(*(behaviour(agent, CONTEXTS) for agent in agents))
    np.testing.assert_array_equal(*(agent._estimates(CONTEXTS) for agent in agents))
    for agent in agents:
        agent._finish()
    np.testing.assert_array_equal(*(behaviour(agent, CONTEXTS) for agent in agents))
    assert (agents[0]._estimates(CONTEXTS) != agents[1]._estimates(CONTEXTS)).any()


def test_pays_for_no_outcome_twice() -> None:
    agent = NeuralForestAgent(budget=1.0, trees=3)
    data = identity("train")
    agent.train(data, validation=identity("validation"), seed=0)
    assert agent.outcomes == data.rewards.size
    assert agent._model.counts.tolist() == [len(data)] * 4


def test_finds_an_interaction_with_the_budget_of_one_pass() -> None:
    rng = np.random.default_rng(1)

    def split(n: int) -> Any:
        x = rng.uniform(-1, 1, size=(n, 2))
        first = (x[:, 0] * x[:, 1] > 0).astype(float)
        return by_hand(np.stack([first, 1 - first], axis=1).tolist(), observations=x.tolist())

    agent, test = NeuralForestAgent(budget=0.5, share=1.0), split(200)
    agent.train(split(500), validation=split(50), seed=0)
    chosen = agent.decide(test.observations).actions
    assert test.rewards[np.arange(200), chosen].mean() > 0.9


def test_survives_saving(tmp_path: Path) -> None:
    agent = NeuralForestAgent(trees=5)
    agent.train(identity("train"), validation=identity("validation"), seed=2)
    agent.save(tmp_path / "policy")
    loaded = load_agent(tmp_path / "policy")
    assert isinstance(loaded, NeuralForestAgent)
    x = identity("test").observations
    np.testing.assert_allclose(loaded.values(x), agent.values(x), rtol=1e-12)
    np.testing.assert_allclose(loaded.behaviour(x), agent.behaviour(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trees": 0}, "trees=0 is too small"),
        ({"leaf_size": 0}, "leaf_size=0 is too small"),
        ({"forest_weight": 1.2}, "forest_weight=1.2 is outside"),
        ({"share": 0.0}, "share=0.0 must be above 0"),
        ({"budget": 1.5}, "budget=1.5 without revisits"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralForestAgent(**options)
