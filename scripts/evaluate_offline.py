"""Evaluate a policy on logged decisions of another one, without running it.

Reads a decision log (``.jsonl`` or ``.parquet``, see routing_gym.benchmark.off_policy_log), asks a
saved agent (or a fixed policy) what it would have done on every logged query, and reports what it
would have earned, with intervals and overlap diagnostics. A log that cannot tell is refused: the
diagnostics are still written, and the exit code is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.agents import load_agent
from routing_gym.agents.agent import Agent
from routing_gym.agents.artefact import DESCRIPTION_FILE
from routing_gym.benchmark.off_policy import check_distributions
from routing_gym.benchmark.off_policy_evaluation import evaluate_log
from routing_gym.benchmark.off_policy_files import read_log
from routing_gym.benchmark.off_policy_log import DecisionLog
from routing_gym.benchmark.off_policy_overlap import OverlapLimits
from routing_gym.benchmark.off_policy_report import (
    evaluation_figures,
    evaluation_json,
    evaluation_markdown,
    evaluation_table,
    overlap_table,
    verdict,
)
from routing_gym.benchmark.off_policy_result import OffPolicyEvaluation, OffPolicySettings
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import write_report
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.scripts.command import run_command, save_resolved

GREEDY, SAMPLED = "greedy", "sampled"
Policy = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class OfflineConfig:
    """Settings of an off-policy evaluation.

    Parameters
    ----------
    log
        The decision log, .jsonl or .parquet.
    run
        Folder of a saved agent, or of a training run that holds one as ``policy``; "" if `policy`
        is given.
    policy
        "uniform"; "logged" (what the log itself did); the name of an adapter (always that one); or
        "package.module:function" that maps embeddings (N, D) to probabilities (N, K).
    decisions
        How the agent decides: greedy (its most probable adapter) or sampled (its distribution).
    table
        Outcome table that supplies the embeddings of logged query ids; "" uses logged embeddings.
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

    log: Path = Path("")
    run: str = ""
    policy: str = ""
    decisions: str = GREEDY
    table: str = ""
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
        if self.log == Path(""):
            raise ValueError("log is missing: give --log FILE, a .jsonl or .parquet decision log.")
        if bool(self.run) == bool(self.policy):
            raise ValueError(
                f"run={self.run!r} and policy={self.policy!r}: give exactly one of --run FOLDER (a "
                "saved agent) and --policy NAME."
            )
        if self.decisions not in (GREEDY, SAMPLED):
            raise ValueError(f"decisions={self.decisions!r} must be {GREEDY!r} or {SAMPLED!r}.")
        _ = self.settings

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
    """Evaluate, write the report, print it; 1 if the log was refused."""
    log = with_embeddings(read_log(config.log), config.table)
    name, target = target_probabilities(config, log)
    evaluation = evaluate_log(log, target, name=name, settings=config.settings)
    write_report(
        config.output,
        figures=evaluation_figures(evaluation),
        markdown=evaluation_markdown(evaluation, max_weight=_assumption(config)),
        command=provenance(
            seeds=[config.seed], extra=[f"log: {config.log}", f"target: {evaluation.target}"]
        ),
        texts={"evaluation.json": evaluation_json(evaluation)},
    )
    save_resolved(config, config.output)
    _show(evaluation, config.output)
    return 1 if evaluation.refusals else 0


def with_embeddings(log: DecisionLog, table: str) -> DecisionLog:
    """Take the embeddings of logged query ids from an outcome table.

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
    fingerprint = loaded.manifest.pool_fingerprint
    log.check_pool(loaded.adapters, fingerprint, owner=f"table {table!r}")
    position = {name: row for row, name in enumerate(loaded.query_id)}
    names = log.query_ids if log.query_ids is not None else np.full(len(log), "")
    missing = [i for i, name in enumerate(names) if name not in position]
    if missing:
        raise ValueError(
            f"decision {str(log.decision_ids[missing[0]])!r}: query_id "
            f"{str(names[missing[0]])!r} is not in table {table!r}: log embeddings, or name the "
            "table that the queries come from."
        )
    rows = np.array([position[name] for name in names])
    return DecisionLog(
        **{**vars(log), "observations": np.asarray(loaded.embeddings[rows], dtype=np.float32)}
    )


def target_probabilities(config: OfflineConfig, log: DecisionLog) -> tuple[str, np.ndarray]:
    """Ask the target policy for its probabilities on every logged context.

    Returns
    -------
    tuple[str, np.ndarray]
        The target's name, and float64 (N, K).

    Raises
    ------
    ValueError
        If the policy is of another pool, is unknown, needs what the log lacks, or its
        probabilities are none.
    """
    if config.run:
        return _agent_probabilities(load_agent(saved_folder(config.run)), config, log)
    k = len(log.adapters)
    if config.policy == "uniform":
        return "uniform", np.full((len(log), k), 1 / k)
    if config.policy in log.adapters:
        chosen = np.full(len(log), log.adapters.index(config.policy))
        return f"always {config.policy}", np.eye(k)[chosen]
    if config.policy == "logged":
        if log.all_propensities is None:
            raise ValueError(
                "policy='logged' needs the propensities of all adapters: log 'propensities'."
            )
        return "logged", log.all_propensities
    known = {name: "" for name in ("uniform", "logged", *log.adapters)}
    function: Policy = resolve(known, config.policy, kind="policy")
    probabilities = np.asarray(function(_contexts(log, config.policy)), dtype=np.float64)
    if probabilities.shape != (len(log), k):
        raise ValueError(
            f"policy {config.policy!r} returned shape {probabilities.shape}, not (N, K) = "
            f"{(len(log), k)}."
        )
    check_distributions(probabilities, name=f"policy {config.policy!r}")
    return config.policy, probabilities


def saved_folder(run: str) -> Path:
    """Find the saved agent of a folder that is one or holds one as ``policy``."""
    folder = Path(run)
    inner = folder / "policy"
    return inner if (inner / DESCRIPTION_FILE).is_file() else folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        OfflineConfig,
        evaluate_offline,
        description=__doc__,
        default_config="configs/evaluate_offline.yaml",
        argv=argv,
    )


def _agent_probabilities(
    agent: Agent, config: OfflineConfig, log: DecisionLog
) -> tuple[str, np.ndarray]:
    """Decide with a saved agent, which must be of the log's pool."""
    fingerprint = str(agent.metadata.get("pool_fingerprint", ""))
    log.check_pool(agent.adapters, fingerprint, owner=f"agent {agent.name!r} of {config.run!r}")
    rng = np.random.default_rng(config.seed) if config.decisions == SAMPLED else None
    decision = agent.decide(_contexts(log, f"agent {agent.name!r}"), rng=rng)
    return f"{agent.name} ({config.decisions})", decision.probabilities


def _contexts(log: DecisionLog, owner: str) -> np.ndarray:
    """Return the logged embeddings, or say that there are none."""
    if log.observations is None:
        raise ValueError(
            f"{owner} decides on embeddings and the log holds none: log 'embedding', or log "
            "'query_id' and give --table."
        )
    return log.observations


def _assumption(config: OfflineConfig) -> str:
    """Word what the empirical-Bernstein intervals assume."""
    if config.max_weight:
        return f"{config.max_weight:g}"
    return "the largest possible one on the logged queries"


def _show(evaluation: OffPolicyEvaluation, folder: Path) -> None:
    """Print the verdict and the tables."""
    print(f"{verdict(evaluation)}\n")
    if evaluation.estimates:
        print(f"{evaluation_table(evaluation)}\n")
    print(f"{overlap_table(evaluation)}\n\nreport: {folder / 'report.md'}")


if __name__ == "__main__":
    raise SystemExit(main())
