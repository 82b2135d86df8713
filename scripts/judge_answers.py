"""Let a language model judge answers of the table, and measure how far it agrees with the truth.

Any OpenAI-compatible server: --judge.base_url, --judge.model, and the key in the environment
variable that --judge.key_variable names. A stopped run goes on from its cache.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from routing_gym.benchmark.judge_report import (
    Figures,
    JudgedSample,
    all_verdicts,
    cost_figures,
    judge_markdown,
    pair_figures,
    rating_figures,
    verdict_files,
)
from routing_gym.benchmark.provenance import provenance, version
from routing_gym.benchmark.report import figures_table, write_report
from routing_gym.envs.table import OutcomeTable
from routing_gym.rewards.judge import LLMJudge, Preference, Rating
from routing_gym.rewards.judge_cost import Spending
from routing_gym.rewards.judge_prompts import PROMPT_VERSION, RATINGS
from routing_gym.rewards.judge_settings import JudgeSettings
from routing_gym.scripts.command import run_command, save_resolved


@dataclass(frozen=True)
class JudgeAnswersConfig:
    """Settings of one judging.

    Parameters
    ----------
    table
        Folder of the outcome table.
    split
        Split whose answers are judged.
    answers
        Number of answers, drawn evenly from all adapters' answers to the split.
    pairs
        Number of pairs of a right and a wrong answer to one query, each judged in both orders; at
        most one pair per query.
    right_from
        Lowest rating, of 1 to 5, that counts as "judged right".
    judge
        The judge: fields of `routing_gym.rewards.judge_settings.JudgeSettings` (model, base_url,
        key_variable, cache, prompt_price, completion_price, budget, threads, ...).
    output
        Folder of the report.
    seed
        Seed of the sample and of the bootstrap.
    resamples
        Bootstrap resamples.
    dry_run
        Show the number of requests and an upper estimate of their cost, and ask nothing.
    """

    table: Path = Path("results/table")
    split: str = "test"
    answers: int = 200
    pairs: int = 0
    right_from: int = 4
    judge: dict[str, Any] = field(default_factory=dict)
    output: Path = Path("runs/judge")
    seed: int = 0
    resamples: int = 2000
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.answers < 0 or self.pairs < 0 or not self.answers + self.pairs:
            raise ValueError(
                f"answers={self.answers}, pairs={self.pairs}: neither may be negative, nor both 0."
            )
        if self.right_from not in RATINGS[1:]:
            raise ValueError(f"right_from={self.right_from} must be one of {RATINGS[1:]}.")
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")
        JudgeSettings.from_mapping(self.judge)


def judge_answers(config: JudgeAnswersConfig) -> int:
    """Judge, write the report, print it; 1 if a verdict failed."""
    table = OutcomeTable.load(config.table)
    if config.split not in table.splits:
        raise ValueError(f"split={config.split!r} holds no query: choose one of {table.splits}.")
    sample = JudgedSample.draw(
        table.where(split=config.split),
        answers=config.answers,
        pairs=config.pairs,
        rng=np.random.default_rng(config.seed),
    )
    judge = LLMJudge(JudgeSettings.from_mapping(config.judge))
    expected = judge.estimate(sample.answers, pairs=sample.compared)
    print(forecast(expected, judge.settings))
    if config.dry_run:
        return 0
    with tqdm(total=expected.verdicts, unit="verdict", disable=None) as bar:
        ratings = judge.rate(sample.answers, on_done=bar.update)
        preferences = judge.compare(sample.compared, on_done=bar.update)
    figures = measure(config, sample, ratings, preferences, judge=judge)
    _write(config, sample, ratings, preferences, figures=figures, judge=judge, table=table)
    print(f"\n{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")
    failures = [v.failure for v in all_verdicts(ratings, preferences) if v.failure]
    for failure in dict.fromkeys(failures):
        print(f"failed: {failures.count(failure)} x {failure}", file=sys.stderr)
    return 1 if failures else 0


def measure(
    config: JudgeAnswersConfig,
    sample: JudgedSample,
    ratings: Sequence[Rating],
    preferences: Sequence[Preference],
    *,
    judge: LLMJudge,
) -> Figures:
    """Compute the figures of what was judged, agreement first."""
    bootstrap = {"seed": config.seed, "resamples": config.resamples}
    figures: Figures = {}
    if ratings:
        figures |= rating_figures(sample, ratings, right_from=config.right_from, **bootstrap)
    if preferences:
        figures |= pair_figures(sample, preferences, **bootstrap)
    return figures | cost_figures(
        sample, ratings, preferences, spending=judge.spending, settings=judge.settings
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        JudgeAnswersConfig,
        judge_answers,
        description=__doc__,
        default_config="configs/judge_answers.yaml",
        argv=argv,
    )


def forecast(expected: Spending, settings: JudgeSettings) -> str:
    """Say what is going to be asked."""
    text = (
        f"{expected.verdicts} verdicts of {settings.model} at {settings.url}: {expected.cached} in "
        f"the cache, {expected.requests} requests, at most about {expected.prompt_tokens} prompt "
        f"and {expected.completion_tokens} completion tokens"
    )
    if settings.prompt_price or settings.completion_price:
        return f"{text}, at most about {expected.cost:.4g} in money"
    return f"{text} (set judge.prompt_price and judge.completion_price to see them in money)"


def _write(
    config: JudgeAnswersConfig,
    sample: JudgedSample,
    ratings: Sequence[Rating],
    preferences: Sequence[Preference],
    *,
    figures: Figures,
    judge: LLMJudge,
    table: OutcomeTable,
) -> None:
    """Write the report's folder and the resolved configuration."""
    heading = (
        f"# The LLM judge against the truth\n\n{len(ratings)} answers and {len(preferences)} pairs "
        f"of the {config.split} split, judged by {judge.settings.model} at {judge.settings.url}. "
        "It sees no reference."
    )
    body = judge_markdown(sample, ratings, figures, right_from=config.right_from)
    write_report(
        config.output,
        figures=figures,
        markdown=f"{heading}\n\n{body}",
        command=_provenance(config, judge, table),
        texts=verdict_files(sample, ratings, preferences),
    )
    save_resolved(config, config.output)


def _provenance(config: JudgeAnswersConfig, judge: LLMJudge, table: OutcomeTable) -> str:
    """Describe the command and the judge."""
    settings = judge.settings
    return provenance(
        table_hash=table.fingerprint,
        seeds=[config.seed],
        extra=[
            f"model: {settings.model}",
            f"server: {settings.url}",
            f"prompts: {PROMPT_VERSION}",
            f"openai: {version('openai')}",
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
