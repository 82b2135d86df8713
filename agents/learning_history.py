"""What a streaming learner leaves behind: its policy's worth against the outcomes it paid for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from routing_gym.agents.curves import CurveLog, quantities_on, routing_quantities, score_names
from routing_gym.envs.data import RoutingData


class HistoryPoint(NamedTuple):
    """Where a learner stood at one moment.

    Parameters
    ----------
    outcomes
        Outcomes paid for so far: one per decision on the stream, a repeated one counted again.
    validation_reward
        Mean reward of the greedy policy on the validation split. Only measured: nothing is chosen
        by it, and its outcomes are not counted.
    stream_reward
        Sum of the rewards that were collected on the stream.
    regret
        Sum over the stream of the best adapter's reward less the chosen one's.
    """

    outcomes: int
    validation_reward: float
    stream_reward: float
    regret: float


class StreamRecorder:
    """Adds up what happens on the stream, and measures the policy now and then.

    Parameters
    ----------
    train
        The split that is streamed; the other adapters' rewards are read for the regret alone.
    validation
        The split on which the greedy policy is measured.
    curves
        Where the same quantities as other agents' go.
    """

    def __init__(self, train: RoutingData, *, validation: RoutingData, curves: CurveLog) -> None:
        self.points: list[HistoryPoint] = []
        self.outcomes = 0
        self._train, self._validation, self._curves = train, validation, curves
        self._oracle = train.rewards.max(axis=1).astype(np.float64)
        self._reward = self._regret = 0.0
        self._recent: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, actions: np.ndarray, probabilities: np.ndarray) -> None:
        """Account for one batch of decisions.

        Parameters
        ----------
        rows, actions
            int (B,), query numbers of the train split and the adapters chosen.
        probabilities
            float (B, K), the distributions behind the choices.
        """
        rewards = self._train.rewards[rows, actions]
        self.outcomes += len(rows)
        self._reward += float(rewards.sum(dtype=np.float64))
        self._regret += float((self._oracle[rows] - rewards).sum())
        self._recent.append((rows, actions, probabilities))

    def measure(self, probabilities: np.ndarray) -> None:
        """Record a point: the policy on validation, and the stream since the last point.

        Parameters
        ----------
        probabilities
            float (N, K), the trained policy's distributions on the validation split.
        """
        quantities = quantities_on(
            self._validation, actions=probabilities.argmax(axis=1), probabilities=probabilities
        )
        self._curves.record("validation", step=self.outcomes, quantities=quantities)
        self.points.append(
            HistoryPoint(self.outcomes, quantities["reward"], self._reward, self._regret)
        )
        if self._recent:
            self._record_stream()
            self._recent = []

    def _record_stream(self) -> None:
        """Average the decisions since the last point."""
        rows, actions, probabilities = (
            np.concatenate(parts) for parts in zip(*self._recent, strict=True)
        )
        train = self._train
        rewards = train.rewards[rows, actions]
        quantities = routing_quantities(
            adapters=train.adapters,
            actions=actions,
            probabilities=probabilities,
            rewards=rewards,
            accuracy=train.accuracy[rows, actions],
            regret=self._oracle[rows] - rewards,
            scores={name: train.scores[name][rows, actions] for name in score_names(train)},
        )
        self._curves.record("train", step=self.outcomes, quantities=quantities)
