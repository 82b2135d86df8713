"""Find where a system is weak: regions of queries where pool, router or self-evaluator are poor.

Reads an outcome table, or a decision log with off-policy estimates, and writes the regions (by
domain, task, task and complexity, and cluster of the embedding), each with counts, intervals and
examples, ranked by what fixing it would gain. Small regions are shrunken towards the others, and
false discoveries are controlled. From a table the router is --policy (judged outside the train
split) or --agent, trained out of fold. The test split is read only if --splits names it; nothing
may be made from such a report.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routing_gym.agents import load_agent
from routing_gym.benchmark.gap_evidence import GapSettings
from routing_gym.benchmark.gap_log import LogTruth, find_log_gaps
from routing_gym.benchmark.gap_plots import draw_gaps
from routing_gym.benchmark.gap_records import KINDS, LEVELS
from routing_gym.benchmark.gap_regions import Labels
from routing_gym.benchmark.gap_report import gap_figures, gap_markdown, gap_table, headline_level
from routing_gym.benchmark.gap_routers import out_of_fold_actions, saved_actions
from routing_gym.benchmark.gaps import GAPS_FILE, GapReport, find_gaps
from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_result import OffPolicySettings
from routing_gym.benchmark.off_policy_sql import ANY, LogPart
from routing_gym.benchmark.off_policy_tables import (
    SELF_EVALUATION,
    USER,
    hide_password,
    is_database,
)
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import write_report
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.evaluate_offline import logged_rows
from routing_gym.scripts.offline_target import saved_folder

DEFAULT_TABLE = "results/table"
DEFAULT_AGENT = "knn"
PRINTED = 5


@dataclass(frozen=True)
class GapsConfig:
    """Settings of the search for gaps.

    Parameters
    ----------
    table
        Folder of an outcome table; "" takes results/table, or no table beside a log. Beside a log
        it names the domain, task and complexity of logged queries.
    log
        A decision log in place of a table: .jsonl or .parquet; or a database: .db, .sqlite,
        sqlite:///FILE or postgresql://USER@HOST/NAME.
    policy
        Folder of a saved agent, or of a training run that holds one, whose choices are judged
        outside the train split that it was fitted on.
    agent
        Registered agent whose choices are judged out of fold; "" takes knn, "none" judges no
        router. Not with a policy or a log.
    options
        Fields of the agent's configuration.
    folds
        Folds of the agent's training, and of the log's reward model.
    reward
        Weights of the scores that the agent is trained on; empty means the default reward.
    splits
        Splits that are read, a list such as [train,validation]. Nothing may be made from a report
        that read test.
    levels
        Partitions that are looked at, a list of: domain, task, task_complexity, cluster.
    truth
        Score of the table that counts as the truth.
    evaluator
        Score of the table that is judged; "" takes quality or else the default reward.
    clusters
        Number of clusters of the embedding; 0 chooses the one of the largest silhouette.
    min_queries
        Least number of queries of a region.
    confidence
        Coverage of the intervals.
    fdr
        Share of false discoveries that is allowed among the discovered gaps of a kind.
    method
        Control of false discoveries: bh (Benjamini-Hochberg) or by (Benjamini-Yekutieli).
    permutations
        Of the tests of values other than 0 and 1.
    examples
        Queries shown per region.
    rewards
        Whose rewards of a database count: user, self_evaluation, or any.
    pool
        Fingerprint of the pool whose decisions in a database count; "" if it holds one only.
    logged_by
        Name or version of the policy whose decisions in a database count; "" takes all.
    since
        Earliest decision of a database that counts, ISO 8601 with an offset; "" takes all.
    model
        Model of a log's reward: auto, ridge, boosting or mean.
    reward_low
        Smallest possible logged reward.
    reward_high
        Largest possible logged reward.
    output
        Folder of the report.
    seed
        Of folds, clusters, permutations and examples.
    progress
        Whether to show a progress bar.
    """

    table: str = ""
    log: str = ""
    policy: str = ""
    agent: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    folds: int = 5
    reward: dict[str, float] = field(default_factory=dict)
    splits: list[str] = field(default_factory=lambda: ["train", "validation"])
    levels: list[str] = field(default_factory=lambda: list(LEVELS))
    truth: str = "accuracy"
    evaluator: str = ""
    clusters: int = 0
    min_queries: int = 5
    confidence: float = 0.95
    fdr: float = 0.05
    method: str = "bh"
    permutations: int = 4999
    examples: int = 3
    rewards: str = ANY
    pool: str = ""
    logged_by: str = ""
    since: str = ""
    model: str = "auto"
    reward_low: float = 0.0
    reward_high: float = 1.0
    output: Path = Path("runs/gaps")
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.policy and self.agent:
            raise ValueError(
                f"policy={self.policy!r} and agent={self.agent!r}: give one of them, the choices "
                "of one router are judged."
            )
        if self.log and (self.policy or self.agent):
            raise ValueError(
                f"log={self.log!r} holds its own choices: leave out --policy and --agent; "
                "scripts/evaluate_offline.py judges other policies on a log."
            )
        _ = self.settings, self.off_policy, self.part

    @property
    def settings(self) -> GapSettings:
        """How gaps are looked for."""
        names = {spec.name for spec in dataclasses.fields(GapSettings)}
        values = {name: value for name, value in vars(self).items() if name in names}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return GapSettings(**(values | lists))

    @property
    def off_policy(self) -> OffPolicySettings:
        """How a log's rewards are modelled."""
        return OffPolicySettings(
            model=self.model,
            folds=self.folds,
            reward_low=self.reward_low,
            reward_high=self.reward_high,
            confidence=self.confidence,
            seed=self.seed,
        )

    @property
    def part(self) -> LogPart:
        """Which decisions and rewards of a database count."""
        return LogPart(
            rewards=self.rewards, pool=self.pool, policy=self.logged_by, since=self.since
        )


def run_find_gaps(config: GapsConfig) -> None:
    """Find the gaps, write the report and print its first lines."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", UserWarning)
        report = log_gaps(config) if config.log else table_gaps(config)
    for text in dict.fromkeys(str(w.message) for w in raised if w.category is UserWarning):
        print(f"warning: {text}", file=sys.stderr)
    shown = hide_password(config.log)
    write_report(
        config.output,
        figures=gap_figures(report),
        markdown=gap_markdown(report),
        command=provenance(
            argv=[text.replace(config.log, shown) if shown else text for text in sys.argv],
            table_hash="" if config.log else report.fingerprint,
            seeds=[config.seed],
            extra=[f"log: {shown}"] if shown else [],
        ),
        texts={GAPS_FILE: report.to_json()},
        plots={"gaps.png": lambda path: draw_gaps(report, path)},
    )
    save_resolved(dataclasses.replace(config, log=shown), config.output)
    _show(report, config.output)


def table_gaps(config: GapsConfig) -> GapReport:
    """Find the gaps of an outcome table.

    Raises
    ------
    ValueError
        If table, policy or agent do not fit.
    """
    name = config.table or DEFAULT_TABLE
    table = OutcomeTable.load(name)
    actions, note = router_actions(config, table)
    settings = config.settings
    return find_gaps(table, actions=actions, settings=settings, router=note, source=name)


def router_actions(config: GapsConfig, table: OutcomeTable) -> tuple[np.ndarray | None, str]:
    """Ask the router that is judged, and say who it is; (None, "") if none is."""
    if config.agent == "none":
        return None, ""
    if config.policy:
        agent = load_agent(saved_folder(config.policy))
        return saved_actions(agent, table, splits=config.splits)
    return out_of_fold_actions(
        config.agent or DEFAULT_AGENT,
        table,
        splits=config.splits,
        reward=config.reward,
        options=config.options,
        folds=config.folds,
        seed=config.seed,
        progress=config.progress,
    )


def log_gaps(config: GapsConfig) -> GapReport:
    """Find the gaps that a decision log tells of.

    Raises
    ------
    ValueError
        If the log is too short, or its queries are not in the table that is given.
    """
    log = read_log(config.log, config.part)
    truth = logged_truth(config, log)
    labels: Labels | None = None
    splits: tuple[str, ...] = ()
    if config.table:
        table = OutcomeTable.load(config.table)
        splits = tuple(name for name in table.splits if name in config.splits)
        rows, read = read_rows(log, table, config)
        log, labels = labelled(log.subset(read), table, rows[read])
        truth = None if truth is None else LogTruth(truth.scores[read], truth.truth[read])
    return find_log_gaps(
        log,
        labels=labels,
        truth=truth,
        settings=config.settings,
        policy=config.off_policy,
        source=hide_password(config.log),
        splits=splits,
    )


def read_rows(
    log: DecisionLog, table: OutcomeTable, config: GapsConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Find each decision's row of the table, int (N,), and whether its split is read, bool (N,).

    Raises
    ------
    ValueError
        If a query is not in the table, or no decision is of the splits.
    """
    rows = logged_rows(log, table, name=config.table)
    read = np.isin(table.split[rows].astype(np.str_), config.splits)
    if not read.any():
        raise ValueError(
            f"no decision is on a query of splits={config.splits}: log queries of these, or name "
            "other splits."
        )
    return rows, read


def labelled(log: DecisionLog, table: OutcomeTable, rows: np.ndarray) -> tuple[DecisionLog, Labels]:
    """Take embeddings and labels of N decisions from the rows of a table, int (N,)."""
    observations = np.asarray(table.embeddings[rows], dtype=np.float32)
    encoders = np.full(len(log), table.manifest.encoder)
    labels = Labels(
        domains=table.domain[rows].astype(np.str_),
        tasks=table.task[rows].astype(np.str_),
        complexity=table.complexity[rows],
        texts=table.text[rows],
        observations=observations,
    )
    return dataclasses.replace(log, observations=observations, encoders=encoders), labels


def logged_truth(config: GapsConfig, log: DecisionLog) -> LogTruth | None:
    """Read a database's self-evaluated scores beside the users' rewards; None from a file."""
    if not is_database(config.log):
        return None
    known = []
    for source in (SELF_EVALUATION, USER):
        other = read_log(config.log, dataclasses.replace(config.part, rewards=source))
        of = dict(zip(other.decision_ids.tolist(), other.rewards.tolist(), strict=True))
        known.append(np.array([of.get(name, np.nan) for name in log.decision_ids.tolist()]))
    return LogTruth(scores=known[0], truth=known[1], name="users' rewards")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(GapsConfig, run_find_gaps, description=__doc__, argv=argv)


def _show(report: GapReport, folder: Path) -> None:
    """Print the first regions of each kind."""
    for kind in KINDS:
        if report.of_kind(kind):
            level = headline_level(report, kind=kind)
            gaps = report.of_kind(kind, level=level)
            print(f"{kind}, by {level}\n\n{gap_table(gaps, shown=PRINTED)}\n")
        else:
            print(f"{kind}: not known: {report.unknown.get(kind, '')}\n")
    print(f"report: {folder / 'report.md'}")


if __name__ == "__main__":
    raise SystemExit(main())
