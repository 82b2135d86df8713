"""Who can answer what: verified accuracy of every adapter on every domain and task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval, PairedBootstrap, wilson_interval

MEMORY_FILE = "memory.json"


@dataclass(frozen=True)
class AccuracyGrid:
    """Accuracy of adapters x groups of queries.

    Parameters
    ----------
    adapters
        Names of the rows, length K.
    groups
        Names of the columns (domains or tasks), length G.
    counts
        int (G,), queries per group.
    cells
        K rows of G Wilson 95 % intervals.
    """

    adapters: tuple[str, ...]
    groups: tuple[str, ...]
    counts: tuple[int, ...]
    cells: tuple[tuple[Interval, ...], ...]

    def cell(self, adapter: str, group: str) -> Interval:
        """Return one adapter's accuracy on one group."""
        return self.cells[self.adapters.index(adapter)][self.groups.index(group)]

    @property
    def owners(self) -> tuple[str, ...]:
        """Adapters that have a group of their own name, in the order of the rows."""
        return tuple(name for name in self.adapters if name in self.groups)

    @property
    def ordered(self) -> AccuracyGrid:
        """The same grid with owned groups first, in the order of their adapters."""
        rest = [name for name in self.groups if name not in self.owners]
        order = [self.groups.index(name) for name in (*self.owners, *rest)]
        return AccuracyGrid(
            adapters=self.adapters,
            groups=tuple(self.groups[i] for i in order),
            counts=tuple(self.counts[i] for i in order),
            cells=tuple(tuple(line[i] for i in order) for line in self.cells),
        )


def accuracy_grid(
    accuracy: np.ndarray, groups: np.ndarray, *, adapters: Sequence[str]
) -> AccuracyGrid:
    """Average accuracy within groups.

    Parameters
    ----------
    accuracy
        float (N, K), verified correctness in [0, 1].
    groups
        str (N,), the domain or task of each query.
    adapters
        Names, length K.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if accuracy.shape != (len(groups), len(adapters)):
        raise ValueError(
            f"accuracy has shape {accuracy.shape}, not (N, K) = {(len(groups), len(adapters))}."
        )
    names, member = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    counts = np.bincount(member)
    sums = np.stack(
        [accuracy[member == i].sum(axis=0, dtype=np.float64) for i in range(len(names))]
    )
    cells = tuple(
        tuple(
            wilson_interval(min(sums[g, k], counts[g]), int(counts[g])) for g in range(len(names))
        )
        for k in range(len(adapters))
    )
    return AccuracyGrid(
        adapters=tuple(adapters),
        groups=tuple(names.tolist()),
        counts=tuple(int(count) for count in counts),
        cells=cells,
    )


def ownership_figures(
    accuracy: np.ndarray,
    domains: np.ndarray,
    *,
    adapters: Sequence[str],
    base: str = "base",
    rng: np.random.Generator,
    resamples: int = 2000,
) -> dict[str, float | Interval]:
    """Compare each adapter with the base and with the others on the domain of its own name.

    Parameters
    ----------
    accuracy
        float (N, K).
    domains
        str (N,). A domain that no adapter is named after has no owner.
    adapters
        Names, length K.
    base
        Name of the untrained model among them.
    rng
        Source of the bootstrap draws.
    resamples
        Bootstrap resamples.

    Returns
    -------
    dict[str, float | Interval]
        ``own_over_base_min``: the smallest ratio, over the adapters, of own-domain accuracy to
        the base's, with the paired interval of that adapter's ratio (an adapter whose base never
        answers right has no finite ratio and is left out). ``own_minus_next_low_min``: the
        smallest difference, over the adapters, between the lower end of an adapter's interval on
        its domain and the highest upper end among all others, the base included; above 0 the
        intervals do not overlap. ``oracle_accuracy``, ``best_adapter_accuracy``
        (both with hindsight) and ``arms_differ``: what routing could reach, what one adapter
        reaches, and the share of queries on which the choice matters.

    Raises
    ------
    ValueError
        If `base` is no adapter, or no adapter has a domain of its own.
    """
    names = list(adapters)
    if base not in names:
        raise ValueError(f"base={base!r} is not in the table: its adapters are {names}.")
    grid = accuracy_grid(accuracy, domains, adapters=names)
    if not grid.owners:
        raise ValueError(f"no adapter of {names} is named like a domain of {list(grid.groups)}.")
    margins = {name: _margin(grid, name) for name in grid.owners}
    figures: dict[str, float | Interval] = {}
    ratios = {name: _own_over_base(grid, name, base) for name in grid.owners}
    worst = min(ratios, key=lambda name: ratios[name])
    if np.isfinite(ratios[worst]):
        rows = np.asarray(domains) == worst
        bootstrap = PairedBootstrap(int(rows.sum()), rng=rng, resamples=resamples)
        ratio = bootstrap.ratio(
            accuracy[rows, names.index(worst)], accuracy[rows, names.index(base)]
        )
        figures["own_over_base_min"] = ratio
    figures["own_minus_next_low_min"] = min(margins.values())
    single = metrics.best_single(accuracy)
    figures["best_adapter_accuracy"] = wilson_interval(
        float(accuracy[:, single].sum(dtype=np.float64)), len(accuracy)
    )
    figures["oracle_accuracy"] = wilson_interval(
        float(accuracy.max(axis=1).sum(dtype=np.float64)), len(accuracy)
    )
    figures["arms_differ"] = float(metrics.arms_differ(accuracy).mean())
    return figures


def grid_table(grid: AccuracyGrid) -> str:
    """Format a grid as Markdown: a line per group, a column per adapter, the best in bold."""
    lines = []
    for g, group in enumerate(grid.groups):
        column = [line[g] for line in grid.cells]
        top = max(cell.value for cell in column)
        cells = [
            f"**{format_interval(cell, digits=2)}**"
            if cell.value >= top > 0
            else format_interval(cell, digits=2)
            for cell in column
        ]
        lines.append([group, str(grid.counts[g]), *cells])
    return markdown_table(["", "queries", *grid.adapters], lines)


def memory_figures(folder: Path) -> dict[str, float | Interval]:
    """Read the pool's measured memory against that of separate models.

    Parameters
    ----------
    folder
        The pool's report folder. Its ``memory.json`` holds ``pool_mb``, the memory of one base
        with all adapters, and ``separate_models_mb``, that of as many whole models.

    Returns
    -------
    dict[str, float | Interval]
        ``memory_over_separate_models``, or nothing if memory was not measured.

    Raises
    ------
    ValueError
        If the file lacks a key or a number is not positive.
    """
    path = folder / MEMORY_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
        pool, separate = float(content["pool_mb"]), float(content["separate_models_mb"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must hold the numbers pool_mb and separate_models_mb ({error}): measure the "
            f"pool's memory again or delete the file."
        ) from error
    if not (0 < pool < float("inf") and 0 < separate < float("inf")):
        raise ValueError(f"{path}: pool_mb={pool}, separate_models_mb={separate} must be positive.")
    return {"memory_over_separate_models": pool / separate}


def _margin(grid: AccuracyGrid, owner: str) -> float:
    """Lower end of the owner's interval minus the highest upper end of any other adapter."""
    others = [grid.cell(name, owner).high for name in grid.adapters if name != owner]
    return grid.cell(owner, owner).low - max(others)


def _own_over_base(grid: AccuracyGrid, owner: str, base: str) -> float:
    """Ratio of accuracies on the owner's domain; infinite where the base has none."""
    bottom = grid.cell(base, owner).value
    return grid.cell(owner, owner).value / bottom if bottom > 0 else float("inf")
