"""What decisions are worth: the yardstick of one split, and one row of measurements per policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.envs.data import RoutingData

COLLAPSED = 0.95


@dataclass(frozen=True)
class Yardstick:
    """The arrays that decisions on one split are measured by.

    Parameters
    ----------
    adapters
        Adapter names, length K.
    tasks
        str (N,), the strata of the stratified bootstrap.
    reward, accuracy
        float (N, K), the reward that is reported (not always the one trained on) and the verified
        correctness.
    best_by_reward, best_by_accuracy
        Index of the best single adapter under each, chosen on the train split.
    quality
        float (N, K) in [0, 1], mean of the self-evaluator's metrics without costs; None if the
        table does not say which metrics are costs.
    seconds
        float (N, K), seconds per answer; None if not measured.

    Raises
    ------
    ValueError
        If an array has another shape than (N, K).
    """

    adapters: tuple[str, ...]
    tasks: np.ndarray
    reward: np.ndarray
    accuracy: np.ndarray
    best_by_reward: int
    best_by_accuracy: int
    quality: np.ndarray | None = None
    seconds: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.tasks), len(self.adapters))
        for name in ("reward", "accuracy", "quality", "seconds"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.shape != shape:
                raise ValueError(f"{name} has shape {values.shape}, not (N, K) = {shape}.")
            object.__setattr__(self, name, np.asarray(values, dtype=np.float64))

    @classmethod
    def from_splits(
        cls,
        test: RoutingData,
        *,
        train: RoutingData,
        quality: np.ndarray | None = None,
        seconds: np.ndarray | None = None,
    ) -> Yardstick:
        """Measure on `test`, with the best single adapters chosen on `train`.

        Raises
        ------
        ValueError
            If the two splits have other adapters.
        """
        if train.adapters != test.adapters:
            raise ValueError(
                f"train has adapters {train.adapters}, test {test.adapters}: take both splits "
                f"from one table."
            )
        return cls(
            adapters=test.adapters,
            tasks=test.tasks,
            reward=test.rewards,
            accuracy=test.accuracy,
            best_by_reward=metrics.best_single(train.rewards),
            best_by_accuracy=metrics.best_single(train.accuracy),
            quality=quality,
            seconds=seconds,
        )

    def bootstrap(
        self, *, seed: int = 0, resamples: int = 2000, by_task: bool = False
    ) -> PairedBootstrap:
        """Draw the resamples on which all policies are compared; equal seeds, equal resamples."""
        return PairedBootstrap(
            len(self.tasks),
            rng=np.random.default_rng(seed),
            resamples=resamples,
            strata=self.tasks if by_task else None,
        )

    @property
    def references(self) -> dict[str, float]:
        """Values of the best single adapter and of the oracle, by reward and by accuracy."""
        return {
            "best_single_reward": float(self.reward[:, self.best_by_reward].mean()),
            "oracle_reward": float(self.reward.max(axis=1).mean()),
            "best_single_accuracy": float(self.accuracy[:, self.best_by_accuracy].mean()),
            "oracle_accuracy": float(self.accuracy.max(axis=1).mean()),
        }


@dataclass(frozen=True)
class EvaluationRow:
    """One policy (all its seeds) measured on one split.

    Parameters
    ----------
    agent
        The agent's name.
    feedback
        The information regime: ``"full"``, ``"bandit"`` or ``"none"``.
    privileged
        Whether the agent sees what a deployed router cannot (task labels, rewards).
    trained_on
        Name of the reward that it was trained on.
    seeds
        S, the number of training seeds behind the row.
    reward, accuracy
        Mean reward and verified accuracy with paired bootstrap intervals.
    reward_gap_closed, accuracy_gap_closed
        (V - best single) / (oracle - best single), in reward and in accuracy.
    regret
        Mean regret in reward.
    entropy
        Arm-usage entropy divided by ln K, in [0, 1].
    entropy_nats
        The same in nats.
    usage
        (K,) share of queries per adapter.
    tie_set_differ, tie_set_all
        Share of choices in the tie set of the best verified accuracy.
    reward_gap
        Reward minus accuracy.
    reward_iqm, accuracy_iqm
        Interquartile means over the seeds, with the band that plots draw.
    quality, seconds
        Mean quality in [0, 1] and seconds per answer; None where not measured.
    """

    agent: str
    feedback: str
    privileged: bool
    trained_on: str
    seeds: int
    reward: Interval
    accuracy: Interval
    reward_gap_closed: Interval
    accuracy_gap_closed: Interval
    regret: float
    entropy: float
    entropy_nats: float
    usage: tuple[float, ...]
    tie_set_differ: Interval
    tie_set_all: Interval
    reward_gap: Interval
    reward_iqm: Interval
    accuracy_iqm: Interval
    quality: Interval | None = None
    seconds: Interval | None = None

    @property
    def label(self) -> str:
        """Agent and training reward in one name."""
        return f"{self.agent} / {self.trained_on}"

    @property
    def collapsed(self) -> bool:
        """Whether more than 95 % of the queries go to one adapter."""
        return max(self.usage) > COLLAPSED


def measure(
    actions: np.ndarray,
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    stratified: PairedBootstrap | None = None,
    agent: str,
    feedback: str = "none",
    privileged: bool = False,
    trained_on: str = "reward",
) -> EvaluationRow:
    """Measure the decisions of one policy's seeds.

    Parameters
    ----------
    actions
        int (S, N) or (N,), the chosen adapters.
    yardstick
        What they are measured by.
    bootstrap
        The shared resamples, from ``yardstick.bootstrap()``.
    stratified
        Those for the interquartile means, from ``yardstick.bootstrap(by_task=True)``; None takes
        `bootstrap`.
    agent, feedback, privileged, trained_on
        Copied into the row.

    Raises
    ------
    ValueError
        If an action is no adapter of the yardstick or the number of queries differs.
    """
    actions, stratified = np.atleast_2d(actions), stratified or bootstrap
    reward = metrics.chosen(yardstick.reward, actions)
    accuracy = metrics.chosen(yardstick.accuracy, actions)
    hits = metrics.in_tie_set(actions, yardstick.accuracy)
    nats, normalised = metrics.arm_usage_entropy(actions, len(yardstick.adapters))
    return EvaluationRow(
        agent=agent,
        feedback=feedback,
        privileged=privileged,
        trained_on=trained_on,
        seeds=len(actions),
        reward=bootstrap.mean(reward),
        accuracy=bootstrap.mean(accuracy),
        reward_gap_closed=_gap(reward, yardstick.reward, yardstick.best_by_reward, bootstrap),
        accuracy_gap_closed=_gap(
            accuracy, yardstick.accuracy, yardstick.best_by_accuracy, bootstrap
        ),
        regret=float(metrics.regret(yardstick.reward, actions).mean()),
        entropy=normalised,
        entropy_nats=nats,
        usage=tuple(metrics.arm_usage(actions, len(yardstick.adapters)).tolist()),
        tie_set_differ=routing_accuracy(actions, yardstick.accuracy, bootstrap=bootstrap),
        tie_set_all=bootstrap.mean(hits),
        reward_gap=bootstrap.difference(reward, accuracy),
        reward_iqm=stratified.iqm(reward),
        accuracy_iqm=stratified.iqm(accuracy),
        quality=_mean_chosen(yardstick.quality, actions, bootstrap),
        seconds=_mean_chosen(yardstick.seconds, actions, bootstrap),
    )


def routing_accuracy(
    actions: np.ndarray, accuracy: np.ndarray, *, bootstrap: PairedBootstrap
) -> Interval:
    """Tie-set accuracy over the queries where the arms differ; `actions` (S, N), (N, K)."""
    differ = metrics.arms_differ(accuracy)
    hits = metrics.in_tie_set(actions, accuracy) & differ
    return bootstrap.ratio(hits, differ)


def _gap(values: np.ndarray, table: np.ndarray, best: int, bootstrap: PairedBootstrap) -> Interval:
    """Gap closed of chosen values (S, N) between one adapter and the oracle of a table (N, K)."""
    return bootstrap.gap_closed(values, best_single=table[:, best], oracle=table.max(axis=1))


def _mean_chosen(
    table: np.ndarray | None, actions: np.ndarray, bootstrap: PairedBootstrap
) -> Interval | None:
    """Mean of the chosen cells, or None where the table has none."""
    return None if table is None else bootstrap.mean(metrics.chosen(table, actions))
