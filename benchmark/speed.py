"""Speed contests: who does the same work faster, measured in one run on one machine.

A contest is a function of `ContestSettings` that returns a `ContestResult`; the command
``scripts/measure_speed.py`` runs those that its registry names and writes one report. Every
competitor is measured in every repeat, in turn, so that a ratio of two of them compares moments
that lie close together; times are CPU times of the process, and wall times beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from scipy import stats

from routing_gym.benchmark.report import format_interval, markdown_table
from routing_gym.benchmark.statistics import Interval


@dataclass(frozen=True)
class ContestSettings:
    """What every contest is told.

    Parameters
    ----------
    table
        Folder of the outcome table.
    repeats
        Measurements of every competitor, at least 3.
    seed
        Of everything that is drawn.
    scale
        Share of the full size of the synthetic problems, in (0, 1].
    progress
        Whether to show a bar on stderr.
    """

    table: Path
    repeats: int = 10
    seed: int = 0
    scale: float = 1.0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.repeats < 3:
            raise ValueError(
                f"repeats={self.repeats} is too few: give at least 3, so that there is a spread."
            )
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale={self.scale} is outside (0, 1].")


@dataclass(frozen=True)
class SpeedRow:
    """One measurement of one competitor.

    Parameters
    ----------
    contest, case, competitor
        What was measured: the contest, the problem within it, and who.
    repeat
        Which repeat; equal numbers were measured on equal data.
    unit
        What is counted, such as ``"rounds"``.
    count
        How many were done.
    cpu_seconds, wall_seconds
        Time of doing them.
    quality
        What came of it, in the contest's own measure; nan where there is none.
    settings
        The competitor's settings in words.
    """

    contest: str
    case: str
    competitor: str
    repeat: int
    unit: str
    count: int
    cpu_seconds: float
    wall_seconds: float
    quality: float = float("nan")
    settings: str = ""

    @property
    def rate(self) -> float:
        """Units per CPU second."""
        return self.count / self.cpu_seconds

    def as_dict(self) -> dict[str, object]:
        """Return the tidy columns."""
        return {
            **self.__dict__,
            "per_cpu_second": self.rate,
            "per_wall_second": self.count / self.wall_seconds,
            "microseconds": 1e6 * self.cpu_seconds / self.count,
        }


@dataclass(frozen=True)
class ContestResult:
    """What a contest found.

    Parameters
    ----------
    rows
        All measurements.
    figures
        For ``summary.json``.
    section
        Markdown of the contest's section, with its heading.
    plots
        File name -> function that draws it to a path.
    versions
        Packages that took part, for the provenance.
    """

    rows: tuple[SpeedRow, ...]
    figures: Mapping[str, float | Interval]
    section: str
    plots: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    versions: tuple[str, ...] = ()


Contest = Callable[[ContestSettings], ContestResult]


class Stopwatch:
    """Measures a block: ``with Stopwatch() as watch: ...``, then ``watch.cpu``, ``watch.wall``."""

    cpu = wall = 0.0

    def __enter__(self) -> Stopwatch:
        """Start."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.cpu = time.process_time() - self._cpu
        self.wall = time.perf_counter() - self._wall


def rows_of(rows: Sequence[SpeedRow], *, case: str, competitor: str) -> list[SpeedRow]:
    """Return a competitor's measurements of one case, by repeat."""
    own = [row for row in rows if row.case == case and row.competitor == competitor]
    return sorted(own, key=lambda row: row.repeat)


def median_interval(
    values: Sequence[float] | np.ndarray, *, seed: int = 0, resamples: int = 2000
) -> Interval:
    """Put a bootstrap 95 % interval around the median of repeats.

    Parameters
    ----------
    values
        float (R,), R at least 1.
    seed
        Of the resamples.
    resamples
        Bootstrap resamples.
    """
    known = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(len(known), size=(resamples, len(known)))
    low, high = np.quantile(np.median(known[picks], axis=1), [0.025, 0.975])
    return Interval(float(np.median(known)), float(low), float(high))


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Put Student's 95 % interval around the mean of paired differences, float (R,), R >= 2."""
    known = np.asarray(values, dtype=np.float64)
    mean = float(known.mean())
    half = float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
    return Interval(mean, mean - half, mean + half)


def rate_ratio(first: Sequence[SpeedRow], second: Sequence[SpeedRow]) -> Interval:
    """Return how many times as fast the first is: the median of the repeats' ratios.

    Parameters
    ----------
    first, second
        Measurements of the same repeats, in the same order.

    Raises
    ------
    ValueError
        If the repeats differ.
    """
    if [row.repeat for row in first] != [row.repeat for row in second]:
        raise ValueError("the two competitors were measured in different repeats: pair them.")
    pairs = zip(first, second, strict=True)
    return median_interval([one.rate / other.rate for one, other in pairs])


def quality_difference(first: Sequence[SpeedRow], second: Sequence[SpeedRow]) -> Interval:
    """Return the mean of the repeats' differences in quality, paired."""
    pairs = zip(first, second, strict=True)
    return mean_interval([one.quality - other.quality for one, other in pairs])


def speed_table(
    rows: Sequence[SpeedRow],
    *,
    case: str,
    names: Mapping[str, str],
    unit: str,
    quality: str,
) -> str:
    """Format one case: rate, spread and quality of every competitor that was measured.

    Parameters
    ----------
    rows
        Measurements.
    case
        Which case to show.
    names
        Competitor -> text of its line, in the order of the table.
    unit
        What is counted, in the plural.
    quality
        Heading of the quality's column.
    """
    lines = []
    for competitor, text in names.items():
        own = rows_of(rows, case=case, competitor=competitor)
        if not own:
            continue
        rates = median_interval([row.rate for row in own])
        wall = np.median([row.count / row.wall_seconds for row in own])
        lines.append(
            [
                text,
                _thousands(rates),
                f"{1e6 / rates.value:,.1f}",
                f"{wall:,.0f}",
                format_interval(mean_interval([row.quality for row in own]), digits=4),
            ]
        )
    header = [
        "competitor",
        f"{unit} per CPU second [95 %]",
        f"µs per {unit.removesuffix('s')}",
        f"{unit} per wall second",
        quality,
    ]
    return markdown_table(header, lines)


def _thousands(interval: Interval) -> str:
    """Write an interval of large numbers."""
    return f"{interval.value:,.0f} [{interval.low:,.0f}, {interval.high:,.0f}]"
