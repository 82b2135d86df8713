"""Bandits before and during learning, without a stream: what the tests of update rules need."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pytest

from routing_gym.agents.bandit import BanditAgent, Outcomes
from routing_gym.agents.seeding import isolated_seed

PEERS = {"vw_squarecb": "vowpalwabbit", "vw_cover": "vowpalwabbit"}
NAMES = (
    "epsilon_greedy",
    "linucb",
    "linear_thompson",
    "bootstrapped_thompson",
    "squarecb",
    "neural_linear",
    "neural_forest",
    "neural_ucb",
    "neural_ts",
    "exp4",
    "reinforce",
    *PEERS,
)
B = TypeVar("B", bound=BanditAgent)

# after the outcomes below, ridge 1: A = [[3, 1], [1, 2]], b = (1, 0), theta = (.4, -.2)
FIRST = ([[1.0, 0.0]], [0], [1.0])
SECOND = ([[1.0, 1.0]], [0], [0.0])
QUERY = np.array([[1.0, 1.0]])  # value .2, x'A^-1 x = .6; of an untouched adapter 0 and 2


def skip_without_peer(name: str) -> None:
    """Skip the test of an agent whose library is not installed."""
    if name in PEERS:
        pytest.importorskip(PEERS[name], reason=f"{name} needs the extra 'peers'")


def begun(agent_class: type[B], *, width: int = 2, arms: int = 2, **options: Any) -> B:
    agent = agent_class(**options)
    agent.adapters = tuple("abcdefgh"[:arms])
    with isolated_seed(0):
        agent._begin(width=width, rng=np.random.default_rng(0))
    return agent


def outcomes(
    contexts: list[list[float]],
    actions: list[int],
    rewards: list[float],
    probabilities: list[list[float]] | None = None,
    *,
    arms: int = 2,
) -> Outcomes:
    n = len(actions)
    drawn_from = np.full((n, arms), 1 / arms) if probabilities is None else np.array(probabilities)
    return Outcomes(np.array(contexts), np.array(actions), np.array(rewards), drawn_from)


def behaviour(agent: BanditAgent, contexts: np.ndarray, allowed: np.ndarray | None = None) -> Any:
    every = np.ones((len(contexts), len(agent.adapters)), dtype=bool)
    return agent._behave(contexts, every if allowed is None else allowed)


def taught(agent: B) -> B:
    for lesson in (FIRST, SECOND):
        agent._learn(outcomes(*lesson))
        agent.outcomes += 1
    return agent
