from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from routing_gym.rewards.agreement import cluster_weights, cohen_kappa, kappa_draws


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_by_hand() -> None:
    # 20 both yes, 15 both no, 5 and 10 apart: observed .7, expected .5
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    kappa = cohen_kappa(first, second, clusters=np.arange(50), rng=rng())
    assert kappa.value == pytest.approx(0.4)
    assert kappa.low < 0.4 < kappa.high


def test_draws_are_those_of_scikit_learn() -> None:
    first, second = rng(1).integers(3, size=(2, 60))
    weights = rng(2).integers(4, size=(5, 60)).astype(float)
    expected = [cohen_kappa_score(first, second, sample_weight=row) for row in weights]
    assert kappa_draws(first, second, weights) == pytest.approx(expected)


def test_texts_and_a_label_that_one_rater_never_uses() -> None:
    truth = np.array(["first", "second"] * 20)
    judged = truth.copy()
    judged[::4] = "tie"
    kappa = cohen_kappa(judged, truth, clusters=np.arange(40), rng=rng())
    assert kappa.value == pytest.approx(cohen_kappa_score(judged, truth))


def test_full_and_chance_agreement() -> None:
    labels = rng().integers(2, size=2000)
    other = rng(5).integers(2, size=2000)
    same = cohen_kappa(labels, labels, clusters=np.arange(2000), rng=rng())
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    chance = cohen_kappa(labels, other, clusters=np.arange(2000), rng=rng())
    assert chance.low < 0 < chance.high
    assert abs(chance.value) < 0.06


def test_copies_within_a_query_add_no_certainty() -> None:
    first = rng(1).integers(2, size=100)
    second = np.where(rng(2).random(100) < 0.8, first, 1 - first)
    single = cohen_kappa(first, second, clusters=np.arange(100), rng=rng())
    copies = [np.repeat(labels, 5) for labels in (first, second)]
    clustered = cohen_kappa(*copies, clusters=np.repeat(np.arange(100), 5), rng=rng())
    naive = cohen_kappa(*copies, clusters=np.arange(500), rng=rng())
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high))
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def test_intervals_cover() -> None:
    truth, hits = 0.6, 0
    for seed in range(100):
        first = rng(seed).integers(2, size=120)
        second = np.where(rng(1000 + seed).random(120) < 0.8, first, 1 - first)  # kappa .6
        kappa = cohen_kappa(first, second, clusters=np.arange(120), rng=rng(seed), resamples=400)
        hits += kappa.low <= truth <= kappa.high
    assert 88 <= hits <= 99


def test_one_label_has_no_kappa() -> None:
    kappa = cohen_kappa(np.ones(9), np.ones(9), clusters=np.arange(9), rng=rng())
    assert np.isnan([kappa.value, kappa.low, kappa.high]).all()


def test_a_seed_fixes_the_interval() -> None:
    first, second = rng(1).integers(2, size=(2, 50))
    runs = [cohen_kappa(first, second, clusters=np.arange(50), rng=rng(3)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_clusters_are_drawn_whole() -> None:
    weights = cluster_weights(np.array([7, 7, 8, 9]), count=4, resamples=500, rng=rng())
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 1:].sum(axis=1) == 3).all()


@pytest.mark.parametrize(
    ("first", "second", "clusters", "more", "match"),
    [
        ([], [], [], {}, "at least one"),
        ([1, 0], [1], [0, 1], {}, r"shapes \(2,\) and \(1,\)"),
        ([1, 0], [1, 0], [0], {}, r"clusters has shape \(1,\)"),
        ([1, 0], [1, 0], [0, 1], {"resamples": 0}, "resamples=0"),
        ([1, 0], [1, 0], [0, 1], {"confidence": 1.0}, "confidence=1.0"),
    ],
)
def test_invalid(first: list, second: list, clusters: list, more: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        cohen_kappa(
            np.array(first), np.array(second), clusters=np.array(clusters), rng=rng(), **more
        )
