from __future__ import annotations

import numpy as np
import pytest

from routing_gym.agents import make_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.best_single import BestSingleAgent
from routing_gym.agents.knn import KNNAgent
from routing_gym.agents.task_lookup import TaskLookupAgent
from routing_gym.envs.data import RoutingData
from tests.agents.problems import by_hand

TRAIN = by_hand(
    [[1, 0, 0.5], [0, 0.4, 0.5], [0, 1, 0.4], [0, 0, 0.5]],
    observations=[[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]],
    tasks=["sum", "sum", "poem", "poem"],
)


def train(agent: Agent, *, validation: RoutingData = TRAIN) -> None:
    agent.train(TRAIN, validation=validation, seed=0)


def test_best_single_averages_train_rewards() -> None:
    agent = BestSingleAgent()
    train(agent)
    np.testing.assert_allclose(agent.values(np.zeros((1, 2))), [[0.25, 0.35, 0.475]], atol=1e-7)
    assert agent.decide(np.zeros((3, 2))).actions.tolist() == [2, 2, 2]


def test_masked_best_single_takes_the_second_best() -> None:
    agent = BestSingleAgent()
    train(agent)
    mask = np.array([True, True, False])
    assert agent.decide(np.zeros((1, 2)), mask=mask).actions.tolist() == [1]


def test_task_lookup_averages_within_the_task_and_falls_back_on_all() -> None:
    agent = TaskLookupAgent()
    train(agent)
    data = by_hand([[0, 0, 0]] * 3, tasks=["poem", "sum", "unheard of"])
    np.testing.assert_allclose(
        agent.values_on(data), [[0, 0.5, 0.45], [0.5, 0.2, 0.5], [0.25, 0.35, 0.475]], atol=1e-7
    )
    assert agent.decide_on(data).actions.tolist() == [1, 0, 2]


def test_oracle_takes_the_best_of_each_query() -> None:
    agent = make_agent("oracle")
    train(agent)
    assert agent.decide_on(TRAIN).actions.tolist() == [0, 2, 1, 2]


def test_knn_averages_the_nearest_by_cosine() -> None:
    agent = KNNAgent(neighbours=(2,))
    train(agent)
    values = agent.values(np.array([[5.0, 0.0], [0.0, 0.1]]))
    np.testing.assert_allclose(values, [[0.5, 0.2, 0.5], [0, 0.5, 0.45]], atol=1e-7)
    assert agent.k == 2


def test_knn_chooses_k_on_validation() -> None:
    agent = KNNAgent(neighbours=(1, 4, 100))
    train(agent, validation=by_hand([[1, 0, 0]], observations=[[1, 0]]))
    assert agent.k == 1  # the nearest neighbour alone says adapter a
    train(agent, validation=by_hand([[0, 0, 1]], observations=[[1, 0]]))
    assert agent.k == 4  # all four say adapter c; 100 is cut to what there is


def test_random_draws_all_adapters_and_repeats() -> None:
    agent = make_agent("random")
    train(agent)
    first = agent.decide(np.zeros((300, 2)))
    np.testing.assert_array_equal(first.actions, agent.decide(np.zeros((300, 2))).actions)
    assert set(first.actions.tolist()) == {0, 1, 2}
    np.testing.assert_allclose(first.propensities, 1 / 3)


@pytest.mark.parametrize("neighbours", [(), (0, 3)])
def test_knn_refuses(neighbours: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="each at least 1"):
        KNNAgent(neighbours=neighbours)
