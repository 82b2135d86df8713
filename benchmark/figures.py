"""The headline figures of the routing report, each a number or a number with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.evaluation import EvaluationRow, Yardstick, measure, routing_accuracy
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval, PairedBootstrap

BASELINES = ("random", "best_single")
ABLATION = ("softmax", "regression")
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Entry:
    """One agent under one training reward, its seeds joined.

    Parameters
    ----------
    row
        Its measurements on the test split.
    actions
        int (S, N), its decisions.
    validation_accuracy, validation_reward
        Means over its seeds; the reward is the one trained on.
    train_seconds
        Mean wall time of training.
    outcomes
        Mean number of outcomes paid for.
    """

    row: EvaluationRow
    actions: np.ndarray
    validation_accuracy: float
    validation_reward: float
    train_seconds: float
    outcomes: float = 0.0

    @property
    def learned(self) -> bool:
        """Whether this is a router that learned and that could be deployed."""
        fixed = self.row.agent in BASELINES or self.row.feedback == "none"
        return not self.row.privileged and not fixed


def collect(
    records: Sequence[RunRecord],
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    stratified: PairedBootstrap | None = None,
) -> dict[tuple[str, str], Entry]:
    """Join the finished runs of each agent and training reward, in order of first appearance.

    Parameters
    ----------
    records
        All runs; failed ones are left out.
    yardstick
        The test split.
    bootstrap, stratified
        Shared resamples, as in `routing_gym.benchmark.evaluation.measure`.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if record.finished:
            groups.setdefault((record.agent, record.trained_on), []).append(record)
    return {
        key: _entry(runs, yardstick, bootstrap=bootstrap, stratified=stratified)
        for key, runs in groups.items()
    }


def best_router(entries: Mapping[tuple[str, str], Entry]) -> Entry | None:
    """Choose the learned, deployable router with the best accuracy on the *validation* split."""
    learned = [entry for entry in entries.values() if entry.learned]
    return max(learned, key=lambda entry: entry.validation_accuracy, default=None)


def routing_figures(
    entries: Mapping[tuple[str, str], Entry],
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    reward: str,
) -> dict[str, float | Interval]:
    """Compute every figure for which the agents are there.

    Parameters
    ----------
    entries
        From `collect`.
    yardstick
        The test split, priced by the reward named `reward`.
    bootstrap
        The shared resamples.
    reward
        Name of the self-evaluated training reward.

    Returns
    -------
    dict[str, float | Interval]
        Figure -> value. Gains and ratios are relative: 0.17 is +17 %.
    """
    figures: dict[str, float | Interval] = {}
    _add_reward_figures(figures, entries, yardstick, bootstrap=bootstrap, reward=reward)
    router = best_router(entries)
    if router is not None:
        figures |= router_figures(router.actions, yardstick, bootstrap=bootstrap)
    for (agent, trained_on), entry in entries.items():
        if (agent, ACCURACY) in entries and trained_on == reward != ACCURACY and entry.learned:
            figures[f"accuracy_lost_to_reward_{agent}"] = bootstrap.difference(
                _chosen(entries[agent, ACCURACY], yardstick.accuracy),
                _chosen(entry, yardstick.accuracy),
            )
    return figures


def router_figures(
    actions: np.ndarray, yardstick: Yardstick, *, bootstrap: PairedBootstrap
) -> dict[str, float | Interval]:
    """Compare a router's decisions with the adapter of the best train accuracy.

    Parameters
    ----------
    actions
        int (S, N).
    yardstick
        What both are measured by.
    bootstrap
        The shared resamples.

    Returns
    -------
    dict[str, float | Interval]
        Relative gains in accuracy and quality, the ratio of seconds per answer, routing accuracy.
    """
    single = yardstick.best_by_accuracy
    figures: dict[str, float | Interval] = {
        "accuracy_gain_over_best_single": _gain(actions, yardstick.accuracy, single, bootstrap),
        "routing_accuracy": routing_accuracy(actions, yardstick.accuracy, bootstrap=bootstrap),
        "routing_accuracy_all": bootstrap.mean(metrics.in_tie_set(actions, yardstick.accuracy)),
    }
    if yardstick.quality is not None:
        figures["quality_gain_over_best_single"] = _gain(
            actions, yardstick.quality, single, bootstrap
        )
    if yardstick.seconds is not None:
        figures["seconds_over_best_single"] = _over(actions, yardstick.seconds, single, bootstrap)
    return figures


def ablation_figures(
    entries: Mapping[tuple[str, str], Entry],
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    trained_on: str,
) -> dict[str, Interval]:
    """Reward (or, trained on accuracy, accuracy) of Gumbel-Softmax minus each other objective.

    Parameters
    ----------
    entries, yardstick, bootstrap
        As in `routing_figures`.
    trained_on
        The training reward under which the objectives are compared.

    Returns
    -------
    dict[str, Interval]
        ``gumbel_minus_softmax`` and ``gumbel_minus_regression``, with the suffix ``_accuracy``
        where the training reward is accuracy.
    """
    table = yardstick.accuracy if trained_on == ACCURACY else yardstick.reward
    suffix = "_accuracy" if trained_on == ACCURACY else ""
    gumbel = entries.get(("gumbel", trained_on))
    if gumbel is None:
        return {}
    return {
        f"gumbel_minus_{other}{suffix}": bootstrap.difference(
            _chosen(gumbel, table), _chosen(entries[other, trained_on], table)
        )
        for other in ABLATION
        if (other, trained_on) in entries
    }


def _add_reward_figures(
    figures: dict[str, float | Interval],
    entries: Mapping[tuple[str, str], Entry],
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    reward: str,
) -> None:
    """Add what compares agents trained on the self-evaluated reward."""
    for name in (reward, ACCURACY):
        figures |= ablation_figures(entries, yardstick, bootstrap=bootstrap, trained_on=name)
    ppo = entries.get(("ppo", reward))
    if ppo is None:
        return
    values = _chosen(ppo, yardstick.reward)
    difference = bootstrap.difference(values, yardstick.reward[:, yardstick.best_by_reward])
    figures["ppo_minus_best_single"] = difference
    figures["ppo_minus_best_single_low"] = difference.low
    figures["ppo_reward_gap"] = ppo.row.reward_gap
    supervised = entries.get(("gumbel", reward))
    if supervised is not None:
        figures["ppo_over_supervised"] = bootstrap.ratio(
            values, _chosen(supervised, yardstick.reward)
        )


def _entry(
    runs: Sequence[RunRecord],
    yardstick: Yardstick,
    *,
    bootstrap: PairedBootstrap,
    stratified: PairedBootstrap | None,
) -> Entry:
    """Join the seeds of one agent and training reward."""
    first, actions = runs[0], np.array([run.test_actions for run in runs])
    row = measure(
        actions,
        yardstick,
        bootstrap=bootstrap,
        stratified=stratified,
        agent=first.agent,
        feedback=first.feedback,
        privileged=first.privileged,
        trained_on=first.trained_on,
    )
    return Entry(
        row=row,
        actions=actions,
        validation_accuracy=float(np.mean([run.validation_accuracy for run in runs])),
        validation_reward=float(np.mean([run.validation_reward for run in runs])),
        train_seconds=float(np.mean([run.train_seconds for run in runs])),
        outcomes=float(np.mean([run.outcomes for run in runs])),
    )


def _chosen(entry: Entry, table: np.ndarray) -> np.ndarray:
    """Values (S, N) of an entry's choices."""
    return metrics.chosen(table, entry.actions)


def _over(
    actions: np.ndarray, table: np.ndarray, single: int, bootstrap: PairedBootstrap
) -> Interval:
    """Ratio of the chosen cells' mean to that of one adapter."""
    return bootstrap.ratio(metrics.chosen(table, actions), table[:, single])


def _gain(
    actions: np.ndarray, table: np.ndarray, single: int, bootstrap: PairedBootstrap
) -> Interval:
    """Relative gain of the chosen cells' mean over that of one adapter."""
    over = _over(actions, table, single, bootstrap)
    return replace(over, value=over.value - 1, low=over.low - 1, high=over.high - 1)
