"""Make training data for an adapter: of its tasks, of weak regions, or of open queries."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from routing_gym.adapters.embedding import make_encoder
from routing_gym.benchmark.data_report import data_report, draw_effect
from routing_gym.benchmark.gap_records import GapReport
from routing_gym.benchmark.gap_targets import targets_of_gaps
from routing_gym.benchmark.provenance import command_line, commit
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.dataset import tasks_of
from routing_gym.queries.leaks import Leak, leaks
from routing_gym.queries.near_duplicates import Encode
from routing_gym.queries.query import COMPLEXITIES, Query
from routing_gym.queries.samples import write_samples
from routing_gym.queries.synthesis import (
    MadeData,
    SynthesisSettings,
    Target,
    Thresholds,
    make_samples,
)
from routing_gym.queries.synthesis_settings import HoldOut
from routing_gym.queries.threshold_effect import Probe, probe_drafts
from routing_gym.rewards.asked_form import asked_form
from routing_gym.rewards.paraphraser import Paraphraser, paraphraser_settings
from routing_gym.scripts.command import run_command, save_resolved
from routing_gym.scripts.open_data import OpenData, answer_open

FIGURE = "thresholds.png"


@dataclass(frozen=True)
class Config:
    """Settings of one set of data.

    Parameters
    ----------
    adapter
        Whom the data is for: the domain whose tasks are drawn.
    samples
        Samples in all.
    tasks
        Tasks to draw; empty takes all of the adapter's domain, a name that stands twice is drawn
        twice as often.
    complexities
        Complexities, in turn.
    gaps
        Folder of a report of scripts/find_gaps.py: the data is made of the weak regions, weighted
        by what closing them would gain; "" draws the tasks alike.
    gap_kind
        Kind of the gaps that are read: pool, router or evaluator.
    replay
        Share of the samples that, with gaps, is drawn from all tasks alike, against forgetting.
    table
        Folder of the outcome table whose queries the data must stay away from.
    output
        Folder of the finished data.
    work
        Folder of what is done so far; a run that was killed goes on from it.
    seed
        Determines every sample.
    hold_out_content
        Whether a question of the validation or test split is refused in any words: always, never,
        or (auto) where enough of a task's contents remain.
    thresholds
        Similarities from which on two texts are near duplicates: words, meaning (against the
        evaluation), own_words, own_meaning (among the samples), and shingle, words per shingle.
    varied
        Share of the samples whose phrasing is changed by rule.
    paraphraser
        url and model of an OpenAI-compatible server that words samples, and other settings of
        `routing_gym.rewards.judge_settings.JudgeSettings`; empty words by rule alone.
    paraphrased
        Share of the samples that the paraphraser words.
    encoder
        Encoder that measures meaning; see `routing_gym.adapters.embedding.make_encoder`.
    probes
        Drafts per task and complexity that show the effect of the thresholds; 0 shows none.
    queries
        File of open queries (.txt: one a line; .jsonl: with the key text), which no verifier knows:
        the best of several answers of the pool is kept; "" makes tasks.
    open
        How open queries are answered: pool, n, quality (threshold in [0, 1]), temperature,
        batch_size, adapters (default: all).
    threads
        CPU threads; 0 leaves it to torch.
    """

    adapter: str = "reasoning"
    samples: int = 1000
    tasks: list[str] = field(default_factory=list)
    complexities: list[int] = field(default_factory=lambda: list(COMPLEXITIES))
    gaps: str = ""
    gap_kind: str = "pool"
    replay: float = 0.0
    table: str = "results/table"
    output: str = "runs/data/{adapter}"
    work: str = "runs/data_work/{adapter}"
    seed: int = 1
    hold_out_content: HoldOut = "auto"
    thresholds: dict[str, float] = field(default_factory=dict)
    varied: float = 0.5
    paraphraser: dict[str, Any] = field(default_factory=dict)
    paraphrased: float = 0.5
    encoder: str = "minilm"
    probes: int = 60
    queries: str = ""
    open: dict[str, Any] = field(default_factory=dict)
    threads: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.probes < 0:
            raise ValueError(f"samples={self.samples} must be at least 1, probes at least 0.")
        if not 0 <= self.replay < 1:
            raise ValueError(f"replay={self.replay} must be a share in [0, 1).")
        for name in ("output", "work"):
            object.__setattr__(self, name, getattr(self, name).replace("{adapter}", self.adapter))

    @property
    def limits(self) -> Thresholds:
        """The thresholds, those that are not given by default."""
        known = [spec.name for spec in dataclasses.fields(Thresholds)]
        for name in self.thresholds:
            if name not in known:
                raise ValueError(f"thresholds.{name} is unknown: known are {', '.join(known)}.")
        whole = {n: int(v) if n == "shingle" else v for n, v in self.thresholds.items()}
        return Thresholds(**whole)  # type: ignore[arg-type]

    @property
    def settings(self) -> SynthesisSettings:
        """How samples are made."""
        return SynthesisSettings(
            thresholds=self.limits,
            varied=self.varied,
            paraphrased=self.paraphrased,
            hold_out_content=self.hold_out_content,
        )


def prepare(config: Config) -> None:
    """Make the data, check it, write it."""
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    table = OutcomeTable.load(config.table)
    evaluation = queries_of(table)
    encode = make_encoder(config.encoder, cache=Path(config.work)).encode
    if config.queries:
        made, targets = _open(config, evaluation, encode), []
    else:
        targets = find_targets(config, table)
        made = _tasks(config, targets, evaluation, encode)
    found = leaks(made.samples, evaluation, thresholds=config.limits, encode=encode)
    probes = probe_drafts(
        targets,
        evaluation,
        per_target=config.probes,
        seed=config.seed,
        varied=config.varied,
        shingle=config.limits.shingle,
        encode=encode,
    )
    _write(config, table, made, found, probes)
    if found:
        raise ValueError(
            f"{len(found)} leaks, such as {found[0]}: this is a mistake of the filter; do not "
            "train on the data."
        )


def find_targets(config: Config, table: OutcomeTable) -> list[Target]:
    """Say what the data is to be made of.

    Raises
    ------
    ValueError
        If the adapter is no domain and no tasks are named, or the gaps show nothing in them.
    """
    tasks = config.tasks or list(tasks_of(config.adapter))
    alike = [Target(t, c) for t in tasks for c in config.complexities]
    if not config.gaps:
        return alike
    weak = [
        target
        for target in targets_of_gaps(
            GapReport.load(config.gaps), table, tasks=set(tasks), kind=config.gap_kind
        )
        if target.complexity in config.complexities
    ]
    total = sum(target.weight for target in weak)
    weak = [dataclasses.replace(t, weight=(1 - config.replay) * t.weight / total) for t in weak]
    share = config.replay / len(alike)
    return weak + [dataclasses.replace(t, weight=share, region="replay") for t in alike if share]


def _tasks(
    config: Config, targets: Sequence[Target], evaluation: Sequence[Query], encode: Encode
) -> MadeData:
    """Make samples of tasks."""
    other = None
    if config.paraphraser:
        cache = str(Path(config.work) / "paraphrases")
        other = Paraphraser(paraphraser_settings(config.paraphraser, cache=cache))
    with tqdm(total=config.samples, unit="sample", smoothing=0.05) as bar:
        return make_samples(
            targets,
            config.samples,
            seed=config.seed,
            evaluation=evaluation,
            settings=config.settings,
            encode=encode,
            paraphrase=other,
            asked=asked_form,
            folder=Path(config.work),
            on_samples=bar.update,
        )


def _open(config: Config, evaluation: Sequence[Query], encode: Encode) -> MadeData:
    """Answer open queries."""
    unknown = sorted(set(config.open) - {spec.name for spec in dataclasses.fields(OpenData)})
    if unknown:
        known = ", ".join(spec.name for spec in dataclasses.fields(OpenData))
        raise ValueError(f"open.{unknown[0]} is unknown: known are {known}.")
    return answer_open(
        config.queries,
        OpenData(**config.open),
        adapter=config.adapter,
        limit=config.samples,
        seed=config.seed,
        evaluation=evaluation,
        thresholds=config.limits,
        encode=encode,
        work=Path(config.work),
    )


def _write(
    config: Config,
    table: OutcomeTable,
    made: MadeData,
    found: Sequence[Leak],
    probes: Sequence[Probe],
) -> None:
    """Write the samples, the manifest, the report and its figure."""
    output = Path(config.output)
    save_resolved(config, output)
    if probes:
        draw_effect(probes, config.limits, output / FIGURE)
    report = data_report(
        f"Made data for the adapter {config.adapter}",
        made,
        probes=probes,
        thresholds=config.limits,
        leaks=len(found),
        figure=FIGURE,
    )
    manifest = {
        "adapter": config.adapter,
        "command": command_line(sys.argv),
        "commit": commit(),
        "table": table.fingerprint,
        "seed": config.seed,
        "settings": dataclasses.asdict(config.settings),
        "leaks": len(found),
        "dropped": {label: dict(counts) for label, counts in made.dropped.items()},
        "contents": {k: dataclasses.asdict(v) for k, v in made.contents.items()},
    }
    write_samples(output, made.samples, manifest=manifest, report=report)
    print(f"{len(made.samples)} samples, leaks: {len(found)} -> {output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        Config,
        prepare,
        description=__doc__,
        default_config="configs/prepare_data.yaml",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
