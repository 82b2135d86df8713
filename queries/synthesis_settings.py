"""What data is to be made of, how, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from routing_gym.queries.near_duplicates import Thresholds
from routing_gym.queries.query import COMPLEXITIES
from routing_gym.queries.samples import Sample

HoldOut = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Target:
    """What to make data of.

    Parameters
    ----------
    task
        Name in the `TASKS` registry, or ``"module:attribute"``.
    complexity
        1 to 3.
    weight
        Share of the samples, relative to the other targets; above 0.
    region
        The weak region that asked for it, for the provenance.

    Raises
    ------
    ValueError
        If the complexity or the weight is out of range.
    """

    task: str
    complexity: int
    weight: float = 1.0
    region: str = ""

    def __post_init__(self) -> None:
        if self.complexity not in COMPLEXITIES:
            raise ValueError(f"complexity={self.complexity} of {self.task!r}: use 1, 2 or 3.")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight={self.weight} of {self.task!r} must be above 0 and finite.")

    @property
    def label(self) -> str:
        """Task and complexity."""
        return f"{self.task} / {self.complexity}"


@dataclass(frozen=True)
class SynthesisSettings:
    """How samples are worded and what is refused.

    Parameters
    ----------
    thresholds
        What counts as a near duplicate.
    varied
        Share of the samples whose phrasing is changed by rule.
    paraphrased
        Share of the samples that a paraphraser words, where there is one.
    hold_out_content
        Whether a question of the validation or test split is refused in any words: ``"always"``,
        ``"never"``, or (``"auto"``) where enough of a task's contents remain.
    patience
        Refused drafts in a row after which a task has run out of texts.
    batch
        Drafts that are worded and encoded at a time, at most; with a paraphraser it is part of what
        determines the result.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    varied: float = 0.5
    paraphrased: float = 0.5
    hold_out_content: HoldOut = "auto"
    patience: int = 4000
    batch: int = 128

    def __post_init__(self) -> None:
        for name in ("varied", "paraphrased"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be a share in [0, 1].")
        if self.hold_out_content not in ("auto", "always", "never"):
            raise ValueError(
                f"hold_out_content={self.hold_out_content!r}: use auto, always or never."
            )
        if self.patience < 1 or self.batch < 1:
            raise ValueError(f"patience={self.patience} and batch={self.batch} must be at least 1.")


@dataclass(frozen=True)
class Contents:
    """What remains of a target's contents when those of the evaluation are held out.

    Parameters
    ----------
    drawn, left
        Different contents among the probing draws, and those that no evaluation query asks for.
    share
        Share of the draws that is left.
    held_out
        Whether they are held out.
    """

    drawn: int
    left: int
    share: float
    held_out: bool


@dataclass(frozen=True)
class MadeData:
    """Samples and what was refused on the way.

    Parameters
    ----------
    samples
        The targets in turn.
    dropped
        Target's label -> reason -> drafts.
    contents
        Target's label -> `Contents`.
    """

    samples: tuple[Sample, ...]
    dropped: Mapping[str, Mapping[str, int]]
    contents: Mapping[str, Contents]
