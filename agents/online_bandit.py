"""Bandits that also learn outside of a table, one round at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routing_gym.agents.bandit import BanditAgent, Outcomes, draw_actions
from routing_gym.agents.projection import Projection
from routing_gym.agents.seeding import isolated_seed


class OnlineBandit(BanditAgent):
    """A bandit that needs no more of a round than context, action, reward and propensity.

    ``train`` streams a table through it; without a table call ``start`` once, then ``choose_one``
    and ``learn_one`` (or ``choose_many`` and ``learn_many``) in turn. Rewards may come late, as
    long as every context stays as it was.
    """

    def start(self, adapters: Sequence[str], *, projection: Projection, seed: int) -> None:
        """Forget everything and get ready for the first round.

        Parameters
        ----------
        adapters
            K names, which the actions stand for.
        projection
            Makes the contexts; kept, so that the agent can be saved and decide on embeddings.
        seed
            Of whatever the learner draws.

        Raises
        ------
        ValueError
            If there are fewer than two adapters.
        """
        if len(adapters) < 2:
            raise ValueError(f"adapters={list(adapters)} leaves no choice: give at least two.")
        self.adapters = tuple(adapters)
        self.num_features = len(projection.mean)
        self.outcomes = 0
        self._projection = projection
        with isolated_seed(seed):
            self._begin(width=projection.width, rng=np.random.default_rng(seed))

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Draw an adapter for one context.

        Parameters
        ----------
        context
            float64 (W,), not changed before ``learn_one`` gets the same object.
        rng
            Draws the adapter.

        Returns
        -------
        tuple of int and float
            The action and the exact probability with which it was drawn.
        """
        actions, probabilities = self.choose_many(context[None], rng=rng)
        action = int(actions[0])
        return action, float(probabilities[0, action])

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Take in one outcome.

        Parameters
        ----------
        context
            float64 (W,), as given to ``choose_one``.
        action
            What that returned.
        reward
            Of this action.
        propensity
            What ``choose_one`` returned beside it, in (0, 1].
        """
        self.learn_many(
            context[None],
            np.array([action]),
            rewards=np.array([reward]),
            propensities=np.array([propensity]),
        )

    def choose_many(
        self, contexts: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw adapters for contexts (B, W); return int (B,) and their distributions (B, K)."""
        probabilities = self._behave(contexts, np.ones((len(contexts), len(self.adapters)), bool))
        return draw_actions(probabilities, rng), probabilities

    def learn_many(
        self,
        contexts: np.ndarray,
        actions: np.ndarray,
        *,
        rewards: np.ndarray,
        propensities: np.ndarray,
    ) -> None:
        """Take in outcomes of contexts (B, W); actions, rewards and propensities are (B,)."""
        probabilities = np.full((len(actions), len(self.adapters)), np.nan)
        probabilities[np.arange(len(actions)), actions] = propensities  # the others are not known
        self._learn(Outcomes(contexts, actions, rewards, probabilities))
        self.outcomes += len(actions)
