"""Measure how collection grows: local processes, Ray, and an HTTP client; extrapolate from that.

The same queries are collected by one worker, by two local processes and by two workers on a local
Ray cluster, in turns. Then one client process asks a server that answers at once, which bounds what
it can drive, and every other stage of a collection is timed. Run it on a quiet machine.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from routing_gym.adapters.pools import load_pool
from routing_gym.benchmark.provenance import allowed_cores, provenance, version
from routing_gym.benchmark.report import csv_text, figures_table, write_report
from routing_gym.benchmark.scaling_contest import (
    COMPETITORS,
    contest_figures,
    idle_runs,
    race,
)
from routing_gym.benchmark.scaling_model import (
    http_rates,
    measure_rates,
    scaling_figures,
    scaling_section,
)
from routing_gym.benchmark.scaling_report import contest_section, draw_executors
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.command import run_command, save_resolved


@dataclass(frozen=True)
class ScalingConfig:
    """Settings of the measurement.

    Parameters
    ----------
    table
        Folder of the outcome table, whose train queries are asked.
    pool
        Name of the pool, or the path of its pool file.
    queries
        Queries that every adapter answers.
    repeats
        Collections of each executor.
    flush_rows
        Rows of a part, which is the unit that is shared out.
    seed
        Of the draw of queries.
    http
        Whether the HTTP client and the other stages are measured.
    output
        Folder of the report.
    progress
        Whether to show a bar on stderr.
    """

    table: Path = Path("results/table")
    pool: str = "default"
    queries: int = 42
    repeats: int = 3
    flush_rows: int = 8
    seed: int = 0
    http: bool = True
    output: Path = Path("results/scaling")
    progress: bool = True

    def __post_init__(self) -> None:
        for name, least in (("queries", 1), ("repeats", 1), ("flush_rows", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give at least {least}.")


def measure(config: ScalingConfig) -> None:
    """Run the contest, write the report and print its figures."""
    table = OutcomeTable.load(config.table)
    spec = load_pool(config.pool)
    total = config.repeats * len(COMPETITORS)
    with tqdm(total=total, unit="run", disable=not config.progress) as bar:

        def tick(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        runs = race(
            table,
            spec,
            count=config.queries,
            repeats=config.repeats,
            flush_rows=config.flush_rows,
            seed=config.seed,
            on_run=tick,
        )
    figures = contest_figures(runs, idle_runs(repeats=config.repeats))
    sections = [_heading(), contest_section(runs, figures, flush_rows=config.flush_rows)]
    texts = {"runs.csv": csv_text([run.__dict__ for run in runs])}
    if config.http:
        rates = measure_rates(table, http=http_rates(), seed=config.seed)
        figures |= scaling_figures(rates)
        texts["model.md"] = scaling_section(rates) + "\n"
        sections.append(f"## Beyond this machine\n\n{texts['model.md']}")
    write_report(
        config.output,
        figures=figures,
        markdown="\n\n".join(sections),
        command=provenance(
            table_hash=table.fingerprint,
            seeds=[config.seed],
            extra=[f"repeats: {config.repeats}", f"ray: {version('ray')}"],
        ),
        plots={"executors.png": lambda path: draw_executors(runs, path)},
        texts=texts,
    )
    save_resolved(config, config.output)
    print(f"{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")


def _heading() -> str:
    """Name the machine."""
    load = f", load {os.getloadavg()[1]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return (
        "# Scaling\n\n"
        f"Measured by `scripts/measure_scaling.py` in one run: {platform.system()} "
        f"{platform.machine()}, {allowed_cores()} core(s) allowed{load}. "
        "Every collection is in `runs.csv`."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(ScalingConfig, measure, description=__doc__, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
