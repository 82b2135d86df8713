"""The contest of collection: answers per second of every way to fill an outcome table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from tqdm import tqdm

from routing_gym.benchmark.collection_engines import LOOP, OPENVINO, Answerer, Engine, engines
from routing_gym.benchmark.provenance import version
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.speed import (
    ContestResult,
    ContestSettings,
    SpeedRow,
    Stopwatch,
    median_interval,
    rows_of,
)
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.scoring import queries_of
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.query import Query

NAME = "collection"
CASE = "train queries"
QUERIES = 42
REPEATS = 3
"""At most."""
POOL_NAME = "default"


def collection_contest(settings: ContestSettings) -> ContestResult:
    """Let every engine answer the same queries with every adapter, in turns.

    Parameters
    ----------
    settings
        Folder of the table, repeats (`REPEATS` at most), seed, scale.
    """
    from routing_gym.adapters.pools import load_pool

    entries = engines()
    present = [entry for entry in entries if not entry.lacking()]
    count = max(math.ceil(settings.scale * QUERIES), REPEATS)  # some for each part of the loop
    queries = sample(OutcomeTable.load(settings.table), count=count, seed=settings.seed)
    spec = load_pool(POOL_NAME)
    loaded = {entry.name: entry.load(spec) for entry in present}
    rows = compete(loaded, queries, settings=settings)
    figures = collection_figures(rows, own=[entry.name for entry in entries if entry.own])
    packages = dict.fromkeys(chain.from_iterable(entry.packages for entry in present))
    return ContestResult(
        rows=tuple(rows),
        figures=figures,
        section=collection_section(rows, figures, entries=entries),
        versions=tuple(f"{package}: {version(package)}" for package in packages),
    )


def sample(table: OutcomeTable, *, count: int, seed: int) -> list[Query]:
    """Draw queries of the train split, every task as often as the others, but for one.

    Parameters
    ----------
    table
        Whose queries.
    count
        How many, at least 1; fewer where the split has fewer.
    seed
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    train = np.flatnonzero(table.split == "train")
    shuffled = rng.permutation(train)
    tasks = rng.permutation(np.unique(table.task[train])).tolist()
    place = {task: index for index, task in enumerate(tasks)}
    seen = dict.fromkeys(tasks, 0)
    turns = []
    for row in shuffled.tolist():
        task = str(table.task[row])
        turns.append((seen[task], place[task], row))
        seen[task] += 1
    chosen = [row for _, _, row in sorted(turns)[:count]]
    return queries_of(table.subset(np.array(chosen)))


def compete(
    loaded: Mapping[str, Answerer], queries: Sequence[Query], *, settings: ContestSettings
) -> list[SpeedRow]:
    """Measure every engine in every repeat; the quality is the share of answers like the loop's.

    Parameters
    ----------
    loaded
        Engine -> what answers, the loop among them.
    queries
        N queries, at least one for each repeat. The loop answers another part of them in each.
    settings
        Repeats, whether to show a bar.
    """
    repeats = min(settings.repeats, REPEATS)
    for answer in loaded.values():
        answer(queries[:1])  # warm-up
    runs: list[tuple[str, int, slice, Stopwatch, list[list[str]]]] = []
    bar = tqdm(total=repeats * len(loaded), desc=NAME, unit="run", disable=not settings.progress)
    for repeat in range(repeats):
        for name, answer in loaded.items():
            part = slice(repeat, None, repeats) if name == LOOP else slice(None)
            with Stopwatch() as watch:
                answers = answer(queries[part])
            runs.append((name, repeat, part, watch, answers))
            bar.update()
    bar.close()
    expected = np.empty((len(runs[0][-1]), len(queries)), dtype=object)  # (K, N)
    for name, _, part, _, answers in runs:
        if name == LOOP:
            expected[:, part] = answers
    return [
        SpeedRow(
            contest=NAME,
            case=CASE,
            competitor=name,
            repeat=repeat,
            unit="answers",
            count=int(np.size(answers)),
            cpu_seconds=watch.cpu,
            wall_seconds=watch.wall,
            quality=float(np.mean(np.array(answers, dtype=object) == expected[:, part])),
            settings=f"{np.shape(answers)[1]} queries",
        )
        for name, repeat, part, watch, answers in runs
    ]


def wall_rates(rows: Sequence[SpeedRow], name: str) -> list[float]:
    """Return an engine's answers per second of wall time, by repeat; once over all for the loop.

    Parameters
    ----------
    rows
        Measurements of the contest.
    name
        Of the engine.
    """
    measured = rows_of(rows, case=CASE, competitor=name)
    if name == LOOP:  # each repeat timed other queries
        return [sum(r.count for r in measured) / sum(r.wall_seconds for r in measured)]
    return [row.count / row.wall_seconds for row in measured]


def collection_figures(
    rows: Sequence[SpeedRow], *, own: Sequence[str]
) -> dict[str, float | Interval]:
    """Compare ours with the loop, in wall time.

    Parameters
    ----------
    rows
        Measurements of the contest.
    own
        Engines that are ours.

    Returns
    -------
    dict
        ``<engine>_over_loop`` and ``<engine>_identical`` (share of answers, the lowest of the
        repeats) for each of ours, and ``collection_over_loop``, ``collection_identical``: those of
        the fastest whose answers were all identical. Where none was, the share is that of the most
        faithful one, and there is no ratio.
    """
    figures: dict[str, float | Interval] = {}
    (loop,) = wall_rates(rows, LOOP)
    ratios: dict[str, Interval] = {}
    shares: dict[str, float] = {}
    for name in own:
        measured = rows_of(rows, case=CASE, competitor=name)
        if not measured:
            continue
        ratios[name] = median_interval([rate / loop for rate in wall_rates(rows, name)])
        shares[name] = min(row.quality for row in measured)
        figures[f"{_figure(name)}_over_loop"] = ratios[name]
        figures[f"{_figure(name)}_identical"] = shares[name]
    exact = [name for name in ratios if shares[name] == 1.0]
    if exact:
        figures["collection_over_loop"] = max(
            (ratios[name] for name in exact), key=lambda ratio: ratio.value
        )
    if shares:
        figures["collection_identical"] = max(shares.values())
    return figures


def collection_section(
    rows: Sequence[SpeedRow],
    figures: Mapping[str, float | Interval],
    *,
    entries: Sequence[Engine],
) -> str:
    """Write the contest's section.

    Parameters
    ----------
    rows
        Measurements.
    figures
        From `collection_figures`.
    entries
        Who could take part; who was absent is said.
    """
    lines = []
    for entry in entries:
        measured = rows_of(rows, case=CASE, competitor=entry.name)
        if not measured:
            continue
        ratio = figures.get(f"{_figure(entry.name)}_over_loop")
        cpu = sum(row.count for row in measured) / sum(row.cpu_seconds for row in measured)
        lines.append(
            [
                entry.label,
                format_interval(median_interval(wall_rates(rows, entry.name)), digits=2),
                f"{cpu:.2f}",
                format_interval(ratio, digits=1) if isinstance(ratio, Interval) else "1",
                f"{min(row.quality for row in measured):.1%}",
            ]
        )
    header = [
        "engine",
        "answers per second [95 %]",
        "per CPU second",
        "times the loop [95 %]",
        "answers identical to the loop's",
    ]
    absent = [f"{e.name} ({', '.join(e.lacking())})" for e in entries if e.lacking()]
    parts = ["## Collection of outcomes", _method(rows), markdown_table(header, lines)]
    if absent:
        parts.append(f"Not installed, so not measured: {', '.join(absent)}.")
    return "\n\n".join(parts)


def _method(rows: Sequence[SpeedRow]) -> str:
    """Say what was measured and how."""
    repeats = len({row.repeat for row in rows})
    count = max((row.count for row in rows), default=0)
    return (
        f"Every adapter of the pool answers the same queries of the train split ({count} answers, "
        "every task as often as the others), greedily, in float32, with the same prompts and token "
        f"budgets. The engines take turns, {repeats} times, with as many threads as torch takes by "
        "itself. The loop answers one query after the other, so every repeat times it on another "
        f"part of the queries, and its rate is that over all of them; ours answer all {repeats} "
        "times. Loading is not timed, and neither is compiling for OpenVINO, which holds a "
        "compiled model in memory for each adapter; switching and merging are. Only the pool of "
        "transformers records each token's log-probability and entropy besides, of which tables "
        "keep signals; after OpenVINO a pass over the answers would have to read them. Ratios are "
        "of wall time, medians of the repeats; `collection_over_loop` is that of the fastest "
        "engine all of whose answers are the loop's."
    )


def _figure(name: str) -> str:
    """Name an engine in its figures."""
    return name if name == OPENVINO else f"collection_{name}"
