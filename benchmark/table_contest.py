"""The contest of table sizes: seconds and memory from a thousand to ten million queries."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from routing_gym.benchmark.contest_plots import table_costs
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.speed import ContestResult, ContestSettings, SpeedRow, median_interval
from routing_gym.benchmark.statistics import Interval
from routing_gym.benchmark.synthetic_split import SyntheticProblem
from routing_gym.benchmark.table_probe import probe
from routing_gym.envs.mapped import save_mapped

NAME = "tables"
DIMENSIONS = 64  # of the synthetic embeddings: ten million queries take 2.6 GB of disk
LOADED = (1_000, 10_000, 100_000)
MAPPED = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
VALIDATION = 2_000
TRAIN_STEPS = 122_880
REPEATS = 5
KINDS = {"load": "OutcomeTable.load", "mapped": "open_mapped"}


@dataclass(frozen=True)
class Opened:
    """One opening of a table in a process of its own.

    Parameters
    ----------
    kind
        ``"load"`` or ``"mapped"``.
    queries
        N.
    disk
        Bytes of its files.
    repeat
        Which opening of this table.
    found
        From `routing_gym.benchmark.table_probe.open_and_step`.
    """

    kind: str
    queries: int
    disk: int
    repeat: int
    found: Mapping[str, float]


def table_contest(settings: ContestSettings) -> ContestResult:
    """Write tables of growing size to a temporary folder, open them, and train on the largest.

    Parameters
    ----------
    settings
        Repeats (at most 5), seed, and scale: the share of ten million queries, of a hundred
        thousand that are loaded, and of the steps of training.
    """
    opened: list[Opened] = []
    sizes = {
        kind: scaled(full, settings.scale) for kind, full in (("load", LOADED), ("mapped", MAPPED))
    }
    jobs = [(kind, queries) for kind, found in sizes.items() for queries in found]
    bar = tqdm(jobs, desc=NAME, unit="table", disable=not settings.progress)
    training: Mapping[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="routing-gym-tables-") as name:
        for kind, queries in bar:
            folder = Path(name) / f"{kind}-{queries}"
            write(kind, queries, folder, seed=settings.seed)
            disk = sum(path.stat().st_size for path in folder.iterdir())
            for repeat in range(min(settings.repeats, REPEATS)):
                opened.append(Opened(kind, queries, disk, repeat, probe(kind, folder)))
            if (kind, queries) == jobs[-1]:
                training = train_on(folder, Path(name) / "validation", settings=settings)
            shutil.rmtree(folder)  # one at a time on the disk
    rows = [_row(one) for one in opened]
    figures = table_figures(opened, training)
    return ContestResult(
        rows=tuple(rows),
        figures=figures,
        section=table_section(opened, training, figures),
        plots={"tables.png": lambda path: _plot(opened, training, path)},
    )


def scaled(sizes: Sequence[int], scale: float) -> list[int]:
    """Keep the sizes up to ``scale`` times the largest, and the smallest in any case."""
    return [size for size in sizes if size <= max(scale * sizes[-1], sizes[0])]


def write(kind: str, queries: int, folder: Path, *, seed: int) -> None:
    """Write a synthetic table or mapped split.

    Parameters
    ----------
    kind
        ``"load"`` or ``"mapped"``.
    queries
        N.
    folder
        Made.
    seed
        Of the problem.
    """
    problem = SyntheticProblem(seed=seed, dimensions=DIMENSIONS)
    if kind == "load":
        problem.table(queries).save(folder)
    else:
        save_mapped(problem.chunks(queries, lean=True), folder, num_queries=queries)


def train_on(folder: Path, held_out: Path, *, settings: ContestSettings) -> dict[str, float]:
    """Train PPO on a mapped split in a process of its own; return what that took.

    Parameters
    ----------
    folder
        The mapped split.
    held_out
        Where to write a small split of the same problem, for validation.
    settings
        Seed, and scale of the steps.
    """
    problem = SyntheticProblem(seed=settings.seed, dimensions=DIMENSIONS)
    chunks = problem.chunks(VALIDATION, part=1, lean=True)
    save_mapped(chunks, held_out, num_queries=VALIDATION)
    steps = max(round(settings.scale * TRAIN_STEPS), 4096)
    found = probe("train", folder, validation=str(held_out), steps=steps, seed=settings.seed)
    return {**found, "steps": float(steps)}


def table_figures(
    opened: Sequence[Opened], training: Mapping[str, float]
) -> dict[str, float | Interval]:
    """Name what was found after the size of the largest mapped split.

    Parameters
    ----------
    opened
        All openings.
    training
        From `train_on`.

    Returns
    -------
    dict
        ``table_open_seconds_1e7`` (wall time, median), ``table_train_mb_1e7`` (highest resident
        memory, mapped pages included), ``table_train_anonymous_mb_1e7`` (without them),
        ``table_train_gap_1e7``, ``table_load_seconds_1e5``.
    """
    figures: dict[str, float | Interval] = {}
    for kind, name in (("mapped", "table_open_seconds"), ("load", "table_load_seconds")):
        largest = max(one.queries for one in opened if one.kind == kind)
        figures[f"{name}_{_power(largest)}"] = _seconds(opened, kind, largest)
    label = _power(max(one.queries for one in opened if one.kind == "mapped"))
    figures[f"table_train_mb_{label}"] = training["resident"]
    figures[f"table_train_anonymous_mb_{label}"] = training["anonymous"]
    figures[f"table_train_gap_{label}"] = training["gap"]
    return figures


def table_section(
    opened: Sequence[Opened],
    training: Mapping[str, float],
    figures: Mapping[str, float | Interval],
) -> str:
    """Write the contest's section.

    Parameters
    ----------
    opened
        All openings.
    training
        From `train_on`.
    figures
        From `table_figures`.
    """
    lines = []
    for kind, queries in dict.fromkeys((one.kind, one.queries) for one in opened):
        own = [one for one in opened if (one.kind, one.queries) == (kind, queries)]
        memory = [
            f"{np.median([one.found[name] for one in own]):,.0f}"
            for name in ("before", "opened", "stepped", "stepped_anonymous")
        ]
        seconds = format_interval(_seconds(opened, kind, queries), digits=4)
        lines.append(
            [f"`{KINDS[kind]}`", f"{queries:,}", f"{own[0].disk / 1e6:,.1f}", seconds, *memory]
        )
    header = ["how", "queries", "MB on disk", "seconds to open [95 %]", "MB before", "open"]
    header += ["after 60 steps", "of it anonymous"]
    largest = max(one.queries for one in opened if one.kind == "mapped")
    return "\n\n".join(
        [
            "## Tables",
            "Each opening is a process of its own: wall time from the call to the table, in files "
            "that the system has just written and so still holds in memory; resident memory after "
            "the imports, with the table open, and after 60 steps of 2,048 lanes with embeddings. "
            f"Synthetic queries with {DIMENSIONS} dimensions and 6 adapters; an `OutcomeTable` "
            "holds texts and answers and checks all of it, a mapped split holds what an "
            "environment needs (embeddings in float16) and was checked when it was written. Pages "
            "of mapped files are resident, but the system takes them back when it needs them: "
            "*anonymous* is what the process really holds.",
            markdown_table(header, lines),
            f"PPO (`PPOAgent` with its defaults) for {training['steps']:,.0f} steps on the mapped "
            f"{largest:,} queries, imports included: {training['wall_seconds']:.1f} seconds, at "
            f"most {training['resident']:,.0f} MB resident, of which at most "
            f"{training['anonymous']:,.0f} MB anonymous; the policy closes "
            f"{training['gap']:.1%} of the gap from the best single adapter to the oracle on "
            "other queries.",
        ]
    )


def _seconds(opened: Sequence[Opened], kind: str, queries: int) -> Interval:
    """Return the median of the wall seconds to open."""
    own = [one for one in opened if (one.kind, one.queries) == (kind, queries)]
    return median_interval([one.found["wall_seconds"] for one in own])


def _row(one: Opened) -> SpeedRow:
    """Return the tidy row of an opening."""
    return SpeedRow(
        contest=NAME,
        case=f"{one.queries} queries",
        competitor=KINDS[one.kind],
        repeat=one.repeat,
        unit="tables",
        count=1,
        cpu_seconds=one.found["seconds"],
        wall_seconds=one.found["wall_seconds"],
        quality=one.found["stepped"],
        settings=" ".join(f"{name}={value:.0f}" for name, value in one.found.items()),
    )


def _power(queries: int) -> str:
    """Write a power of ten as 1e7."""
    return f"{queries:.0e}".replace("e+0", "e")


def _plot(opened: Sequence[Opened], training: Mapping[str, float], path: Path) -> None:
    """Draw seconds and memory over the sizes."""
    seconds = {
        text: {
            queries: _seconds(opened, kind, queries)
            for queries in sorted({one.queries for one in opened if one.kind == kind})
        }
        for kind, text in KINDS.items()
    }
    megabytes: dict[str, dict[int, float]] = {}
    for kind, text in KINDS.items():
        for stage, words in (("stepped", "after 60 steps"), ("stepped_anonymous", "anonymous")):
            megabytes[f"{text}, {words}"] = {
                queries: float(
                    np.median(
                        [o.found[stage] for o in opened if (o.kind, o.queries) == (kind, queries)]
                    )
                )
                for queries in seconds[text]
            }
    largest = max(seconds[KINDS["mapped"]])
    megabytes["PPO on the largest, peak"] = {largest: training["resident"]}
    megabytes["PPO on the largest, peak, anonymous"] = {largest: training["anonymous"]}
    table_costs(seconds, megabytes, path=path, caption="each in a process of its own")
