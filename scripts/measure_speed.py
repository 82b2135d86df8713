"""Measure our speed against that of other libraries: all competitors in one run, one report.

Every contest puts its competitors to the same work on the same data, in turns, and reports how
fast and how well each did it. Run it on a quiet machine. A contest that has ended is kept: a second
start goes on with the next one.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing_gym.benchmark.provenance import allowed_cores, provenance
from routing_gym.benchmark.report import csv_text, figures_table, write_report
from routing_gym.benchmark.speed import Contest, ContestResult, ContestSettings
from routing_gym.benchmark.speed_parts import contest_key, read_contest, save_contest
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.scripts.command import run_command, save_resolved

CONTESTS: dict[str, str] = {
    "bandits": "routing_gym.benchmark.bandit_contest:bandit_contest",
    "collection": "routing_gym.benchmark.collection_contest:collection_contest",
    "environments": "routing_gym.benchmark.environment_contest:environment_contest",
    "ppo": "routing_gym.benchmark.ppo_contest:ppo_contest",
    "tables": "routing_gym.benchmark.table_contest:table_contest",
}
"""Contest name -> function that runs it."""


@dataclass(frozen=True)
class SpeedConfig:
    """Settings of the measurement.

    Parameters
    ----------
    contests
        Which contests to run, in the order of the report.
    table
        Folder of the outcome table.
    repeats
        Measurements of every competitor, at least 3.
    scale
        Share of the full size of the synthetic problems, in (0, 1].
    seed
        Of everything that is drawn.
    output
        Folder of the report.
    runs
        Folder of the contests that have ended.
    overwrite
        Whether contests that have ended are run again.
    progress
        Whether to show a bar on stderr.
    """

    contests: list[str] = field(default_factory=lambda: list(CONTESTS))
    table: Path = Path("results/table")
    repeats: int = 10
    scale: float = 1.0
    seed: int = 0
    output: Path = Path("results/speed")
    runs: Path = Path("runs/speed")
    overwrite: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if not self.contests:
            raise ValueError(f"contests is empty: known are {', '.join(CONTESTS)}.")
        for name in self.contests:
            resolve(CONTESTS, name, kind="contest")
        self.settings  # noqa: B018 - refuses bad values before anything runs

    @property
    def settings(self) -> ContestSettings:
        """What every contest is told."""
        return ContestSettings(
            table=self.table,
            repeats=self.repeats,
            seed=self.seed,
            scale=self.scale,
            progress=self.progress,
        )


def measure(config: SpeedConfig) -> None:
    """Run the contests, write the report and print its figures."""
    table_hash = OutcomeTable.load(config.table).fingerprint
    results = [run_contest(name, config, table_hash=table_hash) for name in config.contests]
    figures: Mapping[str, float | Interval] = {
        name: figure for result in results for name, figure in result.figures.items()
    }
    write_report(
        config.output,
        figures=figures,
        markdown="\n\n".join([_heading(), *(result.section for result in results)]),
        command=provenance(
            table_hash=table_hash,
            seeds=[config.seed],
            extra=[f"repeats: {config.repeats}", *_versions(results)],
        ),
        plots={name: draw for result in results for name, draw in result.plots.items()},
        texts={"runs.csv": csv_text([row.as_dict() for r in results for row in r.rows])},
    )
    save_resolved(config, config.output)
    print(f"{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")


def run_contest(name: str, config: SpeedConfig, *, table_hash: str) -> ContestResult:
    """Measure a contest, or read it if it has ended before."""
    folder, key = config.runs / name, contest_key(config.settings, table_hash=table_hash)
    known = None if config.overwrite else read_contest(folder, key=key)
    if known is not None:
        print(f"{name}: measured before, read from {folder}")
        return known
    contest: Contest = resolve(CONTESTS, name, kind="contest")
    result = contest(config.settings)
    save_contest(result, folder, key=key)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(
        SpeedConfig,
        measure,
        description=__doc__,
        default_config="configs/measure_speed.yaml",
        argv=argv,
    )


def _heading() -> str:
    """Name the machine."""
    return (
        "# Speed\n\n"
        f"Measured by `scripts/measure_speed.py` in one run: {platform.system()} "
        f"{platform.machine()}, {allowed_cores()} core(s) allowed, load {_load()} at the end. "
        "Every row is in `runs.csv`."
    )


def _load() -> str:
    """Return the machine's load average of the last minutes, where it is known."""
    return f"{os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _versions(results: Sequence[ContestResult]) -> list[str]:
    """Join what the contests used."""
    return list(dict.fromkeys(line for result in results for line in result.versions))


if __name__ == "__main__":
    raise SystemExit(main())
