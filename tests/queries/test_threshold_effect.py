"""The effect of a threshold: exact shares, the boundary, and no duplicate beyond it."""

from __future__ import annotations

import math

import pytest

from routing_gym.queries.synthesis import Target
from routing_gym.queries.threshold_effect import Probe, effects, probe_drafts
from tests.queries.made_data import encode, evaluation


def probe(similarity: float, *, same: bool = False) -> Probe:
    return Probe("rhyme", f"text {similarity}", same, {"words": similarity}, {"words": "near"})


def test_shares_and_boundary_by_hand() -> None:
    probes = [probe(0.2), probe(0.5, same=True), probe(0.7), probe(0.9, same=True)]
    (effect,) = effects(probes, "words", [0.6])
    assert (effect.removed, effect.kept) == (0.5, 0.5)
    assert (effect.removed_same, effect.removed_other) == (0.5, 0.5)
    assert effect.above == probes[2]
    assert effect.below == probes[1]


def test_the_ends_of_the_scale() -> None:
    low, high = effects([probe(0.5)], "words", [0.1, 0.9])
    assert (low.removed, low.above, low.below) == (1.0, probe(0.5), None)
    assert (high.removed, high.above, high.below) == (0.0, None, probe(0.5))
    assert math.isnan(low.removed_same)


def test_drafts_are_measured_against_the_guarded_queries() -> None:
    targets = [Target("rhyme", 1), Target("bookends", 2)]
    options = {"per_target": 30, "seed": 1, "varied": 0.5, "shingle": 3, "encode": encode}
    probes = probe_drafts(targets, evaluation(), **options)  # type: ignore[arg-type]
    assert len(probes) == 60
    assert probes == probe_drafts(targets, evaluation(), **options)  # type: ignore[arg-type]
    rhymes = [probe for probe in probes if probe.task == "rhyme"]
    assert 0 < sum(probe.same for probe in rhymes) < 30
    for measure in ("words", "meaning"):
        removed = [effect.removed for effect in effects(probes, measure)]  # type: ignore[arg-type]
        assert removed == sorted(removed, reverse=True)


def test_without_evaluation_there_is_nothing_to_show() -> None:
    found = probe_drafts([Target("rhyme", 1)], [], per_target=5, seed=1, varied=0.0, shingle=3)
    assert found == []
    with pytest.raises(KeyError):
        effects([probe(0.5)], "meaning")
