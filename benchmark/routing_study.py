"""What a comparison found, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing_gym.benchmark.evaluation import Yardstick
from routing_gym.benchmark.figures import ACCURACY, Entry, collect, routing_figures
from routing_gym.benchmark.learning import LearningCurve, learning_curves
from routing_gym.benchmark.pool import memory_figures
from routing_gym.benchmark.protocol import Comparison
from routing_gym.benchmark.regimes import Regimes, choose_regimes, regime_figures
from routing_gym.benchmark.report import comparison_table
from routing_gym.benchmark.runs import RunRecord
from routing_gym.benchmark.statistics import Interval, PairedBootstrap
from routing_gym.benchmark.trade_off import FixedArms, TradeOff, trade_offs
from routing_gym.benchmark.tuning import Tuned

Entries = Mapping[tuple[str, str], Entry]


@dataclass(frozen=True)
class RoutingReport:
    """What a comparison found.

    Parameters
    ----------
    entries
        Agent and training reward -> its measurements.
    records
        All judged runs, failed ones included.
    partial
        Runs on shares of the train split.
    figures
        The headline figures.
    yardstick
        The test split.
    bootstrap
        The shared resamples.
    reward
        Name of the self-evaluated training reward.
    regimes
        The best agent of each information regime under that reward.
    train_cells
        N x K of the train split, the outcomes that full information costs.
    curves
        Learning curves under that reward.
    tuned
        (label, reward) -> what tuning chose.
    trials
        The runs of the tuning.
    arms
        The fixed adapters in the plane of cost and accuracy; None without measured costs.
    trade_offs
        Agent -> its hull in that plane.
    """

    entries: Entries
    records: Sequence[RunRecord]
    partial: Sequence[RunRecord]
    figures: Mapping[str, float | Interval]
    yardstick: Yardstick
    bootstrap: PairedBootstrap
    reward: str
    regimes: Regimes
    train_cells: int
    curves: Sequence[LearningCurve] = ()
    tuned: Mapping[tuple[str, str], Tuned] = field(default_factory=dict)
    trials: Sequence[RunRecord] = ()
    arms: FixedArms | None = None
    trade_offs: Mapping[str, TradeOff] = field(default_factory=dict)

    @property
    def failures(self) -> list[RunRecord]:
        """The runs that failed, those on shares and those of the tuning included."""
        runs = (*self.records, *self.partial, *self.trials)
        return [record for record in runs if not record.finished]

    @property
    def learned(self) -> bool:
        """Whether a learned, deployable router finished under the first training reward."""
        return any(
            entry.learned and trained_on == self.reward
            for (_, trained_on), entry in self.entries.items()
        )

    @property
    def trainings(self) -> list[str]:
        """Names of the training rewards, in order of first appearance."""
        return list(dict.fromkeys(record.trained_on for record in self.records))

    @property
    def num_seeds(self) -> int:
        """Training seeds of the comparison."""
        return len({record.seed for record in self.records})

    @property
    def agents(self) -> list[str]:
        """Labels of the agents with finished runs, in order of first appearance."""
        return list(dict.fromkeys(agent for agent, _ in self.entries))

    def table(self, trained_on: str, *, wide: bool = True) -> str:
        """Format the agents of one training reward, best reward (or accuracy) first."""
        by = "accuracy" if trained_on == ACCURACY else "reward"
        rows = [entry.row for key, entry in self.entries.items() if key[1] == trained_on]
        return comparison_table(sorted(rows, key=lambda row: -getattr(row, by).value), wide=wide)


def build_routing_report(
    comparison: Comparison,
    yardstick: Yardstick,
    *,
    reward: str,
    train_cells: int,
    pool_folder: Path,
    arms: FixedArms | None = None,
    names: Mapping[str, str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> RoutingReport:
    """Measure the decisions that the runs recorded.

    Parameters
    ----------
    comparison
        From `routing_gym.benchmark.protocol.run_comparison`.
    yardstick
        The test split, priced by the reward named `reward`.
    reward
        Name of the self-evaluated training reward.
    train_cells
        N x K of the train split.
    pool_folder
        The pool's report, for the measured memory.
    arms
        The fixed adapters' costs; None where the table has none.
    names
        Label -> name of the agent, for labels that are none.
    resamples, seed
        Of the bootstrap.
    """
    bootstrap = yardstick.bootstrap(seed=seed, resamples=resamples)
    stratified = yardstick.bootstrap(seed=seed, resamples=resamples, by_task=True)
    records = comparison.records
    entries = collect(records, yardstick, bootstrap=bootstrap, stratified=stratified)
    regimes = choose_regimes(entries, trained_on=reward, outcomes=train_cells, names=names)
    figures = regime_figures(regimes, entries, yardstick, bootstrap=bootstrap, trained_on=reward)
    figures |= routing_figures(entries, yardstick, bootstrap=bootstrap, reward=reward)
    figures |= memory_figures(pool_folder)
    return RoutingReport(
        entries=entries,
        records=records,
        partial=comparison.partial,
        figures=figures,
        yardstick=yardstick,
        bootstrap=bootstrap,
        reward=reward,
        regimes=regimes,
        train_cells=train_cells,
        curves=learning_curves(records, comparison.partial, trained_on=reward),
        tuned=comparison.tuned,
        trials=comparison.trials,
        arms=arms,
        trade_offs={} if arms is None else trade_offs(records, arms, trained_on=reward),
    )
