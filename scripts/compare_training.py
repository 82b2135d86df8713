"""Compare supervised fine-tuning with GRPO once: one start, the same queries, the same CPU time.

For every study (an adapter of the pool and a task of its domain) a short pilot measures what an
update of each method costs; then every arm trains for as many updates as its budget buys, and its
adapter answers the table's validation queries and made ones. A run that is interrupted goes on
where it stopped: pilots, arms and answers that are done are read back.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routing_gym.adapters.grpo import GRPOSettings, train_grpo
from routing_gym.adapters.pool import AdapterPool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import BASE, AdapterSpec, PoolSpec
from routing_gym.adapters.training import AdapterTrainingConfig, train_adapter
from routing_gym.adapters.training_run import finished_measures, read_history
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import write_report
from routing_gym.benchmark.training_comparison import (
    START,
    Arm,
    comparison_figures,
    comparison_markdown,
    draw_rewards,
    draw_shares,
)
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import make_examples, tasks_of, verify
from routing_gym.queries.query import Example, Query
from routing_gym.queries.whole_file import write_whole
from routing_gym.scripts.command import run_command, save_resolved

ARMS: dict[str, tuple[str, ...]] = {
    "sft": ("sft",),
    "grpo": ("grpo",),
    "sft_then_grpo": ("sft", "grpo"),
}
"""Arm -> methods one after the other, which share its budget equally."""
SUMMED = ("updates", "queries", "seconds", "cpu_seconds", "trained_tokens", "generated_tokens")


@dataclass(frozen=True)
class Config:
    """Settings of the comparison.

    Parameters
    ----------
    studies
        ``adapter:task`` each: where training starts, and the task of its domain to train on.
    arms
        Of sft, grpo and sft_then_grpo; the last halves its budget between the two.
    budget
        CPU seconds of training of every arm, by the pilot's rate (model loading not counted).
    pilot_updates
        Updates of a pilot; their median is the rate.
    table
        Folder of the outcome table, whose queries are never trained on.
    pool
        Pool that the adapters are of.
    examples
        Made queries to train on; an arm that can afford more goes over them again.
    held_out
        Made queries to be answered, trained on by none.
    seed
        Of the made queries, the order, the answers that GRPO draws and the bootstrap.
    nf4
        Train on the base in NF4 (QLoRA); full precision is faster on a CPU.
    sft_learning_rate, grpo_learning_rate
        Peaks of the schedules.
    batch_size
        Examples per supervised update.
    prompts, generations, max_tokens
        Of a GRPO update: queries, answers to each, tokens of an answer at most.
    temperature
        At which GRPO draws; below 1 its answers are closer to the greedy ones that are judged.
    runs
        Folder of pilots and arms; what is finished there is not trained again.
    output
        Folder of the report.
    resamples
        Bootstrap resamples.
    threads
        CPU threads; 0 leaves it to torch.
    """

    studies: list[str] = field(
        default_factory=lambda: ["creative:alliteration", "reasoning:ordering", "creative:rhyme"]
    )
    arms: list[str] = field(default_factory=lambda: list(ARMS))
    budget: float = 200.0
    pilot_updates: int = 3
    table: str = "results/table"
    pool: str = "default"
    examples: int = 960
    held_out: int = 120
    seed: int = 21
    nf4: bool = False
    sft_learning_rate: float = 5e-4
    grpo_learning_rate: float = 5e-4
    batch_size: int = 16
    prompts: int = 8
    generations: int = 8
    max_tokens: int = 32
    temperature: float = 0.7
    runs: str = "runs/compare_training"
    output: str = "results/improvement/training"
    resamples: int = 2000
    threads: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.arms) - set(ARMS))
        if unknown or not self.arms:
            raise ValueError(f"arms={self.arms}: give some of {', '.join(ARMS)}.")
        for name in ("budget", "pilot_updates", "held_out"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give more than 0.")
        if self.examples < max(self.prompts, self.batch_size):
            raise ValueError(
                f"examples={self.examples} do not fill one update: give at least "
                f"{max(self.prompts, self.batch_size)}."
            )
        for study in self.studies:
            adapter, _, task = study.partition(":")
            if task not in tasks_of(adapter):
                raise ValueError(
                    f"studies: {study!r} is no adapter:task; {adapter} has "
                    f"{', '.join(tasks_of(adapter))}."
                )


@dataclass(frozen=True)
class Study:
    """What the arms of one study share.

    Parameters
    ----------
    adapter, task
        Where training starts, and what is trained.
    start
        The adapter's folder.
    examples
        To train on, in order.
    probes
        A few made queries on which every training is measured at its end.
    asked
        Group of queries -> queries that every arm answers.
    folder
        Of the study's runs.
    """

    adapter: str
    task: str
    start: Path
    examples: Sequence[Example]
    probes: Sequence[Example]
    asked: dict[str, list[Query]]
    folder: Path


def compare(config: Config) -> None:
    """Train every arm of every study, let it answer, and write the report."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    table, pool = OutcomeTable.load(config.table), load_pool(config.pool)
    studies = [prepare(config, study, table=table, pool=pool) for study in config.studies]
    arms = []
    for study in studies:
        rates = {method: rate(config, study, method) for method in ("sft", "grpo")}
        arms.append(judge(study, START, study.start, {}, (), base_model=pool.base_model))
        for name in config.arms:
            folder, measures, rewards = train_arm(config, study, name, rates=rates)
            arms.append(judge(study, name, folder, measures, rewards, base_model=pool.base_model))
    figures = comparison_figures(arms, seed=config.seed, resamples=config.resamples)
    output = Path(config.output)
    write_report(
        output,
        figures=figures,
        markdown=comparison_markdown(arms, figures),
        command=provenance(table_hash=table.fingerprint, seeds=[config.seed]),
        plots={
            "accuracy.png": lambda path: draw_shares(arms, group="target", path=path),
            "others.png": lambda path: draw_shares(arms, group="others", path=path),
            "rewards.png": lambda path: draw_rewards(arms, path=path),
        },
    )
    save_resolved(config, output)


def prepare(config: Config, study: str, *, table: OutcomeTable, pool: PoolSpec) -> Study:
    """Draw a study's queries; none that is trained on is in the table or asked afterwards.

    Raises
    ------
    ValueError
        If the pool has no such adapter, or its entry is the base.
    """
    adapter, _, task = study.partition(":")
    start = pool.adapters[pool.position(adapter)].path
    if start is None:
        raise ValueError(f"studies: {adapter!r} is the base model: name a trained adapter.")
    known = queries_of(table)
    made = make_examples(
        [task], config.examples + config.held_out, seed=config.seed, forbidden=known
    )
    validation = [query for query in known if query.split == "validation"]
    return Study(
        adapter=adapter,
        task=task,
        start=start,
        examples=made[: config.examples],
        probes=made[config.examples :][:8],
        asked={
            "validation": [query for query in validation if query.task == task],
            "made": [example.query for example in made[config.examples :]],
            "others": [q for q in validation if q.task != task and q.task in tasks_of(adapter)],
        },
        folder=Path(config.runs) / f"{adapter}-{task}",
    )


def rate(config: Config, study: Study, method: str) -> float:
    """Measure the CPU seconds of an update, or read what an earlier run measured."""
    measures = train(
        config,
        study,
        method,
        start=study.start,
        updates=config.pilot_updates,
        folder=study.folder / f"pilot-{method}",
    )
    return max(measures["cpu_seconds_per_update"], 1e-3)


def train_arm(
    config: Config, study: Study, name: str, *, rates: dict[str, float]
) -> tuple[Path, dict[str, float], list[float]]:
    """Train an arm's methods one after the other: the last adapter, what was spent, the rewards."""
    start, rewards, spent = study.start, [], dict[str, float]()
    methods = ARMS[name]
    for place, method in enumerate(methods):
        folder = study.folder / name / f"{place}-{method}"
        updates = max(1, round(config.budget / len(methods) / rates[method]))
        measures = train(config, study, method, start=start, updates=updates, folder=folder)
        spent |= {key: spent.get(key, 0.0) + measures.get(key, 0.0) for key in SUMMED}
        if method == "grpo":
            spent["informative_share"] = measures["informative_share"]
            rewards = read_history(folder)["reward"]
        start = folder / "adapter"
    return start, spent, rewards


def train(
    config: Config, study: Study, method: str, *, start: Path, updates: int, folder: Path
) -> dict[str, float]:
    """Train for some updates, unless that has been done; say what it measured."""
    shared: dict[str, Any] = {
        "base_model": load_pool(config.pool).base_model,
        "nf4": config.nf4,
        "seed": config.seed,
        "start_from": str(start),
    }
    settings: AdapterTrainingConfig | GRPOSettings
    if method == "sft":
        settings = AdapterTrainingConfig(
            **shared, learning_rate=config.sft_learning_rate, batch_size=config.batch_size
        )
        count = updates * config.batch_size
    else:
        settings = GRPOSettings(
            **shared,
            learning_rate=config.grpo_learning_rate,
            prompts=config.prompts,
            generations=config.generations,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
        )
        count = updates * config.prompts
    examples = list(itertools.islice(itertools.cycle(study.examples), count))
    measures = finished_measures(folder, method=method, config=settings, examples=examples)
    if measures is None:
        print(f"{study.task}: {folder.name}, {updates} updates on {count} queries -> {folder}")
        if isinstance(settings, GRPOSettings):
            measures = train_grpo(examples, study.probes, config=settings, output=folder)
        else:
            measures = train_adapter(examples, study.probes, config=settings, output=folder)
    return measures | {"queries": float(count)}


def judge(
    study: Study,
    name: str,
    folder: Path,
    measures: dict[str, float],
    rewards: Sequence[float],
    *,
    base_model: str,
) -> Arm:
    """Let an arm's adapter answer the study's queries, unless it has, and verify the answers."""
    spec = AdapterSpec(name, folder)
    ids = {group: [q.query_id for q in queries] for group, queries in study.asked.items()}
    key = json.loads(json.dumps({"adapter": spec.sha256, "base_model": base_model, "asked": ids}))
    seal = study.folder / f"{name}.json"
    sealed = json.loads(seal.read_text(encoding="utf-8")) if seal.is_file() else {}
    if sealed.get("key") != key:
        pool = AdapterPool(PoolSpec(base_model, (AdapterSpec(BASE), spec)))
        right = {group: _verified(pool, name, asked) for group, asked in study.asked.items()}
        sealed = {"key": key, "right": right}
        write_whole(seal, json.dumps(sealed))
    arm = Arm(study.adapter, study.task, name, sealed["right"], measures, rewards)
    print(f"{study.task}: {name} answers {arm.target.mean():.3f} of the target right")
    return arm


def _verified(pool: AdapterPool, name: str, queries: Sequence[Query]) -> list[float]:
    """Verify an adapter's greedy answers."""
    answers = pool.generate(name, [q.text for q in queries], forms=[q.form for q in queries])
    return [verify(q, a.text).accuracy for q, a in zip(queries, answers, strict=True)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config,
        compare,
        description=__doc__,
        default_config="configs/compare_training.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
