"""Report the adapter pool: verified accuracy of every adapter on every domain and task.

Reads the outcome table and writes tables, a heat map and the headline figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.adapters.pools import load_pool
from routing_gym.benchmark import plots
from routing_gym.benchmark.pool import (
    accuracy_grid,
    grid_table,
    memory_figures,
    ownership_figures,
)
from routing_gym.benchmark.provenance import provenance
from routing_gym.benchmark.report import figures_table, write_report
from routing_gym.benchmark.statistics import Interval
from routing_gym.envs.table import OutcomeTable
from routing_gym.scripts.command import run_command, save_resolved

INTRODUCTION = """\
Verified accuracy with Wilson 95 % intervals; the best adapter of each line in bold. An adapter owns
the domain of its own name; other domains have no owner. Accuracy reads an answer leniently (case,
quotes, code fences, a sentence around it), strict accuracy does not."""
FIGURES = """\
`own_over_base_min`: the smallest ratio of an adapter's accuracy on its own domain to the base's.
`own_minus_next_low_min`: the smallest distance from the highest upper end of any other adapter's
interval (the base included) to the lower end of the owner's; above 0 they do not overlap. `_all`:
over all splits; the adapters were trained on queries of none of them."""


@dataclass(frozen=True)
class PoolConfig:
    """Settings of the pool's report.

    Parameters
    ----------
    table
        Folder of the outcome table.
    pool
        Name or file of the pool that the table must be of; "" takes any table.
    output
        Folder of the report; a ``memory.json`` in it is read.
    base
        Name of the model without an adapter.
    split
        Split of the headline figures.
    resamples
        Bootstrap resamples.
    seed
        Seed of the bootstrap.
    """

    table: Path = Path("results/table")
    pool: str = "default"
    output: Path = Path("results/pool")
    base: str = "base"
    split: str = "test"
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ValueError(f"resamples={self.resamples} must be at least 100 for 95 % intervals.")


def report_pool(config: PoolConfig) -> None:
    """Write the report and print its domain table and figures."""
    table = OutcomeTable.load(config.table)
    if config.pool:
        spec = load_pool(config.pool)
        table.check_pool(spec.names, spec.fingerprint)
    if config.split not in table.splits:
        raise ValueError(f"split={config.split!r} holds no query: choose one of {table.splits}.")
    split = table.where(split=config.split)
    figures = pool_figures(config, split)
    figures |= {f"{name}_all": value for name, value in pool_figures(config, table).items()}
    figures |= memory_figures(config.output)
    grid = accuracy_grid(split.scores["accuracy"], split.domain, adapters=table.adapters).ordered
    outlined = [(grid.adapters.index(name), grid.groups.index(name)) for name in grid.owners]
    write_report(
        config.output,
        figures=figures,
        markdown=pool_markdown(config, table, split, figures),
        command=provenance(table_hash=table.fingerprint, seeds=[config.seed]),
        plots={
            "domains.png": lambda path: plots.heat_map(
                grid.cells,
                rows=grid.adapters,
                columns=[f"{g}\n(n={n})" for g, n in zip(grid.groups, grid.counts, strict=True)],
                path=path,
                caption=f"{len(split)} {config.split} queries, Wilson 95 % intervals; "
                "framed: the adapter's own domain",
                outlined=outlined,
            )
        },
    )
    save_resolved(config, config.output)
    print(f"verified accuracy on the {config.split} split\n\n{grid_table(grid)}")
    print(f"\n{figures_table(figures)}\n\nreport: {config.output / 'report.md'}")


def pool_figures(config: PoolConfig, table: OutcomeTable) -> dict[str, float | Interval]:
    """Compute the headline figures on one part of the table."""
    return ownership_figures(
        table.scores["accuracy"],
        table.domain,
        adapters=table.adapters,
        base=config.base,
        rng=np.random.default_rng(config.seed),
        resamples=config.resamples,
    )


def pool_markdown(
    config: PoolConfig,
    table: OutcomeTable,
    split: OutcomeTable,
    figures: dict[str, float | Interval],
) -> str:
    """Write the report for people."""
    parts = [
        "# The adapter pool",
        f"{len(table)} queries x {len(table.adapters)} adapters, {len(split)} queries in the "
        f"{config.split} split.",
        INTRODUCTION,
        "## Figures",
        FIGURES,
        figures_table(figures),
        "![domains](domains.png)",
    ]
    for title, score, part in (
        (f"Domains, {config.split} split", "accuracy", split),
        ("Domains, all splits", "accuracy", table),
        ("Domains, all splits, strict accuracy", "accuracy_strict", table),
    ):
        if score in part.scores:
            grid = accuracy_grid(part.scores[score], part.domain, adapters=part.adapters)
            parts += [f"## {title}", grid_table(grid.ordered)]
    tasks = accuracy_grid(table.scores["accuracy"], table.task, adapters=table.adapters)
    return "\n\n".join([*parts, "## Tasks, all splits", grid_table(tasks)]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(PoolConfig, report_pool, description=__doc__, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
