"""The gate: paired intervals on one split, and a rule that is exactly what it says."""

from __future__ import annotations

import numpy as np
import pytest

from routing_gym.benchmark.cycle_gate import (
    DOMAIN,
    OVERALL,
    Change,
    RegionRow,
    Side,
    compare_sides,
    judge,
)
from routing_gym.benchmark.statistics import Interval


def change(low: float, high: float) -> Change:
    middle = Interval((low + high) / 2, low, high)
    return Change(Interval(0.5, 0.4, 0.6), Interval(0.5, 0.4, 0.6), middle)


def row(kind: str, low: float, high: float, *, label: str = "code") -> RegionRow:
    return RegionRow(kind, label, 10, change(low, high), change(0.0, 0.0), change(0.0, 0.0))


@pytest.mark.parametrize(
    ("overall", "domain", "promoted", "reason"),
    [
        ((0.01, 0.05), (-0.05, 0.02), True, "No domain became worse"),
        ((0.0, 0.05), (0.0, 0.02), False, "does not lie above zero"),
        ((-0.01, 0.05), (0.0, 0.02), False, "does not lie above zero"),
        ((0.01, 0.05), (-0.05, 0.0), True, "No domain became worse"),
        ((0.01, 0.05), (-0.05, -0.01), False, "Domain code became worse by 3.0 points"),
    ],
)
def test_the_rule(
    overall: tuple[float, float], domain: tuple[float, float], promoted: bool, reason: str
) -> None:
    verdict = judge([row(OVERALL, *overall, label="all"), row(DOMAIN, *domain)])
    assert verdict.promoted is promoted
    assert any(reason in text for text in verdict.reasons)


def sides(gain: float, *, seeds: int = 2, n: int = 400) -> tuple[Side, Side]:
    rng = np.random.default_rng(0)
    right = rng.random(n) < 0.4
    better = right | (rng.random(n) < gain)
    actions = np.ones((seeds, n), dtype=np.int64)
    made = [np.stack([np.zeros(n), hit.astype(float)], axis=1) for hit in (right, better)]
    old, new = (Side(values, values / 2, actions) for values in made)
    return old, new


def test_paired_gains_by_hand() -> None:
    old, new = sides(0.2)
    everything = np.ones(400, dtype=np.bool_)
    (found,) = compare_sides(old, new, [(OVERALL, "all", everything)], resamples=500)
    exact = new.accuracy[:, 1].mean() - old.accuracy[:, 1].mean()
    assert found.accuracy.gain.value == pytest.approx(exact)
    assert found.reward.gain.value == pytest.approx(exact / 2)
    deviation = (new.accuracy[:, 1] - old.accuracy[:, 1]).std() / 20
    assert found.accuracy.gain.low == pytest.approx(exact - 1.96 * deviation, abs=0.01)
    assert found.queries == 400
    assert RegionRow.from_json(found.to_json()) == found


def test_nothing_changed_is_exactly_nothing() -> None:
    old, new = sides(0.0)
    (found,) = compare_sides(old, new, [(OVERALL, "all", np.ones(400, dtype=np.bool_))])
    assert (found.accuracy.gain.low, found.accuracy.gain.high) == (0.0, 0.0)
    assert not judge([found]).promoted


def test_empty_regions_are_left_out() -> None:
    old, new = sides(0.1)
    regions = [(DOMAIN, "none", np.zeros(400, dtype=np.bool_))]
    assert compare_sides(old, new, regions) == []


def test_one_seed_stands_for_many() -> None:
    old, new = sides(0.2, seeds=3)
    single = Side(old.accuracy, old.reward, old.actions[:1])
    everything = [(OVERALL, "all", np.ones(400, dtype=np.bool_))]
    assert compare_sides(single, new, everything)[0].accuracy.gain.value > 0
    with pytest.raises(ValueError, match="on the same queries and with as many seeds"):
        compare_sides(Side(old.accuracy, old.reward, old.actions[:2]), new, everything)
