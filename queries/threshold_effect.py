"""What a threshold does: how many drafts each would refuse, and what stands at its boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from routing_gym.queries.content import ContentIndex
from routing_gym.queries.dataset import make_task
from routing_gym.queries.leaks import jaccard_matrix
from routing_gym.queries.near_duplicates import Encode
from routing_gym.queries.query import Query
from routing_gym.queries.synthesis_maker import put_into_words
from routing_gym.queries.synthesis_settings import Target

Measure = Literal["words", "meaning"]
GRID = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)


@dataclass(frozen=True)
class Probe:
    """A draft and the evaluation queries that are nearest to it.

    Parameters
    ----------
    task, text
        The draft.
    same
        Whether an evaluation query asks the same, in whatever words.
    similarity
        Measure -> largest similarity to an evaluation query.
    nearest
        Measure -> that query's text.
    """

    task: str
    text: str
    same: bool
    similarity: dict[Measure, float]
    nearest: dict[Measure, str]


@dataclass(frozen=True)
class Effect:
    """What one threshold of one measure does to the drafts.

    Parameters
    ----------
    measure, threshold
        From this similarity on a draft is refused.
    removed
        Share of all drafts that is refused.
    removed_same, removed_other
        The same among drafts that ask what an evaluation query asks, and among the others; nan
        where there are none.
    above, below
        The refused draft next to the boundary and the kept one; None where there is none.
    """

    measure: Measure
    threshold: float
    removed: float
    removed_same: float
    removed_other: float
    above: Probe | None
    below: Probe | None

    @property
    def kept(self) -> float:
        """Share of all drafts that is kept."""
        return 1.0 - self.removed


def probe_drafts(
    targets: Sequence[Target],
    evaluation: Sequence[Query],
    *,
    per_target: int,
    seed: int,
    varied: float,
    shingle: int,
    encode: Encode | None = None,
) -> list[Probe]:
    """Draw drafts and measure, exactly, how near each comes to the evaluation.

    Parameters
    ----------
    targets
        Tasks and complexities.
    evaluation
        Queries with their splits; those of ``"train"`` are left out.
    per_target
        Drafts of each target.
    seed
        Determines the drafts.
    varied, shingle
        As in `SynthesisSettings` and `Thresholds`.
    encode
        Embeds texts; None leaves the meaning out.
    """
    guarded = [query for query in evaluation if query.split != "train"]
    contents = ContentIndex(guarded)
    drafts = []
    for target in targets:
        rng = np.random.default_rng([seed, 1, target.complexity, *target.task.encode()])
        task = make_task(target.task)
        drafts += [
            put_into_words(task, target.complexity, rng, varied=varied) for _ in range(per_target)
        ]
    texts, others = [d.query.text for d in drafts], [q.text for q in guarded]
    if not texts or not others:
        return []
    alike: dict[Measure, np.ndarray] = {"words": jaccard_matrix(texts, others, shingle=shingle)}
    if encode:
        alike["meaning"] = np.asarray(encode(texts)) @ np.asarray(encode(others)).T
    best = {measure: values.argmax(axis=1) for measure, values in alike.items()}
    return [
        Probe(
            task=draft.query.task,
            text=draft.query.text,
            same=contents.find(draft.query.task, draft.draw.slots) is not None,
            similarity={m: float(values[row, best[m][row]]) for m, values in alike.items()},
            nearest={m: others[best[m][row]] for m in alike},
        )
        for row, draft in enumerate(drafts)
    ]


def effects(
    probes: Sequence[Probe], measure: Measure, grid: Sequence[float] = GRID
) -> list[Effect]:
    """Say what each threshold of a grid does to the drafts."""
    values = np.array([probe.similarity[measure] for probe in probes])
    same = np.array([probe.same for probe in probes], dtype=np.bool_)
    order = np.argsort(values, kind="stable")
    found = []
    for threshold in grid:
        refused = values >= threshold
        cut = int(np.searchsorted(values[order], threshold))
        found.append(
            Effect(
                measure=measure,
                threshold=threshold,
                removed=_share(refused),
                removed_same=_share(refused[same]),
                removed_other=_share(refused[~same]),
                above=probes[order[cut]] if cut < len(order) else None,
                below=probes[order[cut - 1]] if cut else None,
            )
        )
    return found


def _share(refused: np.ndarray) -> float:
    """Mean of flags; nan of none."""
    return float(refused.mean()) if len(refused) else float("nan")
