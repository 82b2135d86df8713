"""Evaluate policies on logged decisions of another one, without running them.

Reads a decision log (``.jsonl`` or ``.parquet``, see routing_gym.benchmark.off_policy_log, or a
server's database), asks saved agents, bundles or fixed policies what they would have done on every
logged query, and reports what they would have earned, with intervals and overlap diagnostics, and
which of them would have been better than the logged policy. A log that cannot tell is refused: the
diagnostics are still written, and the exit code is 1 (if all policies are refused).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from routing_gym.benchmark.off_policy_comparison import PolicyComparison, compare_policies
from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_overlap import OverlapLimits
from routing_gym.benchmark.off_policy_ranking import (
    answer,
    ranking_figures,
    ranking_json,
    ranking_markdown,
    ranking_table,
)
from routing_gym.benchmark.off_policy_report import (
    evaluation_figures,
    evaluation_json,
    evaluation_markdown,
    evaluation_table,
    overlap_table,
    verdict,
)
from routing_gym.benchmark.off_policy_result import OffPolicyEvaluation, OffPolicySettings
from routing_gym.benchmark.off_policy_sql import ANY, LogPart
from routing_gym.benchmark.off_policy_tables import hide_password
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import write_report
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.offline_target import (
    GREEDY,
    LOGGED,
    SAMPLED,
    offline_target,
    saved_target,
)


@dataclass(frozen=True)
class OfflineConfig:
    """Settings of an off-policy evaluation.

    Parameters
    ----------
    log
        The decision log: .jsonl or .parquet; or a database: .db, .sqlite, sqlite:///FILE or
        postgresql://USER@HOST/NAME.
    run
        Folder of a saved agent, of a training run that holds one as ``policy``, or of a bundle; ""
        if `policy` or `policies` is given.
    policy
        "uniform"; "logged" (what the log itself did); the name of an adapter (always that one); or
        "package.module:function" that maps embeddings (N, D) to probabilities (N, K).
    policies
        Several at once, each what `policy` or `run` may be: they are ranked, compared with the
        logged policy and with each other.
    decisions
        How agents and bundles decide: greedy (the most probable adapter) or sampled (their
        distribution; a bundle explores as its manifest says).
    table
        Outcome table that supplies the embeddings of logged query ids, or of logged hashes of its
        queries' texts; "" uses logged embeddings.
    rewards
        Whose rewards of a database count: user, self_evaluation, or any (the user's where there is
        one).
    pool
        Fingerprint of the pool whose decisions in a database count; "" if it holds one only.
    logged_by
        Name or version of the policy whose decisions in a database count; "" takes all.
    since
        Earliest decision of a database that counts, ISO 8601 with an offset; "" takes all.
    output
        Folder of the report.
    model
        Model of the reward: auto, ridge, boosting or mean.
    components
        Principal components of the embeddings that it sees.
    folds
        Folds of its cross-fitting.
    resamples
        Bootstrap resamples.
    confidence
        Coverage of the intervals.
    reward_low
        Smallest possible reward.
    reward_high
        Largest possible reward.
    max_weight
        Largest weight that can occur, for the empirical-Bernstein intervals: one over the logging
        policy's smallest propensity. 0 takes the largest on the logged contexts.
    min_effective
        Least effective sample size; below it the log is refused.
    max_unsupported
        Largest share of the policy's mass on adapters that were never played.
    max_share
        Largest share of all weight that one decision may hold.
    seed
        Of folds and bootstrap.
    """

    log: str = ""
    run: str = ""
    policy: str = ""
    policies: list[str] = field(default_factory=list)
    decisions: str = GREEDY
    table: str = ""
    rewards: str = ANY
    pool: str = ""
    logged_by: str = ""
    since: str = ""
    output: Path = Path("runs/offline")
    model: str = "auto"
    components: int = 32
    folds: int = 5
    resamples: int = 2000
    confidence: float = 0.95
    reward_low: float = 0.0
    reward_high: float = 1.0
    max_weight: float = 0.0
    min_effective: float = 50.0
    max_unsupported: float = 0.01
    max_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.log:
            raise ValueError(
                "log is missing: give --log FILE, a .jsonl, .parquet or .db decision log, or the "
                "URL of a database."
            )
        if sum(map(bool, (self.run, self.policy, self.policies))) != 1:
            raise ValueError(
                f"run={self.run!r}, policy={self.policy!r} and policies={self.policies}: give "
                "exactly one of --run FOLDER (a saved agent or a bundle), --policy NAME and "
                "--policies '[NAME or FOLDER, ...]'."
            )
        if self.decisions not in (GREEDY, SAMPLED):
            raise ValueError(f"decisions={self.decisions!r} must be {GREEDY!r} or {SAMPLED!r}.")
        _ = self.settings, self.part

    @property
    def part(self) -> LogPart:
        """Which decisions and rewards of a database count."""
        return LogPart(
            rewards=self.rewards, pool=self.pool, policy=self.logged_by, since=self.since
        )

    @property
    def settings(self) -> OffPolicySettings:
        """How the log is evaluated."""
        return OffPolicySettings(
            model=self.model,
            components=self.components,
            folds=self.folds,
            resamples=self.resamples,
            confidence=self.confidence,
            reward_low=self.reward_low,
            reward_high=self.reward_high,
            max_weight=self.max_weight,
            seed=self.seed,
            limits=OverlapLimits(
                min_effective=self.min_effective,
                max_unsupported=self.max_unsupported,
                max_share=self.max_share,
            ),
        )


def evaluate_offline(config: OfflineConfig) -> int:
    """Evaluate, write the report, print it; 1 if every policy was refused."""
    log = with_embeddings(read_log(config.log, config.part), config.table)
    targets = target_probabilities(config, log)
    comparison = compare_policies(log, targets, settings=config.settings)
    single = None if config.policies else comparison.policies[0].evaluation
    if single is None:
        figures, texts = ranking_figures(comparison), {"comparison.json": ranking_json(comparison)}
        markdown = ranking_markdown(comparison, max_weight=_assumption(config))
    else:
        figures, texts = evaluation_figures(single), {"evaluation.json": evaluation_json(single)}
        markdown = evaluation_markdown(single, max_weight=_assumption(config))
    shown = hide_password(config.log)
    write_report(
        config.output,
        figures=figures,
        markdown=markdown,
        command=provenance(
            argv=[text.replace(config.log, shown) for text in sys.argv],
            seeds=[config.seed],
            extra=[f"log: {shown}", *(f"target: {name}" for name in targets)],
        ),
        texts=texts,
    )
    save_resolved(dataclasses.replace(config, log=shown), config.output)
    _show(comparison, single, config.output)
    return 0 if comparison.estimated else 1


def with_embeddings(log: DecisionLog, table: str) -> DecisionLog:
    """Take the embeddings of logged query ids, or of hashes of texts, from an outcome table.

    Parameters
    ----------
    log
        The log.
    table
        The table's folder; "" returns the log as it is.

    Raises
    ------
    ValueError
        If the table is of another pool, or a logged query id is not in it.
    """
    if not table:
        return log
    loaded = OutcomeTable.load(table)
    rows = logged_rows(log, loaded, name=table)
    observations = np.asarray(loaded.embeddings[rows], dtype=np.float32)
    encoders = np.full(len(log), loaded.manifest.encoder)
    return dataclasses.replace(log, observations=observations, encoders=encoders)


def logged_rows(log: DecisionLog, table: OutcomeTable, *, name: str) -> np.ndarray:
    """Find every decision's query in a table, by its id or the hash of its text.

    Parameters
    ----------
    log
        The log.
    table
        The table that its queries come from.
    name
        Of the table, for messages.

    Returns
    -------
    np.ndarray
        int64 (N,), rows of the table.

    Raises
    ------
    ValueError
        If the table is of another pool, or a logged query is not in it.
    """
    fingerprint = table.manifest.pool_fingerprint
    log.check_pool(table.adapters, fingerprint, owner=f"table {name!r}")
    hashes = (hashlib.sha256(str(text).encode()).hexdigest() for text in table.text)
    position = {digest: row for row, digest in enumerate(hashes)}
    position |= {str(query): row for row, query in enumerate(table.query_id)}
    names = log.query_ids if log.query_ids is not None else np.full(len(log), "")
    missing = [i for i, query in enumerate(names) if query not in position]
    if missing:
        raise ValueError(
            f"decision {str(log.decision_ids[missing[0]])!r}: query_id "
            f"{str(names[missing[0]])!r} is not in table {name!r}: log embeddings, or name the "
            "table that the queries come from."
        )
    return np.array([position[query] for query in names], dtype=np.int64)


def target_probabilities(config: OfflineConfig, log: DecisionLog) -> dict[str, np.ndarray]:
    """Ask every policy for its probabilities on every logged context.

    Returns
    -------
    dict[str, np.ndarray]
        Name -> float64 (N, K), in the order of the configuration.

    Raises
    ------
    ValueError
        If a policy is of another pool, is unknown, is given twice, needs what the log lacks, or
        its probabilities are none.
    """
    if config.run:
        found = saved_target(config.run, log, decisions=config.decisions, seed=config.seed)
        return dict([found])
    ask = functools.partial(offline_target, log=log, decisions=config.decisions, seed=config.seed)
    if config.policy:
        return dict([ask(config.policy)])
    # The logged policy is in every ranking.
    asked = [policy for policy in config.policies if policy != LOGGED]
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(
            f"policies={config.policies} must be different ones, and others than 'logged', which "
            "is always ranked."
        )
    answers = [(policy, *ask(policy)) for policy in asked]
    names = [name for _, name, _ in answers]
    return {
        name if names.count(name) == 1 else f"{name} of {policy}": probabilities
        for policy, name, probabilities in answers
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        OfflineConfig,
        evaluate_offline,
        description=__doc__,
        default_config="configs/evaluate_offline.yaml",
        argv=argv,
    )


def _assumption(config: OfflineConfig) -> str:
    """Word what the empirical-Bernstein intervals assume."""
    if config.max_weight:
        return f"{config.max_weight:g}"
    return "the largest possible one on the logged queries"


def _show(comparison: PolicyComparison, single: OffPolicyEvaluation | None, folder: Path) -> None:
    """Print the answer and the tables."""
    if single is None:
        print(f"{ranking_table(comparison)}\n\n{answer(comparison)}")
    else:
        print(f"{verdict(single)}\n")
        if single.estimates:
            print(f"{evaluation_table(single)}\n")
        print(overlap_table(single))
        if single.estimates and single.target != LOGGED:
            print(f"\n{answer(comparison)}")
    print(f"\nreport: {folder / 'report.md'}")


if __name__ == "__main__":
    raise SystemExit(main())
