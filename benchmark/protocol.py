"""The protocol: tune every agent alike, train it on every reward and seed, judge it on test once.

Each run is a file named after its settings. A finished run is skipped when its settings (agent,
options, reward weights, seed, table, code) are the same; a failed run is recorded as failed and
tried again at the next start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routing_gym.agents.agent import Agent
from routing_gym.benchmark.evaluation import EvaluationRow, Yardstick, measure
from routing_gym.benchmark.execution import Job, OnRecord, data_key, run_jobs
from routing_gym.benchmark.figures import BASELINES
from routing_gym.benchmark.runs import AgentSpec, RunRecord, Splits, check_specs, run_key
from routing_gym.benchmark.tuning import (
    Space,
    Tuned,
    check_spaces,
    choose_settings,
    draw_settings,
)
from routing_gym.envs.data import RoutingData
from routing_gym.envs.executor import Executor, open_executor

FEEDBACKS = ("full", "bandit", "none")


@dataclass(frozen=True)
class Plan:
    """What a comparison does on one table, beyond the agents and the rewards.

    Parameters
    ----------
    seeds
        Training seeds of the runs that are judged.
    trials
        Settings that each agent is tuned over, the defaults among them; 1 tunes nothing.
    tuning_seeds
        Training seeds of the trials; others than `seeds`.
    spaces
        Agent's label -> its search space.
    shares
        Shares of the train queries, in (0, 1), on which agents with full information are trained
        once more, for their learning curves; under the first reward only.
    """

    seeds: Sequence[int]
    trials: int = 1
    tuning_seeds: Sequence[int] = (1000,)
    spaces: Mapping[str, Space] = field(default_factory=dict)
    shares: Sequence[float] = ()

    def __post_init__(self) -> None:
        if self.trials > 1 and set(self.seeds) & set(self.tuning_seeds):
            raise ValueError(
                f"tuning_seeds={list(self.tuning_seeds)} and seeds={list(self.seeds)} share some: "
                "give others, or the chosen settings have seen their own luck."
            )
        if not self.tuning_seeds:
            raise ValueError("tuning_seeds is empty: give at least one.")
        if any(not 0 < share < 1 for share in self.shares):
            raise ValueError(f"shares={list(self.shares)} must lie between 0 and 1.")


@dataclass(frozen=True)
class Comparison:
    """What was run.

    Parameters
    ----------
    records
        The judged runs, in the order agent, reward, seed; failed ones included.
    partial
        Runs on shares of the train split.
    tuned
        (label, reward) -> what tuning chose.
    trials
        The runs of the tuning.
    """

    records: tuple[RunRecord, ...]
    partial: tuple[RunRecord, ...] = ()
    tuned: Mapping[tuple[str, str], Tuned] = field(default_factory=dict)
    trials: tuple[RunRecord, ...] = ()


def evaluate(
    agent: Agent,
    test: RoutingData,
    *,
    train: RoutingData,
    seed: int = 0,
    resamples: int = 2000,
    name: str = "",
    trained_on: str = "reward",
) -> EvaluationRow:
    """Judge one trained agent on one split.

    Parameters
    ----------
    agent
        A trained agent.
    test
        The split to judge on.
    train
        The split on which the best single adapter is chosen.
    seed
        Seed of the bootstrap.
    resamples
        Bootstrap resamples.
    name
        Name in the report; empty means the agent's own.
    trained_on
        Name of the reward, copied into the row.
    """
    yardstick = Yardstick.from_splits(test, train=train)
    return measure(
        agent.decide_on(test).actions,
        yardstick,
        bootstrap=yardstick.bootstrap(resamples=resamples, seed=seed),
        stratified=yardstick.bootstrap(resamples=resamples, seed=seed, by_task=True),
        agent=name or agent.name,
        feedback=agent.feedback,
        privileged=agent.privileged,
        trained_on=trained_on,
    )


def run_comparison(
    specs: Sequence[AgentSpec],
    splits: Mapping[str, Splits],
    *,
    plan: Plan,
    folder: Path,
    settings: Mapping[str, Any],
    encoded: Mapping[str, Mapping[str, Splits]] | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    overwrite: bool = False,
    on_record: OnRecord | None = None,
) -> Comparison:
    """Tune and run every agent x training reward x seed that is not yet finished.

    Parameters
    ----------
    specs
        The agents; labels are unique.
    splits
        Training reward's name -> the table under that reward.
    plan
        Seeds, tuning, shares.
    folder
        Where the runs' files lie; trials in ``tuning``, shares in ``shares`` below it.
    settings
        What else identifies a run: the table's hash and, under ``"rewards"``, the weights of each
        reward. JSON values only.
    encoded
        Encoder -> training reward's name -> the table observed through it, for agents that name
        an encoder; from `routing_gym.benchmark.encoded.encode_splits`.
    workers
        Local processes, each for whole runs.
    executor
        Where to run instead; trials of the tuning are a `sweep` there.
    overwrite
        Whether finished runs are run again.
    on_record
        Called after each run with the record and whether it was skipped.

    Raises
    ------
    ValueError
        Before anything runs: if a label occurs twice, an agent is unknown, its options or its
        search space do not fit, it would be tuned less than the others, or the table was not
        encoded as it asks.
    """
    check_specs(specs)
    encoded = encoded or {}
    for spec in specs:
        if spec.encoder and spec.encoder not in encoded:
            raise ValueError(f"agent {spec.label!r} observes through {spec.encoder!r}: encode it.")
    if not plan.seeds or not splits:
        raise ValueError(
            f"seeds={list(plan.seeds)} and rewards={list(splits)}: give at least one each."
        )
    check_spaces(specs, plan.spaces, trials=plan.trials, seed=plan.tuning_seeds[0])
    every = dict(splits) | {
        data_key(reward, encoder): data
        for encoder, rewards in encoded.items()
        for reward, data in rewards.items()
    }
    where = executor or open_executor("local", workers=workers)
    runner = _Runner(folder, settings, tuple(splits), every, where, overwrite, on_record)
    tuned, trials = _tune(specs, plan, runner)
    chosen = {key: found.spec for key, found in tuned.items()}
    records = runner.run(
        [
            runner.job(chosen.get((spec.label, reward), spec), reward, seed)
            for spec in specs
            for reward in splits
            if spec.trains_on(reward)
            for seed in plan.seeds
        ]
    )
    first = next(iter(splits))
    partial = runner.run(
        [
            replace(
                runner.job(
                    chosen.get((spec.label, first), spec), first, seed, "shares", share=share
                ),
                judged=False,
            )
            for spec in specs
            if _learns_from_all(spec) and spec.trains_on(first)
            for share in plan.shares
            for seed in plan.seeds
        ]
    )
    return Comparison(tuple(records), tuple(partial), tuned, tuple(trials))


def number_of_runs(specs: Sequence[AgentSpec], plan: Plan, *, rewards: Sequence[str]) -> int:
    """Count the runs of a comparison, for a progress bar."""
    full = sum(_learns_from_all(spec) and spec.trains_on(rewards[0]) for spec in specs)
    pairs = [spec for spec in specs for reward in rewards if spec.trains_on(reward)]
    trials = sum(
        plan.trials * len(plan.tuning_seeds)
        for spec in pairs
        if plan.trials > 1 and plan.spaces.get(spec.label)
    )
    judged = len(pairs) * len(plan.seeds)
    return judged + trials + full * len(plan.shares) * len(plan.seeds)


@dataclass(frozen=True)
class _Runner:
    """What all runs of a comparison share."""

    folder: Path
    settings: Mapping[str, Any]
    rewards: tuple[str, ...]
    splits: Mapping[str, Splits]
    executor: Executor
    overwrite: bool
    on_record: OnRecord | None

    def job(self, spec: AgentSpec, reward: str, seed: int, *stage: str, share: float = 1.0) -> Job:
        """Name one run's file after its settings."""
        key = run_key(spec, reward=reward, seed=seed, settings=self.settings, share=share)
        parts = [spec.label, reward, str(seed), *([f"{share:g}"] if share < 1 else [])]
        path = self.folder.joinpath(*stage) / f"{'-'.join(parts)}.json"
        return Job(spec, reward, seed, key, path, share=share)

    def run(self, jobs: Sequence[Job], *, tuning: bool = False) -> list[RunRecord]:
        """Run what is missing."""
        return run_jobs(
            jobs,
            self.splits,
            executor=self.executor,
            tuning=tuning,
            overwrite=self.overwrite,
            on_record=self.on_record,
        )


def _learns_from_all(spec: AgentSpec) -> bool:
    """Whether an agent's learning curve is made of shares: full information, and no yardstick."""
    agent = spec.build()
    return agent.feedback == "full" and not agent.privileged and spec.label not in BASELINES


def _tune(
    specs: Sequence[AgentSpec], plan: Plan, runner: _Runner
) -> tuple[dict[tuple[str, str], Tuned], list[RunRecord]]:
    """Try every agent's settings on validation, all agents' in one queue; choose the best."""
    settings = {
        spec.label: draw_settings(
            plan.spaces.get(spec.label, {}), trials=plan.trials, seed=plan.tuning_seeds[0]
        )
        for spec in specs
    }
    cells = [
        (spec, reward, number, setting)
        for spec in specs
        if len(settings[spec.label]) > 1
        for reward in runner.rewards
        if spec.trains_on(reward)
        for number, setting in enumerate(settings[spec.label])
    ]
    jobs = []
    for spec, reward, number, setting in cells:
        trial = replace(spec, options={**spec.options, **setting})
        for seed in plan.tuning_seeds:
            job = runner.job(trial, reward, seed, "tuning")
            path = job.path.with_name(f"{spec.label}-{reward}-{seed}-trial{number}.json")
            jobs.append(replace(job, path=path, judged=False))
    records, width = runner.run(jobs, tuning=True), len(plan.tuning_seeds)
    tried: dict[tuple[str, str], list[Any]] = {}
    for start, (spec, reward, _, setting) in enumerate(cells):
        runs = records[start * width : (start + 1) * width]
        tried.setdefault((spec.label, reward), []).append((setting, runs))
    named = {spec.label: spec for spec in specs}
    return {key: choose_settings(named[key[0]], runs) for key, runs in tried.items()}, records
