"""What each region says about one kind of gap, and what is concluded from all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing_gym.benchmark.gap_records import LEVELS, Gap, Kind, Region
from routing_gym.benchmark.gap_regions import Group
from routing_gym.benchmark.gap_statistics import q_values, shrink
from routing_gym.benchmark.statistics import Interval

METHODS = ("bh", "by")
TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class GapSettings:
    """How gaps are looked for.

    Parameters
    ----------
    levels
        Those of `gap_records.LEVELS` that are looked at.
    splits
        Splits that are read. With "test" among them nothing may be made from the report.
    truth
        Score column that is taken as the truth.
    evaluator
        Score column that is judged; "" takes ``quality`` or else the default reward; "reward"
        takes the latter.
    confidence
        Coverage of the intervals.
    fdr
        Share of false discoveries that is allowed among the discovered gaps of one kind.
    method
        Control of false discoveries, "bh" or "by".
    clusters
        Number of clusters of the embedding; 0 chooses it.
    min_queries
        Least number of queries (or decisions) of a region.
    permutations
        Of the tests of values that are not just 0 and 1.
    examples
        Queries shown per gap.
    seed
        Of clusters, permutations and examples.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    levels: tuple[str, ...] = LEVELS
    splits: tuple[str, ...] = (TRAIN, VALIDATION)
    truth: str = "accuracy"
    evaluator: str = ""
    confidence: float = 0.95
    fdr: float = 0.05
    method: str = "bh"
    clusters: int = 0
    min_queries: int = 5
    permutations: int = 4999
    examples: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [level for level in self.levels if level not in LEVELS]
        if unknown or not self.levels:
            raise ValueError(f"levels={self.levels}: choose among {', '.join(LEVELS)}.")
        known = (TRAIN, VALIDATION, TEST)
        if not self.splits or any(split not in known for split in self.splits):
            raise ValueError(f"splits={self.splits}: choose among {', '.join(known)}.")
        for name in ("confidence", "fdr"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1.")
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} must be one of {', '.join(METHODS)}.")
        if self.clusters < 0 or self.clusters == 1:
            raise ValueError(f"clusters={self.clusters} must be 0 (chosen for you) or at least 2.")
        if self.min_queries < 2 or self.permutations < 99 or self.examples < 0:
            raise ValueError(
                f"min_queries={self.min_queries}, permutations={self.permutations}, "
                f"examples={self.examples} must be at least 2, 99 and 0."
            )


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one region says about its gap, before it is compared with the others.

    Parameters
    ----------
    group
        The region and its rows.
    share
        Of all queries (of all answers, for the evaluator).
    observed
        The raw gap.
    variance
        Squared standard error of the raw gap.
    p_value
        Of its test.
    adapter
        The adapter that is judged; "" where it is not one.
    scale
        Unit in which gaps of different regions are alike, above 0; they are shrunken in it.
    """

    group: Group
    share: float
    observed: Interval
    variance: float
    p_value: float
    adapter: str = ""
    scale: float = 1.0


def conclude(
    kind: Kind,
    evidence: Mapping[Any, Sequence[Evidence]],
    *,
    settings: GapSettings,
    low: float = 0.0,
    high: float = 1.0,
) -> list[tuple[Evidence, Gap]]:
    """Shrink within each level and control false discoveries over all of them.

    Parameters
    ----------
    kind
        Of the gaps.
    evidence
        Level -> its regions.
    settings
        Confidence, rate and method.
    low, high
        Range of a gap, to which shrunken ones are held.

    Returns
    -------
    list[tuple[Evidence, Gap]]
        The gaps, without what only a table or a log can add, beside what they were made from.
    """
    flat = [part for parts in evidence.values() for part in parts]
    adjusted = q_values(np.array([part.p_value for part in flat]), method=settings.method)
    shrunken: list[Interval] = []
    for parts in [parts for parts in evidence.values() if parts]:
        scales = np.array([part.scale for part in parts])
        drawn = shrink(
            np.array([part.observed.value for part in parts]) / scales,
            np.array([part.variance for part in parts]) / scales**2,
        )
        reach = drawn.reach(settings.confidence)
        ends = np.stack([drawn.means, drawn.means - reach, drawn.means + reach]) * scales
        shrunken += [Interval(*map(float, column)) for column in ends.clip(low, high).T]
    return [
        (
            part,
            Gap(
                kind=kind,
                region=part.group.region,
                queries=len(part.group.rows),
                share=part.share,
                observed=part.observed,
                shrunken=gap,
                p_value=part.p_value,
                q_value=float(q),
                discovered=bool(q <= settings.fdr),
                gain=part.share * (abs(gap.value) if kind == "evaluator" else gap.value),
                adapter=part.adapter,
            ),
        )
        for part, gap, q in zip(flat, shrunken, adjusted, strict=True)
    ]


def shown_gaps(gaps: Sequence[Gap], *, per_level: int = 10) -> set[tuple[str, Region, str]]:
    """Say which gaps deserve examples: discovered ones and the first of each kind and level.

    Returns
    -------
    set[tuple[str, Region, str]]
        Kind, region and adapter of each.
    """
    seen: dict[tuple[str, str], int] = {}
    chosen: set[tuple[str, Region, str]] = set()
    for gap in sorted(gaps, key=lambda gap: -gap.gain):
        place = (gap.kind, gap.region.level)
        seen[place] = seen.get(place, 0) + 1
        if gap.discovered or seen[place] <= per_level:
            chosen.add((gap.kind, gap.region, gap.adapter))
    return chosen
