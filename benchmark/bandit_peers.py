"""Bandits of other libraries and our own behind one interface, for contests on the same stream.

Nothing here makes contexts or measures: a learner is given contexts and rewards and does what its
users would have it do, in the fastest form that its Python interface documents.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from routing_gym.agents.projection import Projection

Settings = Mapping[str, Any]


class Learner(Protocol):
    """What is timed: decisions and updates, nothing else."""

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Choose an action for a context, float64 (W,); return it and its propensity."""
        ...

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Take in the reward of what ``choose_one`` returned for this very array."""
        ...

    def choose_many(
        self, contexts: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose actions, int (B,), before any of their rewards is known.

        Propensities beside them are the distributions, float64 (B, K).
        """
        ...

    def learn_many(
        self,
        contexts: np.ndarray,
        actions: np.ndarray,
        *,
        rewards: np.ndarray,
        propensities: np.ndarray,
    ) -> None:
        """Take in their rewards, float64 (B,)."""
        ...


@dataclass(frozen=True)
class Competitor:
    """One entry of a contest.

    Parameters
    ----------
    name
        As it appears in every result.
    label
        For tables and plots.
    package
        What has to be installed; empty for our own.
    batch_size
        Decisions taken before their rewards are learned from.
    make
        Builds an untrained learner from (settings, number of actions, width, seed).
    grid
        Settings to tune over; the same number for every competitor. Empty takes over those of
        ``tuned_as``.
    tuned_as
        Name of the competitor whose tuned settings this one uses.
    """

    name: str
    label: str
    package: str
    batch_size: int
    make: Callable[[Settings, int, int, int], Learner]
    grid: tuple[Settings, ...] = ()
    tuned_as: str = ""

    @property
    def installed(self) -> bool:
        """Whether the competitor can take part."""
        return not self.package or importlib.util.find_spec(self.package) is not None


def own_learner(agent: str, settings: Settings, *, arms: int, width: int, seed: int) -> Learner:
    """Start an agent of ours online: it is a learner as it stands.

    Vowpal Wabbit's agents are such too: the example of a decision is parsed once.
    """
    from routing_gym.agents import make_agent

    online: Any = make_agent(agent, **settings)
    projection = Projection(np.zeros(width - 1), np.eye(width - 1))
    online.start([f"arm_{arm}" for arm in range(arms)], projection=projection, seed=seed)
    learner: Learner = online
    return learner


class OneByOne:
    """Does with batches what it does with single rounds; the rewards come after the last."""

    def __init__(self, learner: Any, *, arms: int) -> None:
        self._learner, self._arms = learner, arms
        self._rows: list[np.ndarray] = []

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Choose an action."""
        choice: tuple[int, float] = self._learner.choose_one(context, rng=rng)
        return choice

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Take in a reward."""
        self._learner.learn_one(context, action, reward=reward, propensity=propensity)

    def choose_many(
        self, contexts: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose one after the other; the same arrays are learned from later."""
        self._rows = list(contexts)
        chosen = [self._learner.choose_one(context, rng=rng) for context in self._rows]
        shares = np.full((len(chosen), self._arms), np.nan)
        for row, (action, share) in enumerate(chosen):
            shares[row, action] = share
        return np.array([action for action, _ in chosen]), shares

    def learn_many(
        self,
        contexts: np.ndarray,
        actions: np.ndarray,
        *,
        rewards: np.ndarray,
        propensities: np.ndarray,
    ) -> None:
        """Learn one after the other."""
        rounds = zip(
            self._rows, actions.tolist(), rewards.tolist(), propensities.tolist(), strict=True
        )
        for context, action, reward, share in rounds:
            self._learner.learn_one(context, action, reward=reward, propensity=share)


class VowpalText:
    """Vowpal Wabbit's SquareCB as its tutorials write it: text lines, parsed for each call."""

    def __init__(self, settings: Settings, *, arms: int, width: int, seed: int) -> None:
        from routing_gym.agents.vowpal import vowpal_workspace

        self._workspace = vowpal_workspace(
            "--cb_explore_adf --squarecb -q sa --ignore_linear s --noconstant --quiet "
            f"--learning_rate {settings['learning_rate']} --random_seed {seed + 1} "
            f"--gamma_scale {settings['gamma_scale']}"
        )
        self._actions = [f"|a {arm}" for arm in range(arms)]
        self._shared = ""

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Write the lines and draw from what is predicted."""
        components = [f"{i}:{value:.6g}" for i, value in enumerate(context.tolist())]
        self._shared = "shared |s " + " ".join(components)
        shares = self._workspace.predict([self._shared, *self._actions])
        return _draw(shares, float(rng.random()))

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Write the label before the chosen action's line."""
        lines = [self._shared, *self._actions]
        lines[action + 1] = f"0:{-reward:.6g}:{propensity:.6g} {lines[action + 1]}"
        self._workspace.learn(lines)


class VowpalWithoutFeatures:
    """Vowpal Wabbit's SquareCB with ``--cb_explore K``: faster, for actions without features."""

    def __init__(self, settings: Settings, *, arms: int, width: int, seed: int) -> None:
        from routing_gym.agents.vowpal import vowpal_workspace

        self._workspace = vowpal_workspace(
            f"--cb_explore {arms} --squarecb --noconstant --quiet --random_seed {seed + 1} "
            f"--learning_rate {settings['learning_rate']} --gamma_scale {settings['gamma_scale']}"
        )
        self._example: Any = None

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Make the example once and draw from what is predicted."""
        self._example = self._workspace.example({"x": dict(enumerate(context.tolist()))})
        shares = self._workspace.predict(self._example)
        return _draw(shares, float(rng.random()))

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Label the example; set up anew, for one set up without a label is not learned from."""
        example = self._example
        example.set_label_string(f"{action + 1}:{-float(reward)!r}:{float(propensity)!r}")
        example.unsetup_example()
        example.setup_example()
        self._workspace.learn(example)
        self._workspace.finish_example(example)


class FittedPolicy:
    """A deterministic policy of another library that cannot decide before its first fit."""

    def __init__(self, *, arms: int) -> None:
        self._arms, self._fitted = arms, False

    def _predict(self, contexts: np.ndarray) -> np.ndarray:
        """Return int (B,)."""
        raise NotImplementedError

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Update."""
        raise NotImplementedError

    def choose_one(self, context: np.ndarray, *, rng: np.random.Generator) -> tuple[int, float]:
        """Predict, after the first action was drawn."""
        if not self._fitted:
            return int(rng.integers(self._arms)), 1 / self._arms
        return int(self._predict(context[None])[0]), 1.0

    def learn_one(
        self, context: np.ndarray, action: int, *, reward: float, propensity: float
    ) -> None:
        """Fit one row."""
        self._fit(context[None], np.array([action]), np.array([reward]))
        self._fitted = True

    def choose_many(
        self, contexts: np.ndarray, *, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict, after the first actions were drawn."""
        if not self._fitted:
            shape = (len(contexts), self._arms)
            return rng.integers(self._arms, size=len(contexts)), np.full(shape, 1 / self._arms)
        return self._predict(contexts), np.ones((len(contexts), self._arms))

    def learn_many(
        self,
        contexts: np.ndarray,
        actions: np.ndarray,
        *,
        rewards: np.ndarray,
        propensities: np.ndarray,
    ) -> None:
        """Fit the rows."""
        self._fit(contexts, actions, rewards)
        self._fitted = True


class ContextualBanditsLinUCB(FittedPolicy):
    """``contextualbandits.online.LinUCB``: Sherman-Morrison updates in Cython, in doubles.

    The intercept is a component of the context already.
    """

    def __init__(self, settings: Settings, *, arms: int, width: int, seed: int) -> None:
        from contextualbandits.online import LinUCB

        super().__init__(arms=arms)
        self._policy = LinUCB(
            nchoices=arms,
            alpha=settings["alpha"],
            lambda_=settings["ridge"],
            fit_intercept=False,
            use_float=False,
            random_state=seed + 1,  # 0 is refused
        )

    def _predict(self, contexts: np.ndarray) -> np.ndarray:
        """Return its choices."""
        return np.asarray(self._policy.predict(contexts))

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Update."""
        self._policy.partial_fit(contexts, actions, rewards)


class MabwiserLinUCB(FittedPolicy):
    """``mabwiser``'s LinUCB, which inverts a matrix in each update."""

    def __init__(self, settings: Settings, *, arms: int, width: int, seed: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        super().__init__(arms=arms)
        policy = LearningPolicy.LinUCB(alpha=settings["alpha"], l2_lambda=settings["ridge"])
        self._bandit = MAB(list(range(arms)), policy, seed=seed)

    def _predict(self, contexts: np.ndarray) -> np.ndarray:
        """Return its choices; of a single one it makes no list."""
        return np.atleast_1d(self._bandit.predict(contexts))

    def _fit(self, contexts: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> None:
        """Update."""
        fit = self._bandit.partial_fit if self._fitted else self._bandit.fit
        fit(actions, rewards, contexts)


def _draw(shares: Sequence[float], level: float) -> tuple[int, float]:
    """Draw an action from shares that nearly sum to 1; return it and its probability."""
    total, mass = sum(shares), 0.0
    for action, share in enumerate(shares):
        mass += share
        if level * total < mass:
            return action, share / total
    action = max(range(len(shares)), key=shares.__getitem__)
    return action, shares[action] / total
