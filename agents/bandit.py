"""The base of the streaming bandits: one decision, one outcome, and an account of what was paid."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from routing_gym.agents.agent import Agent, Feedback
from routing_gym.agents.curves import CurveLog
from routing_gym.agents.learning_history import HistoryPoint, StreamRecorder
from routing_gym.agents.onnx_graph import OnnxGraph
from routing_gym.agents.policy import full_mask
from routing_gym.agents.projection import Projection
from routing_gym.agents.seeding import isolated_seed
from routing_gym.agents.value_agent import ValueAgent
from routing_gym.envs.data import RoutingData


@dataclass(frozen=True)
class BanditConfig:
    """Settings that every streaming bandit has.

    Parameters
    ----------
    budget
        Outcomes paid for, as a share of the N x K that full information costs, above 0. Every
        decision is one, so with K adapters one pass over the train split is 1/K.
    batch_size
        Decisions taken before their outcomes are learned from, at least 1.
    num_components
        Principal components of the embedding that the context keeps, at least 0; 0 keeps the
        embedding itself. They are fitted on the train embeddings, without rewards.
    revisit
        Whether a later pass may ask an adapter that has already answered the query. False spends
        every outcome on a new cell; ``budget`` is then at most 1, and the regret of later passes
        is against an adapter that may not be asked again.
    evaluate_every
        Outcomes between measurements of the policy on validation, at least 0; 0 measures the
        untrained and the final policy only.
    """

    budget: float = 0.4
    batch_size: int = 16
    num_components: int = 32
    revisit: bool = True
    evaluate_every: int = 200

    def __post_init__(self) -> None:
        require_positive(self, "budget")
        require_at_least(self, 1, "batch_size")
        require_at_least(self, 0, "num_components", "evaluate_every")
        if self.budget > 1 and not self.revisit:
            raise ValueError(
                f"budget={self.budget} without revisits is more than all outcomes that there are: "
                "give at most 1, or set revisit=True."
            )


@dataclass(frozen=True)
class Outcomes:
    """A batch that was paid for, all that a bandit ever learns from.

    Parameters
    ----------
    contexts
        float64 (B, W), an intercept first.
    actions
        int64 (B,), the adapters chosen.
    rewards
        float64 (B,), theirs alone.
    probabilities
        float64 (B, K), the distributions that the adapters were drawn from.
    """

    contexts: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    probabilities: np.ndarray


class BanditAgent(Agent):
    """Learns from the chosen adapter's reward alone, batch after batch of a shuffled stream.

    Subclasses implement ``_begin``, ``_behave`` (the exploring policy), ``_learn``, ``_learned``
    and ``_relearn``, and a policy to keep: ``probabilities``, or ``_estimates`` of `ValueBandit`.
    Nothing but the final state is kept: no policy is picked by its validation reward.

    Attributes
    ----------
    history
        One `HistoryPoint` per measurement, the first before anything is learned; empty after
        ``load``.
    outcomes
        Outcomes paid for.
    curves
        The same quantities as other agents', against outcomes paid for.
    """

    feedback: ClassVar[Feedback] = "bandit"
    config_class: ClassVar[type[Any]] = BanditConfig
    config: BanditConfig
    history: tuple[HistoryPoint, ...] = ()
    outcomes: int = 0

    def behaviour(self, observations: np.ndarray, *, mask: np.ndarray | None = None) -> np.ndarray:
        """Return the policy that explores, as it stands: what an online learner would log.

        Parameters
        ----------
        observations
            float32 (N, D), query embeddings.
        mask
            bool (K,) or (N, K), True where an adapter may be chosen; None allows all.

        Returns
        -------
        np.ndarray
            float64 (N, K), rows sum to 1: the probabilities with which adapters are drawn.
        """
        contexts = self._contexts(observations)
        return self._behave(contexts, full_mask(mask, (len(contexts), len(self.adapters))))

    @abstractmethod
    def _begin(self, *, width: int, rng: np.random.Generator) -> None:
        """Forget everything; contexts will have this width, and draws come from this generator."""

    @abstractmethod
    def _behave(self, contexts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the exact distributions of the exploring policy."""

    @abstractmethod
    def _learn(self, batch: Outcomes) -> None:
        """Take in what was paid for."""

    @abstractmethod
    def _learned(self) -> dict[str, np.ndarray]:
        """Return what was learned as arrays."""

    @abstractmethod
    def _relearn(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take back what ``_learned`` returned, after ``_begin``."""

    def _finish(self) -> None:
        """Use what was paid for once more, when the stream has ended; most have nothing left."""

    def _fit(
        self,
        train: RoutingData,
        *,
        validation: RoutingData,
        seed: int,
        log_dir: Path | None,
        progress: bool,
    ) -> None:
        """Stream the train split."""
        curves = CurveLog(log_dir)
        recorder = StreamRecorder(train, validation=validation, curves=curves)
        with isolated_seed(seed):  # what torch initialises and drops out
            self._projection = Projection.fit(
                train.observations, components=self.config.num_components
            )
            choices, learner = np.random.default_rng(seed).spawn(2)
            self.outcomes = 0
            self._begin(width=self._projection.width, rng=learner)
            self._stream(train, validation, recorder, seed=seed, rng=choices, progress=progress)
        curves.close()
        self.curves = curves.rows
        self.history = tuple(recorder.points)

    def _stream(
        self,
        train: RoutingData,
        validation: RoutingData,
        recorder: StreamRecorder,
        *,
        seed: int,
        rng: np.random.Generator,
        progress: bool,
    ) -> None:
        """Decide, pay, learn, batch after batch, and measure the policy now and then."""
        config = self.config
        contexts = self._projection(train.observations)
        held_out = np.asarray(validation.observations, dtype=np.float32)
        allowed = np.ones(train.rewards.shape, dtype=bool)
        length = max(round(config.budget * train.rewards.size), 1)
        order = stream_order(len(train), length=length, seed=seed)
        due = measured = 0
        bar = tqdm(total=len(order), desc=self.name, unit="outcome", disable=not progress)
        for rows in _batches(order, len(train), config.batch_size):
            if recorder.outcomes >= due and (config.evaluate_every or not recorder.outcomes):
                recorder.measure(self.probabilities(held_out))
                measured, due = recorder.outcomes, recorder.outcomes + config.evaluate_every
                bar.set_postfix(validation_reward=f"{recorder.points[-1].validation_reward:.4f}")
            probabilities = self._behave(contexts[rows], allowed[rows])
            actions = draw_actions(probabilities, rng)
            rewards = train.rewards[rows, actions].astype(np.float64)
            recorder.add(rows, actions, probabilities)
            self._learn(Outcomes(contexts[rows], actions, rewards, probabilities))
            self.outcomes = recorder.outcomes
            if not config.revisit:
                allowed[rows, actions] = False
            bar.update(len(rows))
        bar.close()
        self._finish()
        if measured < recorder.outcomes:
            recorder.measure(self.probabilities(held_out))

    def _contexts(self, observations: np.ndarray) -> np.ndarray:
        """Return the float64 (N, W) contexts of checked embeddings."""
        return self._projection(self._checked(observations))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the projection and what was learned."""
        return {"outcomes": self.outcomes}, self._projection.arrays() | self._learned()

    def _restore(self, values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Begin anew and take back what was learned."""
        self.outcomes = int(values["outcomes"])
        self._projection = Projection.from_arrays(arrays)
        with isolated_seed(0):
            self._begin(width=self._projection.width, rng=np.random.default_rng(0))
        self._relearn(arrays)


class ValueBandit(BanditAgent, ValueAgent):
    """A bandit that predicts rewards, and whose trained policy takes the best prediction."""

    @abstractmethod
    def _estimates(self, contexts: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the predicted rewards."""

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return float64 (N, K), the predicted rewards, without any bonus or noise."""
        return self._estimates(self._contexts(observations))

    def values_to_onnx(self, graph: OnnxGraph, observations: str) -> str:
        """Add the predicted rewards to a graph."""
        return self.estimates_to_onnx(graph, self._projection.to_onnx(graph, observations))

    @abstractmethod
    def estimates_to_onnx(self, graph: OnnxGraph, contexts: str) -> str:
        """Add the predictions for float64 (N, W) contexts; return their float64 (N, K)."""


def stream_order(num_queries: int, *, length: int, seed: int) -> np.ndarray:
    """Return the order in which a seed meets the queries: the same for every bandit.

    Parameters
    ----------
    num_queries
        N of the train split.
    length
        Decisions on the stream.
    seed
        Of the run.

    Returns
    -------
    np.ndarray
        int64 (length,), query numbers; each pass over N is a permutation of its own, the last may
        be cut short.
    """
    rng = np.random.default_rng(seed)
    passes = [rng.permutation(num_queries) for _ in range(0, length, num_queries)]
    return np.concatenate(passes)[:length]


def best_of(scores: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Share all mass among the allowed adapters with the highest score.

    Parameters
    ----------
    scores
        float (N, K).
    allowed
        bool (N, K), every row with at least one True.

    Returns
    -------
    np.ndarray
        float64 (N, K), uniform over equals: untrained learners then do not start on one adapter.
    """
    masked = np.where(allowed, scores, -np.inf)
    best = (masked == masked.max(axis=1, keepdims=True)).astype(np.float64)
    return best / best.sum(axis=1, keepdims=True)


def require_at_least(config: Any, least: int, *names: str) -> None:
    """Refuse integer fields below a bound, in words."""
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name}={getattr(config, name)} is too small: give at least {least}.")


def require_positive(config: Any, *names: str) -> None:
    """Refuse fields that are not finite and above 0, in words."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{name}={getattr(config, name)} is not above 0: give a positive.")


def require_not_negative(config: Any, *names: str) -> None:
    """Refuse fields that are not finite or below 0, in words."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{name}={getattr(config, name)} is negative: give 0 or more.")


def require_share(config: Any, *names: str) -> None:
    """Refuse fields outside [0, 1], in words."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name}={getattr(config, name)} is outside [0, 1].")


def draw_actions(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one action (B,) per row of distributions (B, K), without the checks of `choose`.

    Those checks took half of a round's time.
    """
    cumulative = probabilities.cumsum(axis=1)
    total = cumulative[:, -1:]
    levels = np.minimum(rng.random((len(total), 1)) * total, np.nextafter(total, 0))
    return (cumulative <= levels).sum(axis=1)


def _batches(order: np.ndarray, num_queries: int, batch_size: int) -> list[np.ndarray]:
    """Cut a stream into batches that never mix two passes."""
    return [
        order[start : min(start + batch_size, first + num_queries)]
        for first in range(0, len(order), num_queries)
        for start in range(first, min(first + num_queries, len(order)), batch_size)
    ]
