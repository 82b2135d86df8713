"""Old against new on one test split, and the rule by which a new version is promoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from routing_gym.benchmark import metrics
from routing_gym.benchmark.statistics import Interval, PairedBootstrap

OVERALL, DOMAIN, WEAKEST, SEEN, UNSEEN, TASK = (
    "overall",
    "domain",
    "weakest",
    "seen",
    "unseen",
    "task",
)
RULE = (
    "A new version is promoted if and only if the paired interval of the change of verified "
    "accuracy over the whole test split lies above zero, and in no domain does the interval of "
    "that domain's change lie below zero. The region was chosen on train and validation; the test "
    "split decides this and nothing else."
)


@dataclass(frozen=True)
class Side:
    """A pool with its routers, on the test split.

    Parameters
    ----------
    accuracy, reward
        float (N, K), verified accuracy and reward of every adapter's answer.
    actions
        int (S, N), what the routers of S seeds chose.
    """

    accuracy: np.ndarray
    reward: np.ndarray
    actions: np.ndarray

    def chosen(self, quantity: str) -> np.ndarray:
        """Values (S, N) of what was chosen, of ``"accuracy"`` or ``"reward"``."""
        return metrics.chosen(getattr(self, quantity), self.actions)


@dataclass(frozen=True)
class Change:
    """A mean before and after, and their paired difference.

    Parameters
    ----------
    before, after
        With intervals of their own.
    gain
        After less before, on the same resamples of queries and seeds.
    """

    before: Interval
    after: Interval
    gain: Interval


@dataclass(frozen=True)
class RegionRow:
    """Old and new in one region of the test split.

    Parameters
    ----------
    kind
        `OVERALL`, `DOMAIN`, `WEAKEST`, `SEEN`, `UNSEEN` (the weakest region's queries whose content
        was, was not, in the training data) or `TASK`.
    label
        Of the region.
    queries
        How many of the test split are in it.
    accuracy, reward
        Of pool and router.
    oracle
        Verified accuracy of the best adapter for each query: what the pool could do.
    """

    kind: str
    label: str
    queries: int
    accuracy: Change
    reward: Change
    oracle: Change

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RegionRow:
        """Read what ``asdict`` wrote."""
        changes = {
            name: Change(**{part: Interval(**value) for part, value in content[name].items()})
            for name in ("accuracy", "reward", "oracle")
        }
        return cls(content["kind"], content["label"], int(content["queries"]), **changes)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Parameters
    ----------
    promoted
        Whether the rule is met.
    reasons
        One sentence for each part of the rule.
    """

    promoted: bool
    reasons: tuple[str, ...]


def compare_sides(
    old: Side,
    new: Side,
    regions: Sequence[tuple[str, str, np.ndarray]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[RegionRow]:
    """Compare two pools with their routers in regions of one test split.

    Parameters
    ----------
    old, new
        On the same N queries; their seeds are paired in order.
    regions
        Kind, label and bool (N,) mask of each; those without a query are left out.
    resamples, confidence
        Of the paired bootstrap, see `PairedBootstrap`; each region is resampled on its own.
    seed
        Of the resamples.

    Raises
    ------
    ValueError
        If the two sides have different queries or numbers of seeds (one seed stands for many).
    """
    shapes = {side.accuracy.shape[0] for side in (old, new)}
    seeds = {len(side.actions) for side in (old, new)} - {1}
    if len(shapes) > 1 or len(seeds) > 1:
        raise ValueError(
            f"old and new have {old.actions.shape} and {new.actions.shape} choices (seeds, "
            "queries): compare them on the same queries and with as many seeds."
        )
    rows = []
    for kind, label, mask in regions:
        if mask.any():
            bootstrap = PairedBootstrap(
                int(mask.sum()),
                rng=np.random.default_rng(seed),
                resamples=resamples,
                confidence=confidence,
            )
            rows.append(_row(kind, label, mask, old=old, new=new, bootstrap=bootstrap))
    return rows


def judge(rows: Sequence[RegionRow], *, confidence: float = 0.95) -> Verdict:
    """Apply the `RULE`.

    Parameters
    ----------
    rows
        From `compare_sides`; must hold the overall row and the domains.
    confidence
        Of their intervals, for the wording.
    """
    overall = next(row for row in rows if row.kind == OVERALL).accuracy.gain
    better = overall.low > 0
    level = f"{confidence:.0%} interval {_points(overall)}"
    reasons = [
        f"Verified accuracy on the test split changed by {100 * overall.value:+.1f} points, "
        f"{level}: it {'lies above' if better else 'does not lie above'} zero."
    ]
    worse = [row for row in rows if row.kind == DOMAIN and row.accuracy.gain.high < 0]
    reasons += [
        f"Domain {row.label} became worse by {-100 * row.accuracy.gain.value:.1f} points: its "
        f"interval {_points(row.accuracy.gain)} lies below zero."
        for row in worse
    ]
    if not worse:
        reasons.append("No domain became worse beyond its interval.")
    return Verdict(better and not worse, tuple(reasons))


def _row(
    kind: str,
    label: str,
    mask: np.ndarray,
    *,
    old: Side,
    new: Side,
    bootstrap: PairedBootstrap,
) -> RegionRow:
    """Measure one region."""
    pairs = {name: (old.chosen(name), new.chosen(name)) for name in ("accuracy", "reward")}
    pairs["oracle"] = (old.accuracy.max(axis=1)[None], new.accuracy.max(axis=1)[None])
    changes = {
        name: Change(
            bootstrap.mean(before[:, mask]),
            bootstrap.mean(after[:, mask]),
            bootstrap.difference(after[:, mask], before[:, mask]),
        )
        for name, (before, after) in pairs.items()
    }
    return RegionRow(kind, label, int(mask.sum()), **changes)


def _points(interval: Interval) -> str:
    """Write an interval in percentage points."""
    return f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
