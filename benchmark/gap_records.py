"""Regions of queries, the gaps found in them, and the report that others read: ``gaps.json``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from routing_gym.benchmark.statistics import Interval
from routing_gym.queries.whole_file import write_whole

Kind = Literal["pool", "router", "evaluator"]
Level = Literal["domain", "task", "task_complexity", "cluster"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEVELS: tuple[Level, ...] = get_args(Level)
LEVEL_NAMES = {"task_complexity": "task and complexity", "cluster": "cluster of the embedding"}
GAPS_FILE = "gaps.json"
LOGGING_POLICY = "the logging policy"
SCHEMA = 1


@dataclass(frozen=True)
class Region:
    """Some of the queries, by what they have in common.

    Parameters
    ----------
    domain, task
        "" where they do not define the region or are unknown.
    complexity
        Level of the task; None where it does not define the region.
    cluster
        Number of the embedding's cluster; None for the other levels.
    note
        What a cluster holds; no part of the region's identity.
    """

    domain: str = ""
    task: str = ""
    complexity: int | None = None
    cluster: int | None = None
    note: str = field(default="", compare=False)

    @property
    def level(self) -> Level:
        """Which partition of the queries it belongs to."""
        if self.cluster is not None:
            return "cluster"
        if self.complexity is not None:
            return "task_complexity"
        return "task" if self.task else "domain"

    @property
    def label(self) -> str:
        """Its name for people: "creative / rhyme / 2", "cluster 7 (mostly rhyme)"."""
        if self.cluster is not None:
            return f"cluster {self.cluster}" + (f" ({self.note})" if self.note else "")
        known = [self.domain, self.task, "" if self.complexity is None else str(self.complexity)]
        return " / ".join(part for part in known if part) or "all queries"


@dataclass(frozen=True)
class GapExample:
    """One query of a region, with the answer it got and the best one that the pool has for it.

    Parameters
    ----------
    query_id, text
        The query; long texts are cut.
    adapter, answer
        Who answered, and what ("" where not known).
    score
        What the self-evaluator gave that answer; None where not known.
    truth
        Its verified correctness; None where not known.
    best_adapter, best_answer, best_truth
        The best answer of all adapters (equals `adapter` where none is better).
    """

    query_id: str
    text: str
    adapter: str
    answer: str = ""
    score: float | None = None
    truth: float | None = None
    best_adapter: str = ""
    best_answer: str = ""
    best_truth: float | None = None


@dataclass(frozen=True)
class Gap:
    """One kind of weakness in one region.

    Parameters
    ----------
    kind
        ``pool``: no adapter answers well; ``router``: one does and another was chosen;
        ``evaluator``: the score differs from the truth (positive: too high).
    region
        Where.
    queries
        How many queries (or logged decisions) the figures come from.
    share
        Their share of all; for the evaluator, which is judged adapter by adapter, their share of
        all answers.
    observed
        The raw gap with its interval.
    shrunken
        The gap drawn towards the other regions of its level, with its interval.
    p_value
        Of the region's test (`routing_gym.benchmark.gaps` says of what).
    q_value
        The same under false-discovery control over all regions of the kind.
    discovered
        Whether the q value is within the rate that was allowed.
    gain
        Share times the size of the shrunken gap: what closing it adds to the mean over all.
    oracle, chosen
        Mean truth of the best answer and of the chosen one; None where not known.
    reward
        Mean self-evaluated score of the chosen answers (of the adapter's, for the evaluator).
    adapter
        The best single adapter there; for the evaluator the adapter that is misjudged.
    best
        What the best single adapter reaches there; None where not known.
    arms
        What every adapter reaches there: verified accuracy from a table, value from a log.
    examples
        A few of the worst queries.
    """

    kind: Kind
    region: Region
    queries: int
    share: float
    observed: Interval
    shrunken: Interval
    p_value: float
    q_value: float
    discovered: bool
    gain: float
    oracle: float | None = None
    chosen: float | None = None
    reward: float | None = None
    adapter: str = ""
    best: float | None = None
    arms: Mapping[str, Interval] = field(default_factory=dict)
    examples: tuple[GapExample, ...] = ()

    @property
    def gain_interval(self) -> Interval:
        """The gain with the interval of the shrunken gap; for the evaluator signed."""
        gap = self.shrunken
        return Interval(self.share * gap.value, self.share * gap.low, self.share * gap.high)


@dataclass(frozen=True)
class GapReport:
    """All gaps that were looked at, largest gain first.

    Parameters
    ----------
    gaps
        Ranked by gain.
    source
        The table or the log.
    splits
        Splits that were read; empty for a log whose queries are in no table.
    fingerprint
        Of the table, or of the log's pool.
    settings
        How they were found.
    adapters
        The pool, in the order of its action ids.
    queries
        How many queries (or decisions) were read.
    router
        Who chose; "" if nobody is known to have.
    overall
        Figures over all queries: name -> value.
    unknown
        Kind -> why it could not be judged.
    notes
        What a reader must know besides.
    """

    gaps: tuple[Gap, ...]
    source: str
    splits: tuple[str, ...]
    fingerprint: str
    settings: Mapping[str, Any]
    adapters: tuple[str, ...]
    queries: int
    router: str = ""
    overall: Mapping[str, float] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def touches_test(self) -> bool:
        """Whether the test split was read, so that nothing may be made from these gaps."""
        return "test" in self.splits

    def of_kind(self, kind: str, *, level: str = "", discovered: bool = False) -> tuple[Gap, ...]:
        """List the gaps of one kind, largest gain first.

        Parameters
        ----------
        kind
            One of ``KINDS``.
        level
            One of ``LEVELS``; "" takes all, whose regions overlap.
        discovered
            Whether to leave out those that may be chance.

        Raises
        ------
        ValueError
            If the kind or the level is unknown.
        """
        for name, value, allowed in (("kind", kind, KINDS), ("level", level, ("", *LEVELS))):
            if value not in allowed:
                listed = ", ".join(known for known in allowed if known)
                raise ValueError(f"{name}={value!r} is unknown: choose one of {listed}.")
        found = (gap for gap in self.gaps if gap.kind == kind)
        levelled = (gap for gap in found if level in ("", gap.region.level))
        return tuple(gap for gap in levelled if gap.discovered or not discovered)

    def weakest(self, kind: str = "pool", level: str = "task") -> Gap:
        """Return the gap of one kind and level whose repair gains most.

        Raises
        ------
        ValueError
            If there is none; the message says why, or which levels there are.
        """
        found = self.of_kind(kind, level=level)
        if found:
            return found[0]
        if kind in self.unknown:
            raise ValueError(f"no gap of kind={kind!r} is known: {self.unknown[kind]}")
        levels = sorted({gap.region.level for gap in self.of_kind(kind)})
        raise ValueError(
            f"no region of level={level!r} was judged in {self.source}: choose one of "
            f"{', '.join(levels)}, or give a table that names its tasks."
        )

    def to_json(self) -> str:
        """Write all of it as JSON text that `from_json` takes back."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, place: str = GAPS_FILE) -> GapReport:
        """Take back what `to_json` wrote; `place` is named in messages.

        Raises
        ------
        ValueError
            If the text is no report of gaps, or one of another schema.
        """
        try:
            content = json.loads(text)
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise ValueError(f"schema {schema!r} is not {SCHEMA}")
            content["gaps"] = tuple(_gap(gap) for gap in content["gaps"])
            for name in ("splits", "adapters", "notes"):
                content[name] = tuple(content[name])
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{place} is no report of gaps ({error}): find them again with "
                "scripts/find_gaps.py."
            ) from error

    def save(self, folder: Path | str) -> Path:
        """Write ``gaps.json`` into a folder, whole or not at all; return its path."""
        target = Path(folder) / GAPS_FILE
        write_whole(target, self.to_json())
        return target

    @classmethod
    def load(cls, folder: Path | str) -> GapReport:
        """Read a report from its folder, or from the file itself.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is damaged.
        """
        path = Path(folder)
        path = path if path.suffix == ".json" else path / GAPS_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{str(path)!r} does not exist: find the gaps first with scripts/find_gaps.py "
                "--output FOLDER."
            )
        return cls.from_json(path.read_text("utf-8"), place=str(path))


def _gap(content: Mapping[str, Any]) -> Gap:
    """Rebuild one gap from plain JSON."""
    parts = dict(content)
    parts["region"] = Region(**parts["region"])
    parts["observed"], parts["shrunken"] = (
        Interval(**parts["observed"]),
        Interval(**parts["shrunken"]),
    )
    parts["arms"] = {name: Interval(**value) for name, value in parts["arms"].items()}
    parts["examples"] = tuple(GapExample(**example) for example in parts["examples"])
    return Gap(**parts)
