"""Measure our speed against that of other libraries: all competitors in one run, one report.

Every contest puts its competitors to the same work on the same data, in turns, and reports how
fast and how well each did it. Run it on a quiet machine, and pin it to one core where it can be.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import csv_text, figures_table, write_report
from routing_gym.benchmark.speed import Contest, ContestResult, ContestSettings
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.queries.registry import resolve
from routing_gym.scripts.command import run_command, save_resolved

CONTESTS: dict[str, str] = {
    "bandits": "routing_gym.benchmark.bandit_contest:bandit_contest",
    "environments": "routing_gym.benchmark.environment_contest:environment_contest",
    "ppo": "routing_gym.benchmark.ppo_contest:ppo_contest",
    "tables": "routing_gym.benchmark.table_contest:table_contest",
}


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
    progress
        Whether to show a bar on stderr.
    """

    contests: list[str] = field(default_factory=lambda: list(CONTESTS))
    table: Path = Path("results/table")
    repeats: int = 10
    scale: float = 1.0
    seed: int = 0
    output: Path = Path("results/speed")
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
    contests: list[Contest] = [resolve(CONTESTS, name, kind="contest") for name in config.contests]
    results = [contest(config.settings) for contest in contests]
    figures: Mapping[str, float | Interval] = {
        name: figure for result in results for name, figure in result.figures.items()
    }
    write_report(
        config.output,
        figures=figures,
        markdown="\n\n".join([_heading(), *(result.section for result in results)]),
        command=provenance(
            table_hash=OutcomeTable.load(config.table).fingerprint,
            seeds=[config.seed],
            extra=[f"repeats: {config.repeats}", *_versions(results)],
        ),
        plots={name: draw for result in results for name, draw in result.plots.items()},
        texts={"runs.csv": csv_text([row.as_dict() for r in results for row in r.rows])},
    )
    save_resolved(config, config.output)
    print(f"{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")


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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        "# Speed\n\n"
        f"Measured by `scripts/measure_speed.py` in one run: {platform.system()} "
        f"{platform.machine()}, {cores} core(s) allowed, load {_load()} at the end. "
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
