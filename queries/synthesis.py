"""Made data: new questions of given tasks and complexities, far enough from what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from routing_gym.queries.near_duplicates import Encode, Thresholds
from routing_gym.queries.paraphrases import AskedForm, Paraphraser
from routing_gym.queries.query import Query
from routing_gym.queries.samples import Sample
from routing_gym.queries.synthesis_maker import Maker
from routing_gym.queries.synthesis_progress import Progress
from routing_gym.queries.synthesis_settings import (
    Contents,
    MadeData,
    SynthesisSettings,
    Target,
)

__all__ = [
    "Contents",
    "MadeData",
    "SynthesisSettings",
    "Target",
    "Thresholds",
    "in_turn",
    "make_samples",
    "share_out",
]


def make_samples(
    targets: Sequence[Target],
    count: int,
    *,
    seed: int,
    evaluation: Sequence[Query],
    settings: SynthesisSettings | None = None,
    encode: Encode | None = None,
    paraphrase: Paraphraser | None = None,
    asked: AskedForm | None = None,
    folder: Path | None = None,
    on_samples: Callable[[int], object] | None = None,
) -> MadeData:
    """Make samples of targets, none of them near to another or to a query of the evaluation.

    Parameters
    ----------
    targets
        What to make; equal pairs of task and complexity are joined.
    count
        Samples in all, shared out by the targets' weights.
    seed
        Determines every sample, with the settings and the paraphraser.
    evaluation
        Every query of the outcome table with its split.
    settings
        By default `SynthesisSettings()`.
    encode
        Embeds texts; None leaves near duplicates in meaning out.
    paraphrase
        Puts texts into other words, which are then checked; None words by rule alone.
    asked
        Reads the asked form from a text; None leaves that check out.
    folder
        Where finished targets are kept, so that a killed run goes on; None keeps nothing.
    on_samples
        Called with the number of samples that were made or found.

    Raises
    ------
    ValueError
        If there is no target, the count is below 1, or a task runs out of different texts.
    """
    maker = Maker(
        settings or SynthesisSettings(),
        seed=seed,
        evaluation=evaluation,
        encode=encode,
        paraphrase=paraphrase,
        asked=asked,
    )
    shares = share_out(targets, count)
    progress = Progress(folder, maker.identity(shares, evaluation))
    made: list[list[Sample]] = []
    contents = {}
    for target, wanted in shares.items():
        contents[target.label] = maker.probe(target)
        found = progress.found(target.label)
        if found is None:
            samples, dropped = maker.fill(target, wanted, contents[target.label], on_samples)
            progress.keep(target.label, samples, dropped)
        else:
            samples, _ = found
            maker.remember(samples)
            if on_samples:
                on_samples(len(samples))
        made.append(samples)
    return MadeData(tuple(in_turn(made)), progress.dropped, contents)


def share_out(targets: Sequence[Target], count: int) -> dict[Target, int]:
    """Share a number of samples out by weight, the largest remainders rounded up.

    Raises
    ------
    ValueError
        If there is no target or the count is below 1.
    """
    if not targets or count < 1:
        raise ValueError(f"{len(targets)} targets, count={count}: give at least 1 of each.")
    joined: dict[tuple[str, int], Target] = {}
    for target in targets:
        same = joined.get((target.task, target.complexity))
        weight = target.weight + (same.weight if same else 0.0)
        joined[target.task, target.complexity] = replace(same or target, weight=weight)
    weights = np.array([target.weight for target in joined.values()])
    exact = count * weights / weights.sum()
    shares = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: count - shares.sum()]] += 1
    return {t: int(n) for t, n in zip(joined.values(), shares, strict=True) if n}


def in_turn(parts: Sequence[Sequence[Sample]]) -> Iterator[Sample]:
    """Merge lists evenly: each is spread over the whole length."""
    placed = [
        ((row + 0.5) / len(part), number, sample)
        for number, part in enumerate(parts)
        for row, sample in enumerate(part)
    ]
    return (sample for _, _, sample in sorted(placed, key=lambda entry: entry[:2]))
