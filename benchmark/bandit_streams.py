"""Streams on which bandits compete: contexts and rewards in one order for everybody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routing_gym.agents.projection import Projection
from routing_gym.envs.data import RoutingData

COMPONENTS = 32


@dataclass(frozen=True)
class Stream:
    """Rounds in order.

    Parameters
    ----------
    contexts
        float64 (T, W), an intercept first.
    rewards
        float64 (T, K), what each action would bring.
    expected
        float64 (T, K), its expectation, of which regret is counted; the rewards themselves where
        they are all that is known.
    """

    contexts: np.ndarray
    rewards: np.ndarray
    expected: np.ndarray

    def __len__(self) -> int:
        return len(self.contexts)

    @property
    def arms(self) -> int:
        """K."""
        return self.rewards.shape[1]

    def regret(self, actions: np.ndarray) -> float:
        """Return the mean over the rounds of the best expected reward less the chosen one's."""
        chosen = self.expected[np.arange(len(self)), actions]
        return float((self.expected.max(axis=1) - chosen).mean())


def table_stream(data: RoutingData, *, budget: float, seed: int) -> Stream:
    """Stream a split as the bandit agents do: shuffled passes, PCA contexts.

    Parameters
    ----------
    data
        The split.
    budget
        Rounds as a share of its cells, above 0.
    seed
        Of the order.
    """
    from routing_gym.agents.bandit import stream_order  # loads torch

    projection = Projection.fit(data.observations, components=COMPONENTS)
    order = stream_order(len(data), length=max(round(budget * data.rewards.size), 1), seed=seed)
    rewards = data.rewards[order].astype(np.float64)
    return Stream(projection(data.observations[order]), rewards, rewards)


def synthetic_stream(*, queries: int, dimensions: int = 384, arms: int = 6, seed: int) -> Stream:
    """Draw a problem of a routing table's shape and stream it once.

    Queries have 16 hidden traits, of which half say which of 8 topics they belong to; an embedding
    is a random linear image of the traits with noise, of norm 1. An action's expected reward is a
    logistic function of the traits, and the reward that is seen is 1 with that probability mixed
    half and half with it: between 0 and 1, and noisy.

    Parameters
    ----------
    queries
        T, at least 64.
    dimensions
        D of the embeddings.
    arms
        K.
    seed
        Of the problem.
    """
    rng = np.random.default_rng([seed, 384])
    topics = rng.normal(size=(8, 16))
    topics[:, 8:] = 0.0
    traits = topics[rng.integers(8, size=queries)] + 0.7 * rng.normal(size=(queries, 16))
    embeddings = traits @ rng.normal(size=(16, dimensions)) / 4
    embeddings += 0.3 * rng.normal(size=embeddings.shape)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    logits = traits @ rng.normal(size=(16, arms)) / 2 + rng.normal(size=arms) / 2
    expected = 1 / (1 + np.exp(-logits))
    rewards = (expected + (rng.random(expected.shape) < expected)) / 2
    contexts = Projection.fit(embeddings, components=COMPONENTS)(embeddings)
    return Stream(contexts, rewards, expected)
